"""What a turn had said when its process died, read from its durable run log."""

from collections.abc import Sequence

import msgspec

from palaver.domain.stream import AttemptStarted, MessageCompleted, RetryScheduled, TextDelta
from palaver.store.base import RunRow
from palaver.streams.cursor import unpack


class Unfinished(msgspec.Struct, frozen=True):
    """An attempt that never came to its end: its number in the turn, the model, and the visible
    text of the message that it was writing (empty: it had said nothing)."""

    number: int
    model: str
    text: str


def unfinished_attempt(rows: Sequence[RunRow]) -> Unfinished | None:
    """The attempt that was under way behind the last complete one; None if none was.

    Calls and reasoning of it are left out: only a provider's own word makes them complete.
    """
    text: list[str] = []
    under_way: AttemptStarted | None = None
    for _, events, _ in unpack(rows, 0):
        for event in events:
            match event:
                case AttemptStarted(continues=continues):
                    text, under_way = text if continues else [], event
                case MessageCompleted() | RetryScheduled(continues=False):
                    under_way = None
                case TextDelta(text=more):
                    text.append(more)
                case _:
                    pass
    if under_way is None:
        return None
    return Unfinished(under_way.number, under_way.model, "".join(text))
