"""Events as they are written, in pieces, encoded once for all who read the same turn."""

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from palaver.domain.stream import StreamEvent
from palaver.streams.cursor import Batch

PIECE_EVENTS = 256
"""Written at once, so that no more than some 30 KB of deltas wait in one connection."""
T = TypeVar("T")


class Newest(Generic[T]):
    """The newest piece of a turn as it is written. Most readers of a turn want the same piece at
    the same moment: for a hundred of them it is encoded once."""

    def __init__(self, encode: Callable[[int, Sequence[StreamEvent], int], T]) -> None:
        self._encode = encode
        self._place: tuple[int, int, int] | None = None
        self._written: T

    def pieces(self, batch: Batch) -> Iterator[T]:
        """A batch as it is written, in pieces."""
        for at in range(0, len(batch.events), PIECE_EVENTS):
            events = batch.events[at : at + PIECE_EVENTS]
            place = (batch.epoch, batch.first + at, len(events))
            if place != self._place:
                self._written = self._encode(batch.first + at, events, batch.epoch)
                self._place = place
            yield self._written
