"""Dictionaries: chat completions in the ways that people write them, and Anthropic's turns.

The objects that a client of theirs returns are read as dictionaries; many lists hold both.

The shape of a dictionary is told for each one by itself: results as blocks of a user's message are
Anthropic's, everything else is read as chat completions (tools, custom tools, functions of old).
Fields that nobody here knows are kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from palaver.context import kinds_parts as parts
from palaver.context.kinds import LEGACY, Foreign, Given, Kind, Read
from palaver.domain.errors import InvalidInput
from palaver.domain.ids import CallId
from palaver.domain.messages import (
    Block,
    File,
    Image,
    Message,
    Reasoning,
    Refusal,
    Role,
    StopReason,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
)

CUSTOM = "custom"
"""`ToolCall.native` of a call whose input is free text."""
_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "human": Role.USER,
    "assistant": Role.ASSISTANT,
    "ai": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}
Fields = Mapping[str, Any]
_CALLS = ("tool_calls", "function_call")
_IDS = ("tool_call_id", "tool_call_ids", "id")


def fields_of(foreign: Foreign) -> Fields:
    """A dictionary as it is; a client's object for a message, as its fields that are set."""
    if isinstance(foreign, Mapping):
        return foreign
    dumped: Fields = foreign.model_dump(exclude_none=True)  # type: ignore[attr-defined]
    return dumped


def dictionaries(fields: Fields) -> Kind:
    """The kind of this one."""
    content = fields.get("content")
    if isinstance(content, list | tuple):
        for part in content:
            if isinstance(part, Mapping) and part.get("type") in ("tool_result", "tool_use"):
                return ANTHROPIC
    return OPENAI


class _Dictionaries:
    """What both shapes share."""

    def read(self, foreign: Foreign) -> Read:
        """What it says. Raises InvalidInput for a role that nobody knows."""
        fields = fields_of(foreign)
        role = _ROLES.get(str(fields.get("role")))
        if role is None:
            raise InvalidInput(
                f"a message of role {fields.get('role')!r} is no part of a conversation",
                hint="Roles are system, developer, user, assistant and tool.",
            )
        if role is Role.TOOL:
            return _result(fields)
        content = tuple(_said(fields, role))
        calls = tuple(_calls(fields))
        stop = StopReason.ABORTED if _is_aborted(fields) else None
        message = Message(role, (*content, *(call for call, _ in calls)), stop=stop)
        return Read(message, all(sound for _, sound in calls))

    def user(self, text: str) -> Foreign:
        """A message of the user."""
        return {"role": "user", "content": text}


class OpenAI(_Dictionaries):
    """Chat completions: each result is a message."""

    def asking(self, source: Foreign, message: Message) -> Foreign:
        """A copy with the calls of `message`, in today's form."""
        copied = {k: v for k, v in fields_of(source).items() if k not in _CALLS}
        copied.setdefault("content", None)
        calls = message.tool_calls
        if len(calls) == 1 and calls[0].native == LEGACY:
            copied["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments}
        else:
            copied["tool_calls"] = [_written(call) for call in calls]
        return copied

    def answers(self, given: Sequence[Given]) -> tuple[Foreign, ...]:
        """A message for each."""
        return tuple(self._answer(each) for each in given)

    def _answer(self, given: Given) -> Foreign:
        source, result = given.source, given.result
        if source is not None and not given.is_changed:
            return source
        fields = fields_of(source) if source is not None else {}
        answer = {k: v for k, v in fields.items() if k not in _IDS}
        if given.call.native == LEGACY:
            answer |= {"role": "function", "name": given.call.name}
        else:
            answer |= {"role": "tool", "tool_call_id": given.call.id}
        answer["content"] = _content(result, answer.get("content"))
        return answer


class Anthropic(_Dictionaries):
    """Anthropic's turns: all results are blocks of one message of the user."""

    def asking(self, source: Foreign, message: Message) -> Foreign:
        """A copy with the calls of `message`."""
        fields = fields_of(source)
        copied = {k: v for k, v in fields.items() if k not in _CALLS}
        rest = [
            p
            for p in fields.get("content") or ()
            if not (isinstance(p, Mapping) and p.get("type") == "tool_use")
        ]
        copied["content"] = [*rest, *(_used(call) for call in message.tool_calls)]
        return copied

    def answers(self, given: Sequence[Given]) -> tuple[Foreign, ...]:
        """One message; the source itself where it holds these results and nothing else."""
        source = given[0].source
        if source is not None:
            same = all(each.source is source and not each.is_changed for each in given)
            if same and len(fields_of(source)["content"]) == len(given):
                return (source,)
        content = [_result_block(each) for each in given]
        return ({"role": "user", "content": content},)


OPENAI = OpenAI()
ANTHROPIC = Anthropic()


def _said(fields: Fields, role: Role) -> Iterator[Block]:
    if role is Role.ASSISTANT:
        for name in ("reasoning_content", "reasoning"):
            if thought := parts.text_of(fields.get(name)):
                yield Reasoning(thought)
                break
    for block in parts.blocks(fields.get("content")):
        # Calls within content count where they are not told twice.
        if not (isinstance(block, ToolCall) and fields.get("tool_calls")):
            yield block
    if refusal := parts.text_of(fields.get("refusal")):
        yield Refusal(refusal)
    audio = fields.get("audio")
    if isinstance(audio, Mapping):
        yield (
            Text(parts.text_of(audio.get("transcript")))
            if audio.get("transcript")
            else Unknown("", "audio", parts.json_text({"id": audio.get("id")}))
        )


def _is_aborted(fields: Fields) -> bool:
    return "aborted" in (fields.get("stopReason"), fields.get("stop_reason"))


def _calls(fields: Fields) -> Iterator[tuple[ToolCall, bool]]:
    """The calls, and whether each is in today's form or the old one."""
    for call in fields.get("tool_calls") or ():
        if isinstance(call, Mapping):
            yield _call(call)
    old = fields.get("function_call")
    if isinstance(old, Mapping):
        told = old.get("arguments")
        name = parts.text_of(old.get("name"))
        call = ToolCall(CallId(""), name, parts.arguments_of(told), native=LEGACY)
        yield call, isinstance(told, str)


def _call(call: Fields) -> tuple[ToolCall, bool]:
    identity = call.get("id")
    function, custom = call.get("function"), call.get("custom")
    name = CallId(str(identity) if identity is not None else "")
    if isinstance(custom, Mapping):
        told = {"input": custom.get("input")}
        found = ToolCall(
            name, parts.text_of(custom.get("name")), parts.json_text(told), native=CUSTOM
        )
        return found, isinstance(identity, str)
    given = function if isinstance(function, Mapping) else call
    told = given.get("arguments", given.get("args"))
    found = ToolCall(name, parts.text_of(given.get("name")), parts.arguments_of(told))
    is_sound = given is function and isinstance(identity, str) and isinstance(told, str)
    return found, is_sound and call.get("type", "function") == "function" and "type" in call


def _result(fields: Fields) -> Read:
    told = fields.get("content")
    several = fields.get("tool_call_ids")
    identity = fields.get("tool_call_id")
    is_sound = isinstance(identity, str) or fields.get("role") == "function"
    if identity is None and isinstance(several, list | tuple) and len(several) == 1:
        identity = several[0]
    if identity is None and fields.get("role") == "tool":
        identity = fields.get("id")
    content: list[Text | Image | File] = []
    for block in parts.blocks(told):
        if isinstance(block, Text | Image | File):
            content.append(block)
        else:
            content.append(Text(parts.json_text(told)))
            break
    failed = fields.get("is_error") is True or fields.get("error") is True
    name = CallId(str(identity) if identity is not None else "")
    result = ToolResult(name, parts.text_of(fields.get("name")), tuple(content), failed)
    return Read(Message(Role.TOOL, (result,)), is_sound and isinstance(told, str | list | tuple))


def _written(call: ToolCall) -> dict[str, Any]:
    if call.native == CUSTOM:
        told = call.parsed().get("input")
        return {
            "id": call.id,
            "type": "custom",
            "custom": {"name": call.name, "input": told if isinstance(told, str) else ""},
        }
    named = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": named}


def _used(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": call.parsed()}


def _result_block(given: Given) -> dict[str, Any]:
    told: object = None
    if given.source is not None:
        for part in fields_of(given.source).get("content") or ():
            if isinstance(part, Mapping) and part.get("tool_use_id") == given.result.call_id:
                told = part.get("content")
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": given.call.id}
    block["content"] = _content(given.result, told)
    if given.result.failed:
        block["is_error"] = True
    return block


def _content(result: ToolResult, told: object) -> object:
    """What the result says; pictures and files as they were told."""
    if all(isinstance(block, Text) for block in result.content):
        return result.text
    kept = [
        part
        for part in (told if isinstance(told, list | tuple) else ())
        if isinstance(part, Mapping) and part.get("type") not in ("text", "input_text")
    ]
    return [*([{"type": "text", "text": result.text}] if result.text else []), *kept]
