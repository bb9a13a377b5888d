"""What a turn had said when its process died, read from its durable run log."""

from collections.abc import Sequence

import msgspec

from palaver.domain.stream import (
    AttemptStarted,
    BlockReset,
    MessageCompleted,
    ReasoningDelta,
    RetryScheduled,
    StreamEvent,
    TextDelta,
    ToolRequested,
)
from palaver.store.base import RunRow
from palaver.streams.cursor import unpack


class Unfinished(msgspec.Struct, frozen=True):
    """An attempt that never came to its end: its number in the turn, the model, and the visible
    text of the message that it was writing (empty: it had said nothing)."""

    number: int
    model: str
    text: str
    joins: int = 0
    """Breaks that the text was continued behind."""
    has_reasoned: bool = False
    """Whether reasoning was shown, which ends with the process."""
    is_elsewhere: bool = False
    """Whether it was at something other than text: reasoning behind it, or a tool call."""


def unfinished_attempt(rows: Sequence[RunRow]) -> Unfinished | None:
    """The attempt that was under way behind the last complete one; None if none was.

    Calls and reasoning of it are left out: only a provider's own word makes them complete.
    """
    reading = _Reading()
    for batch in unpack(rows, 0):
        for event in batch.events:
            reading.add(event)
    return reading.unfinished()


class _Reading:
    def __init__(self) -> None:
        self._text: list[str] = []
        self._joins = 0
        self._is_joining = False
        self._has_reasoned = self._is_thinking = self._has_called = False
        self._under_way: AttemptStarted | None = None

    def add(self, event: StreamEvent) -> None:
        """Take the next event."""
        match event:
            case AttemptStarted(continues=continues):
                self._begin(event, continues=continues)
            case MessageCompleted() | RetryScheduled(continues=False):
                self._under_way = None
            case TextDelta(text=more):
                self._text.append(more)
                self._joins += self._is_joining
                self._is_thinking = self._is_joining = False
            case ReasoningDelta():
                self._has_reasoned = self._is_thinking = True
            case ToolRequested():
                self._has_called = True
            case BlockReset(kind="reasoning"):
                self._has_reasoned = self._is_thinking = False
            case BlockReset(kind="tool_call"):
                self._has_called = False
            case _:
                pass

    def _begin(self, attempt: AttemptStarted, *, continues: bool) -> None:
        self._under_way = attempt
        self._is_joining = continues
        if not continues:
            self._text, self._joins = [], 0
            self._has_reasoned = self._is_thinking = self._has_called = False

    def unfinished(self) -> Unfinished | None:
        """What is left of it all."""
        if self._under_way is None:
            return None
        return Unfinished(
            self._under_way.number,
            self._under_way.model,
            "".join(self._text),
            self._joins,
            self._has_reasoned,
            self._is_thinking or self._has_called,
        )
