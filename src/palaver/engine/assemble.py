"""From a conversation's state to the request that a model gets."""

from typing import TypeAlias

from palaver.domain.messages import Message, Reasoning, Role, Unknown
from palaver.domain.state import ConversationState
from palaver.domain.stream import HistoryAdapted
from palaver.domain.values import ClientTool, GenerationSettings, OutputSchema
from palaver.providers.base import BlobReader, ModelRequest, ToolSpec
from palaver.tools.definition import ToolDefinition
from palaver.tools.manager import ToolManager


def system_prompt(state: ConversationState) -> str:
    """The person's system prompt, and the language that they want."""
    parts = [state.preferences.system.strip()]
    if state.preferences.language:
        parts.append(f"Answer in the language with the tag {state.preferences.language}.")
    return "\n\n".join(part for part in parts if part)


def left_out(state: ConversationState, model: str) -> HistoryAdapted | None:
    """What `model` is not sent of a history that another provider's model has answered last."""
    answer = last_answered(state)
    if answer is None or _provider(answer.model) == _provider(model):
        return None
    reasoning = foreign = 0
    for message in state.window:
        for block in message.content:
            if isinstance(block, Reasoning | Unknown) and block.origin.split(".")[0] != (
                _provider(model)
            ):
                reasoning += isinstance(block, Reasoning)
                foreign += isinstance(block, Unknown)
    return HistoryAdapted(model, reasoning, foreign) if reasoning or foreign else None


def last_answered(state: ConversationState) -> Message | None:
    """The newest assistant message."""
    return next((m for m in reversed(state.messages) if m.role is Role.ASSISTANT), None)


def _provider(model: str) -> str:
    return model.removeprefix("langchain:").partition(":")[0]


Offered: TypeAlias = ToolDefinition | ClientTool


def offered_tools(state: ConversationState, tools: ToolManager) -> tuple[Offered, ...]:
    """The tools of the next request: ours, as far as the turn has them, then its client's. What
    only a compacted conversation needs comes last and stays as long as its window does, so that it
    breaks no more of a provider's cache than that did."""
    opened = state.turn
    own: list[Offered] = []
    late: list[Offered] = []
    for definition in tools.specs():
        if opened is not None and opened.is_clients(definition.name):
            continue
        if definition.only_compacted:
            late.append(definition)
        elif opened is None or opened.own_tools:
            own.append(definition)
    clients = () if opened is None else opened.tools
    return (*own, *clients, *(late if state.compaction is not None else ()))


def tool_specs(offered: tuple[Offered, ...]) -> tuple[ToolSpec, ...]:
    """Tools as a model sees them."""
    return tuple(ToolSpec(d.name, d.description, d.parameters_schema) for d in offered)


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
        messages=state.window,
        system=system_prompt(state),
        tools=tools,
        settings=settings,
        output=output,
        conversation=state.id,
        read_blob=read_blob,
    )
