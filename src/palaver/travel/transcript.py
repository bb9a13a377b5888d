"""A conversation as people read it: each call together with its result, whoever writes it down.

Exports for people differ in their marks only; what belongs together is decided here.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec

from palaver.domain.messages import (
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
from palaver.domain.state import ConversationState

NAMES = {Role.USER: "You", Role.ASSISTANT: "Assistant", Role.SYSTEM: "System", Role.TOOL: "Tools"}
_STOPS = {
    StopReason.MAX_TOKENS: "cut at the output limit",
    StopReason.CONTEXT_FULL: "cut: the context window was full",
    StopReason.CONTENT_FILTER: "cut by the provider's content filter",
    StopReason.REFUSAL: "refused",
    StopReason.ABORTED: "cut: stopped before its end",
}


class Exchange(msgspec.Struct, frozen=True):
    """A tool call and what came of it. Only one of the two is there when history was cut."""

    call: ToolCall | None
    result: ToolResult | None

    @property
    def name(self) -> str:
        """The tool's name."""
        told = self.call or self.result
        return told.name if told else ""

    @property
    def status(self) -> str:
        """How the call went, in one or two words."""
        if self.result is None:
            return "no result"
        if self.result.unknown:
            return "outcome unknown"
        return "failed" if self.result.failed else "done"


Part: TypeAlias = Text | Image | File | Reasoning | Refusal | Unknown | Exchange


class Entry(msgspec.Struct, frozen=True):
    """What one speaker said. `notes` is what a reader must know about it, ready to be shown."""

    role: Role
    parts: tuple[Part, ...]
    model: str = ""
    notes: tuple[str, ...] = ()


def entries(messages: Sequence[Message]) -> Iterator[Entry]:
    """The messages in order; results stand with their calls and not as messages of their own."""
    for at, message in enumerate(messages):
        before = messages[at - 1] if at else None
        if message.role is Role.TOOL and before is not None and before.tool_calls:
            continue
        after = messages[at + 1] if at + 1 < len(messages) else None
        results = after.tool_results if after is not None and after.role is Role.TOOL else ()
        parts = (*_parts(message, results), *_unasked(message, results))
        yield Entry(message.role, parts, message.model, _notes(message))


def _parts(message: Message, results: tuple[ToolResult, ...]) -> Iterator[Part]:
    answers = {result.call_id: result for result in results}
    for block in message.content:
        if isinstance(block, ToolCall):
            yield Exchange(block, answers.get(block.id))
        elif isinstance(block, ToolResult):
            yield Exchange(None, block)
        else:
            yield block


def _unasked(message: Message, results: tuple[ToolResult, ...]) -> Iterator[Part]:
    """Results that name no call of the message before them: kept, for nothing may be hidden."""
    if calls := {call.id for call in message.tool_calls}:
        yield from (Exchange(None, result) for result in results if result.call_id not in calls)


def _notes(message: Message) -> tuple[str, ...]:
    notes = []
    stop = _STOPS.get(message.stop) if message.stop is not None else None
    if Flag.PARTIAL in message.flags:
        notes.append(stop or "cut: this is not the whole message")
    elif stop:
        notes.append(stop)
    if Flag.SYNTHETIC in message.flags:
        notes.append("written by Palaver")
    if Flag.OFFLINE in message.flags:
        notes.append("written by the offline responder")
    if Flag.REDACTED in message.flags:
        notes.append("redacted")
    if Flag.SANITISED in message.flags:
        notes.append("characters that cannot be stored were replaced")
    return tuple(notes)


def title(state: ConversationState) -> str:
    """What the conversation is called, on one line."""
    return " ".join(state.metadata.title.split()) or str(state.id)


def day(at: float) -> str:
    """Seconds since 1970 as `2026-03-01 14:05 UTC`; empty for 0 and for what is no time."""
    if not at:
        return ""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, OSError, ValueError):
        return ""


def attached(block: Image | File) -> str:
    """What an attachment is called, on one line."""
    return " ".join((block.name or block.url or "").split()) or "unnamed"


def indented(arguments: str) -> str:
    """JSON text spread over lines for reading; anything else as it is."""
    try:
        return msgspec.json.format(arguments, indent=2)
    except (msgspec.DecodeError, RecursionError):
        return arguments
