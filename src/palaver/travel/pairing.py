"""Calls and their results: each call is answered once, right behind its message, in call order.

Sources record results late, twice, never, in user messages, or under an id that two calls share.
A result belongs to the newest call of its id that is still open; so a reused id pairs by position
and the later call can get a new id without parting the two.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from palaver.domain.ids import CallId
from palaver.domain.messages import (
    Block,
    File,
    Flag,
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
from palaver.travel.base import RepairKind

NO_RESULT = "No result of this call was recorded; it may or may not have run."
ABORTED = "The turn was aborted; no result of this call was recorded."
WRAPPED = "input"
"""The field that holds arguments which were no object."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")
"""What Anthropic and OpenAI both take; chat completions want 40 characters at most."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NO_NAME = re.compile(r"[^A-Za-z0-9_-]+")

Note = Callable[[RepairKind, int, str], None]


class Item(msgspec.Struct, frozen=True):
    """A message and its position at the source."""

    message: Message
    record: int


class _Answered(msgspec.Struct):
    """A message on its way; where it has calls, with the results that have been found."""

    item: Item
    results: list[ToolResult | None]
    calls: tuple[ToolCall, ...] = ()
    first: Message | None = None
    """The tool message that held the first result."""


class Pairing:
    """One pass over a history; `note` is told what was mended. `taken`: ids of earlier calls."""

    def __init__(self, note: Note, *, taken: Iterable[str] = ()) -> None:
        self._note = note
        self._made: list[_Answered] = []
        self._seen: set[str] = set(taken)
        """Ids that calls have by now."""
        self._calls: dict[str, list[tuple[_Answered, int]]] = {}
        """Calls by the id that they had at the source, in their order."""

    def paired(self, items: Iterable[Item]) -> list[Item]:
        """The messages, and behind each one with calls the tool message that answers them."""
        for item in items:
            self._take(item)
        return [made for answered in self._made for made in self._with_answer(answered)]

    def _take(self, item: Item) -> None:
        message, role = item.message, item.message.role
        said = tuple(self._allowed(item))
        if role is Role.ASSISTANT:
            self._add(Item(replace(message, content=said), item.record))
        for result in message.tool_results:
            self._answer(result, item)
        if role is Role.ASSISTANT:
            return
        if said and (role is Role.TOOL or (role is Role.SYSTEM and not _all_text(said))):
            # Only now: what stands beside results comes behind them.
            self._note(RepairKind.MISPLACED, item.record, f"content of a {role} message")
            self._add(Item(Message(Role.USER, said, flags=message.flags), item.record))
        elif role is Role.TOOL:
            if not message.content:
                self._note(RepairKind.EMPTY_MESSAGE, item.record, str(role))
        elif said or not message.content:
            self._add(Item(replace(message, content=said), item.record))

    def _allowed(self, item: Item) -> Iterator[Block]:
        """The blocks that may stay in the message, results aside."""
        role, record = item.message.role, item.record
        for block in item.message.content:
            match block:
                case ToolResult():
                    if role is Role.ASSISTANT:
                        self._note(RepairKind.MISPLACED, record, "a result beside its call")
                case _ if role is Role.ASSISTANT:
                    yield block
                case ToolCall(name=name, arguments=arguments):
                    self._note(RepairKind.MISPLACED, record, f"a call of {name} by the {role}")
                    yield Text(f"[call of {name}: {arguments}]")
                case Reasoning():
                    self._note(RepairKind.DROPPED_REASONING, record, f"of the {role}")
                case Refusal(text=text):
                    self._note(RepairKind.MISPLACED, record, f"a refusal by the {role}")
                    yield Text(text)
                case Unknown(kind=kind) if role is not Role.USER:
                    self._note(RepairKind.UNKNOWN_RECORD, record, f"a block {kind}")
                case _:
                    yield block

    def _add(self, item: Item) -> None:
        message = item.message
        if not message.tool_calls:
            self._made.append(_Answered(item, []))
            return
        answered = _Answered(item, [None] * len(message.tool_calls))
        content: list[Block] = []
        number = 0
        for block in message.content:
            if not isinstance(block, ToolCall):
                content.append(block)
                continue
            self._calls.setdefault(block.id, []).append((answered, number))
            content.append(self._callable(block, item.record))
            number += 1
        if tuple(content) != message.content:
            answered.item = Item(replace(message, content=tuple(content)), item.record)
        answered.calls = answered.item.message.tool_calls
        self._made.append(answered)

    def _callable(self, call: ToolCall, record: int) -> ToolCall:
        """The call in a form that providers take."""
        id, name = call.id, call.name
        if not _ID.fullmatch(id) or id in self._seen:
            kind = RepairKind.REUSED_ID if id in self._seen else RepairKind.INVALID_NAME
            self._note(kind, record, f"call id {id[:80]!r}")
            id = self._new_id(id)
        self._seen.add(id)
        if not _NAME.fullmatch(name):
            self._note(RepairKind.INVALID_NAME, record, f"tool {name[:80]!r}")
            name = _NO_NAME.sub("_", name)[:64].strip("_") or "unknown"
        arguments = call.arguments
        if not is_object(arguments):
            self._note(RepairKind.INVALID_ARGUMENTS, record, f"of {name}")
            arguments = json.dumps({WRAPPED: _value(arguments)}, ensure_ascii=False)
            call = replace(call, origin="", native="")
        if (id, name, arguments) == (call.id, call.name, call.arguments):
            return call
        return replace(call, id=CallId(id), name=name, arguments=arguments)

    def _new_id(self, id: str) -> CallId:
        # From the id and how often it came: the same prefix of a history gives the same ids.
        digest = blake2b(f"{id}\0{len(self._calls[id])}".encode(), digest_size=12)
        while (new := f"call_{digest.hexdigest()}") in self._seen:
            digest.update(b"+")
        return CallId(new)

    def _answer(self, result: ToolResult, item: Item) -> None:
        calls = self._calls.get(result.call_id)
        if not calls:
            self._note(RepairKind.ORPHANED_RESULT, item.record, f"of {result.name or 'a tool'}")
            self._made.append(_Answered(Item(_as_text(result), item.record), []))
            return
        found = _newest_open(calls)
        if found is None:
            self._note(RepairKind.DOUBLE_RESULT, item.record, f"call {result.call_id[:80]}")
            return
        answered, number = found
        if self._is_late(answered):
            self._note(RepairKind.MISPLACED, item.record, "a result that came late")
        call = answered.calls[number]
        named = result.name if result.name and _NAME.fullmatch(result.name) else call.name
        if (result.call_id, result.name) != (call.id, named):
            result = replace(result, call_id=call.id, name=named)
        answered.results[number] = result
        if answered.first is None and item.message.role is Role.TOOL:
            answered.first = item.message

    def _is_late(self, answered: _Answered) -> bool:
        return self._made[-1] is not answered

    def _with_answer(self, answered: _Answered) -> Iterator[Item]:
        yield answered.item
        message, record = answered.item.message, answered.item.record
        if not answered.results:
            return
        why = ABORTED if message.stop is StopReason.ABORTED else NO_RESULT
        results = []
        for call, result in zip(answered.calls, answered.results, strict=True):
            if result is None:
                self._note(RepairKind.UNANSWERED_CALL, record, f"{call.name} {call.id}")
            missing = ToolResult(call.id, call.name, (Text(why),), failed=True)
            results.append(result or missing)
        made = answered.first or Message(Role.TOOL, ())
        if None in answered.results and Flag.SYNTHETIC not in made.flags:
            made = replace(made, flags=(*made.flags, Flag.SYNTHETIC))
        yield Item(replace(made, content=tuple(results)), record)


def is_object(arguments: str) -> bool:
    """Whether a call's arguments are a JSON object, or nothing, which means an empty one."""
    if not arguments.strip():
        return True
    try:
        return isinstance(msgspec.json.decode(arguments), dict)
    except (msgspec.DecodeError, RecursionError):
        return False


def _value(arguments: str) -> object:
    try:
        return msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return arguments


def _newest_open(calls: list[tuple[_Answered, int]]) -> tuple[_Answered, int] | None:
    """Of the newest message with an open call among `calls`, the first open one."""
    found: tuple[_Answered, int] | None = None
    for answered, number in reversed(calls):
        if found is not None and answered is not found[0]:
            break
        if answered.results[number] is None:
            found = (answered, number)
    return found


def _as_text(result: ToolResult) -> Message:
    """A result that no call asked for, as something the user shows."""
    head = f"[result of {result.name or 'a tool'} without its call]"
    text = f"{head}\n{result.text}" if result.text else head
    shown = (block for block in result.content if isinstance(block, Image | File))
    return Message(Role.USER, (Text(text), *shown))


def _all_text(content: Iterable[Block]) -> bool:
    return all(isinstance(block, Text) for block in content)
