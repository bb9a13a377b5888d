"""Conversations as plain turns: who said what, with calls in OpenAI's shape where there are any.

Collections of chats differ only in the names of their fields. A record is one conversation:
`messages`, `conversation`, `conversations` or `turns` with role and text, `history` with pairs of
`user` and `bot`, or `utterances` of a `speaker`.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from palaver.domain.ids import CallId
from palaver.domain.messages import Block, Message, Reasoning, Role, ToolCall, ToolResult
from palaver.travel.base import Imported, RepairKind
from palaver.travel.content import result_content
from palaver.travel.draft import Draft
from palaver.travel.fields import arguments, name_of, obj, readable, seq, string
from palaver.travel.source import Source

NAME = "plain"
ROLES = {
    "user": Role.USER,
    "human": Role.USER,
    "prompter": Role.USER,
    "customer": Role.USER,
    "assistant": Role.ASSISTANT,
    "ai": Role.ASSISTANT,
    "gpt": Role.ASSISTANT,
    "bot": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "agent": Role.ASSISTANT,
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}
_LISTS = ("messages", "conversation", "conversations", "turns", "dialogue", "utterances", "history")
_WHO = ("role", "from", "speaker", "author")
_WHAT = ("content", "value", "text", "message", "utterance")


def sniff(source: Source) -> bool:
    """Whether the first record is such a list, or holds one."""
    head = source.head
    if head and isinstance(source.document, list) and _is_turn(head[0]):
        return True
    return any(_turns(fields) for fields in head[:3])


def read(source: Source) -> Iterator[Imported]:
    """Every conversation of the file."""
    if isinstance(source.document, list) and source.head and _is_turn(source.head[0]):
        yield from conversation(Draft(NAME), source.document)
        return
    for record in source.records():
        if not (turns := _turns(record.fields)):
            continue
        draft = Draft(NAME)
        fields = record.fields
        draft.keep(
            source=name_of(fields.get("id")) or name_of(fields.get("conversation_id")),
            task=name_of(fields.get("task")) or string(fields.get("scenario")),
        )
        draft.title = string(fields.get("title"))
        yield from conversation(draft, turns)


def conversation(draft: Draft, turns: Iterable[Any]) -> Iterator[Imported]:
    """The conversation of these turns, unless nobody said anything."""
    for number, turn in enumerate(turns):
        fields = obj(turn)
        if "user" in fields and "bot" in fields:
            fields_of = ((Role.USER, fields["user"]), (Role.ASSISTANT, fields["bot"]))
            for role, said in fields_of:
                draft.say(role, result_content(said, draft), number)
            continue
        role_of = ROLES.get(_first(fields, _WHO).lower())
        if role_of is None:
            detail = f"a turn of {_first(fields, _WHO) or 'nobody'}"
            draft.note(RepairKind.UNKNOWN_RECORD, number, detail)
        else:
            say(draft, role_of, fields, number)
    made = draft.finish()
    if made is not None:
        yield made


def say(draft: Draft, role: Role, fields: dict[str, Any], number: int) -> None:
    """One message in OpenAI's shape or in a plainer one."""
    content = next((fields[name] for name in _WHAT if fields.get(name) is not None), None)
    said: list[Block] = list(result_content(content, draft))
    if role is Role.TOOL:
        listed = [fields.get("tool_call_id"), *seq(fields.get("tool_call_ids")), fields.get("id")]
        id = CallId(next((name_of(value) for value in listed if name_of(value)), ""))
        name = string(fields.get("name"))
        failed = fields.get("error") is True
        result = ToolResult(id, name, tuple(result_content(content, draft)), failed=failed)
        draft.say(Role.TOOL, (result,), number)
        return
    if role is Role.ASSISTANT and (thought := string(fields.get("reasoning_content"))):
        said.insert(0, Reasoning(thought))
    said += calls(fields, number)
    of = Message(role, (), model=draft.model if role is Role.ASSISTANT else "")
    draft.say(role, said, number, of=of)


def calls(fields: dict[str, Any], number: int) -> Iterator[ToolCall]:
    """The calls of a message, in either of the two usual shapes."""
    for place, call in enumerate(map(obj, seq(fields.get("tool_calls")))):
        function = obj(call.get("function")) or call
        id = CallId(name_of(call.get("id")) or f"call_{number}_{place}")
        yield ToolCall(id, string(function.get("name")), arguments(function.get("arguments")))


def _turns(fields: dict[str, Any]) -> list[Any]:
    for name in _LISTS:
        turns = seq(fields.get(name))
        if turns and all(_is_turn(obj(turn)) for turn in turns[:3]):
            return turns
    return []


def _is_turn(fields: dict[str, Any]) -> bool:
    if isinstance(fields.get("user"), str) and isinstance(fields.get("bot"), str):
        return True
    known = _first(fields, _WHO).lower() in ROLES
    return known and any(name in fields for name in (*_WHAT, "tool_calls"))


def _first(fields: dict[str, Any], names: Iterable[str]) -> str:
    return next((readable(fields[name]) for name in names if isinstance(fields.get(name), str)), "")
