"""Erasing what a message says while history stays valid."""

from collections.abc import Iterable

from msgspec.structs import replace

from palaver.domain.branches import Path, Tail
from palaver.domain.history import History
from palaver.domain.ids import MessageId
from palaver.domain.messages import Block, Flag, Message, Text, ToolCall, ToolResult

ERASED = "[redacted]"


def redacted(message: Message) -> Message:
    """`message` without its content: calls keep id and name, results keep their call."""
    calls = tuple(ToolCall(call.id, call.name) for call in message.tool_calls)
    results = tuple(redacted_result(result) for result in message.tool_results)
    content: tuple[Block, ...] = results or (Text(ERASED), *calls)
    flags = (*(f for f in message.flags if f is not Flag.REDACTED), Flag.REDACTED)
    return replace(message, content=content, flags=flags, native_id="")


def redacted_result(result: ToolResult) -> ToolResult:
    """`result` without its output."""
    return ToolResult(result.call_id, result.name, (Text(ERASED),), result.failed)


def redact(path: Path, aside: tuple[Tail, ...], id: MessageId) -> tuple[Path, tuple[Tail, ...]]:
    """The same tree with one message redacted. Costs a walk over it."""
    tails = tuple(replace(t, messages=tuple(_without(t.messages, id))) for t in aside)
    return History(_without(path, id)), tails


def _without(messages: Iterable[Message], id: MessageId) -> list[Message]:
    return [redacted(message) if message.id == id else message for message in messages]
