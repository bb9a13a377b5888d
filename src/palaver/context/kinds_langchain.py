"""LangChain's messages as a kind. Imported when the first of them comes in, never before."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, ToolMessage

from palaver.context import kinds_parts as parts
from palaver.context.kinds import Foreign, Given, Read
from palaver.domain.errors import InvalidInput
from palaver.domain.ids import CallId
from palaver.domain.messages import (
    Block,
    File,
    Image,
    Message,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
)

_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "human": Role.USER,
    "user": Role.USER,
    "ai": Role.ASSISTANT,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}
_CALLED = ("tool_use", "tool_call", "function_call", "input_json_delta", "tool_call_chunk")
"""Parts of content that tell a call, which stands in `tool_calls`, too."""


class LangChain:
    """Human, AI, system, tool and chat messages."""

    def read(self, foreign: Foreign) -> Read:
        """What it says. Raises InvalidInput for what is no message of a conversation."""
        assert isinstance(foreign, BaseMessage)
        role = _role(foreign)
        if role is Role.TOOL:
            return _result(foreign)
        if isinstance(foreign, AIMessage):
            return _answer(foreign)
        return Read(Message(role, tuple(parts.blocks(foreign.content))))

    def user(self, text: str) -> Foreign:
        """A message of the user."""
        return HumanMessage(text)

    def asking(self, source: Foreign, message: Message) -> Foreign:
        """A copy with the calls of `message`; what else told of them is left out."""
        assert isinstance(source, AIMessage)
        calls = [
            {"name": c.name, "args": c.parsed(), "id": c.id, "type": "tool_call"}
            for c in message.tool_calls
        ]
        content = source.content
        if not isinstance(content, str):
            content = [p for p in content if not (isinstance(p, dict) and _is_call(p))]
        others = {k: v for k, v in source.additional_kwargs.items() if k not in _TOLD}
        fresh = {"content": content, "tool_calls": calls, "invalid_tool_calls": []}
        return source.model_copy(update={**fresh, "additional_kwargs": others})

    def answers(self, given: Sequence[Given]) -> tuple[Foreign, ...]:
        """A message for each."""
        return tuple(_tool_message(each) for each in given)


LANGCHAIN = LangChain()
_TOLD = ("tool_calls", "function_call")


def _role(message: BaseMessage) -> Role:
    name = message.type.removesuffix("MessageChunk").lower()
    if isinstance(message, ChatMessage):
        name = message.role
    role = _ROLES.get(name)
    if role is None:
        raise InvalidInput(f"a LangChain message of type {name!r} is no part of a conversation")
    return role


def _answer(message: AIMessage) -> Read:
    told = list(_calls(message))
    known = {call.id for call in told}
    content: list[Block] = []
    is_sound = not message.invalid_tool_calls
    for block in parts.blocks(message.content):
        if not isinstance(block, ToolCall):
            content.append(block)
        elif block.id not in known:
            told.append(block)
            is_sound = False
    thought = message.additional_kwargs.get("reasoning_content")
    if isinstance(thought, str) and thought:
        content.insert(0, Reasoning(thought))
    return Read(Message(Role.ASSISTANT, (*content, *told)), is_sound)


def _calls(message: AIMessage) -> Iterator[ToolCall]:
    for call in message.tool_calls:
        yield ToolCall(CallId(call["id"] or ""), call["name"], parts.json_text(call["args"]))
    for invalid in message.invalid_tool_calls:
        # Some adapters send them back, so they need a result like any other.
        name, told = invalid.get("name") or "", invalid.get("args") or ""
        yield ToolCall(CallId(invalid.get("id") or ""), name, told)


def _result(message: BaseMessage) -> Read:
    content: list[Text | Image | File] = []
    for block in parts.blocks(message.content):
        shown = block if isinstance(block, Text | Image | File) else None
        content.append(shown or Text(parts.json_text(message.content)))
    identity, failed = "", False
    if isinstance(message, ToolMessage):
        identity, failed = message.tool_call_id, message.status == "error"
    result = ToolResult(CallId(identity), message.name or "", tuple(content), failed)
    return Read(Message(Role.TOOL, (result,)), isinstance(message, ToolMessage))


def _tool_message(given: Given) -> ToolMessage:
    source, result = given.source, given.result
    if isinstance(source, ToolMessage):
        if not given.is_changed:
            return source
        content = _content(result, source.content)
        return source.model_copy(update={"content": content, "tool_call_id": given.call.id})
    return ToolMessage(
        content=_content(result, ""),
        tool_call_id=given.call.id,
        name=given.call.name,
        status="error" if result.failed else "success",
    )


def _content(result: ToolResult, told: object) -> Any:
    if all(isinstance(block, Text) for block in result.content):
        return result.text
    kept = [
        part
        for part in (told if isinstance(told, list) else ())
        if isinstance(part, Mapping) and part.get("type") != "text"
    ]
    return [*([{"type": "text", "text": result.text}] if result.text else []), *kept]


def _is_call(part: Mapping[str, Any]) -> bool:
    return part.get("type") in _CALLED
