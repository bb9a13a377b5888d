"""Where a reader of a turn stands, also when the turn has changed hands since.

Events are numbered 1, 2, 3 …, and every process that works on a turn writes under an epoch of its
own. A process shows deltas a moment before they are durable; when it dies, the next one goes on
behind the last durable event, so that some numbers are given again, under a higher epoch. A number
alone cannot tell which event its reader has seen. A number with its epoch can: an event with a
higher epoch replaces everything that was seen from its number on.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from palaver.domain.errors import InvalidInput
from palaver.domain.stream import StreamEvent
from palaver.store.base import RunRow

_WRITTEN = re.compile(r"(?:([0-9]{1,9}):)?([0-9]{1,15})")


class Cursor(msgspec.Struct, frozen=True):
    """A reader's place: it has seen event `number`, under `epoch`. Number 0: it has seen nothing.

    Epoch None: not known, so that what stands at the number is taken for what was seen.
    """

    number: int = 0
    epoch: int | None = None

    @classmethod
    def of(cls, after: "After") -> "Cursor":
        """A cursor from what callers give: a number, `epoch:number`, or a cursor.

        Raises InvalidInput for anything else.
        """
        if isinstance(after, cls):
            return after
        written = _WRITTEN.fullmatch(str(after)) if isinstance(after, int | str) else None
        if written is None or isinstance(after, bool):
            raise InvalidInput(
                f"{str(after)[:40]!r} is no place in a turn",
                hint="Give the number of the last event seen, or its cursor, `epoch:number`.",
            )
        epoch, number = written.groups()
        return cls(int(number), None if epoch is None else int(epoch))

    def __str__(self) -> str:
        return f"{self.number}" if self.epoch is None else f"{self.epoch}:{self.number}"


After: TypeAlias = int | str | Cursor
"""Behind which event to read on: its number, its cursor as text, or a cursor."""


class Batch(NamedTuple):
    """Events that follow each other, numbered from `first` on, all shown under one `epoch`."""

    first: int
    events: Sequence[StreamEvent]
    epoch: int

    @property
    def last(self) -> int:
        """The number of the last one."""
        return self.first + len(self.events) - 1


_decoder = msgspec.json.Decoder(list[StreamEvent])


def unpack(rows: Sequence[RunRow], after: int) -> list[Batch]:
    """The events behind `after` in rows of a run log."""
    found: list[Batch] = []
    for row in rows:
        events = _decoder.decode(row.body)
        skip = max(0, after + 1 - row.first)
        if skip < len(events):
            found.append(Batch(row.first + skip, events[skip:], row.epoch))
    return found


def standing(rows: Sequence[RunRow], seen: int, epoch: int, *, begun: int | None = None) -> int:
    """The last event that still stands of what a reader saw up to `seen` under `epoch`.

    `rows`: all of the run log of a turn that has a later epoch now; `begun`: the number behind
    which that one begins, where it is known (None: behind the last row of the older ones).
    """
    replaced = next((row.first for row in rows if row.epoch > epoch), None)
    if replaced is None:
        tail = rows[-1].last if rows else 0
        replaced = 1 + (tail if begun is None else begun)
    return min(seen, replaced - 1)
