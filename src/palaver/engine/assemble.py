"""From a conversation's state to the request that a model gets."""

from palaver.domain.state import ConversationState
from palaver.domain.values import GenerationSettings, OutputSchema
from palaver.providers.base import BlobReader, ModelRequest, ToolSpec
from palaver.tools.definition import ToolDefinition


def system_prompt(state: ConversationState) -> str:
    """The person's system prompt, and the language that they want."""
    parts = [state.preferences.system.strip()]
    if state.preferences.language:
        parts.append(f"Answer in the language with the tag {state.preferences.language}.")
    return "\n\n".join(part for part in parts if part)


def tool_specs(definitions: tuple[ToolDefinition, ...]) -> tuple[ToolSpec, ...]:
    """Tools as a model sees them."""
    return tuple(ToolSpec(d.name, d.description, d.parameters_schema) for d in definitions)


def build_request(
    state: ConversationState,
    tools: tuple[ToolSpec, ...],
    *,
    settings: GenerationSettings,
    output: OutputSchema | None,
    read_blob: BlobReader,
) -> ModelRequest:
    """The request for the next message of `state`."""
    return ModelRequest(
        messages=state.messages,
        system=system_prompt(state),
        tools=tools,
        settings=settings,
        output=output,
        conversation=state.id,
        read_blob=read_blob,
    )
