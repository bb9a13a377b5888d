"""The stream of one turn: an append-only run log with any number of readers.

Events are numbered 1, 2, 3 … A reader is a cursor, not a queue: it asks for what lies behind its
number, and waits when there is nothing. Replay and tail are the same code, so nothing can fall
between them, and a slow reader costs nobody anything. Events that are written to the durable run
log may leave memory; a reader that is so far behind reads them from there.

A turn may move to another process: one that decides its held calls, or ends it. The session of the
first process is then handed over, and its readers go on in the durable run log, from the last event
that was durable when the turn moved: what they saw beyond that is replaced, under a higher epoch.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeAlias

import msgspec

from palaver.domain.errors import NotFound
from palaver.domain.ids import ConversationId, TurnId
from palaver.domain.stream import TERMINAL, StreamEvent, TurnSuspended
from palaver.store.base import RunRow
from palaver.streams.cursor import After, Batch, Cursor, standing, unpack

ReadRun: TypeAlias = Callable[[int], Awaitable[Sequence[RunRow]]]
"""Rows of the turn's durable run log behind a number."""

MEMORY_EVENTS = 20_000
"""Events of one turn kept in memory; about 100 bytes each."""
_EVENT_BYTES = 100
_TURN_BYTES = 2_000


class Numbered(msgspec.Struct, frozen=True):
    """An event with its number in the turn's run log; `cursor` resumes behind it."""

    number: int
    event: StreamEvent
    epoch: int = 0

    @property
    def cursor(self) -> str:
        """`epoch:number`, for `Last-Event-ID` and the like."""
        return f"{self.epoch}:{self.number}"


class ResumeGap(NotFound):
    """Events behind this cursor are not to be had; read the conversation's state instead."""

    code = "resume_gap"


class StreamSession:
    """One turn's events and its cancel switch. The turn belongs to the service, not to a reader."""

    def __init__(
        self,
        turn: TurnId,
        conversation: ConversationId,
        *,
        read_run: ReadRun | None = None,
        epoch: int = 0,
        start: int = 0,
        memory_events: int = MEMORY_EVENTS,
        elsewhere: "Elsewhere | None" = None,
    ) -> None:
        self.turn = turn
        self.conversation = conversation
        self.epoch = epoch
        self.error: Exception | None = None
        """What ended the turn, as it was raised, when it failed in this process."""
        self.cancel_requested = False
        self._events: list[StreamEvent] = []
        self._start = start  # behind it everything is of this session's epoch
        self._before = start  # number of the event before `_events[0]`
        self._written = start  # number of the last event that is in the durable run log
        self._memory_events = memory_events
        self._read_run = read_run
        self._ended = False
        self._elsewhere = elsewhere
        self._successor: StreamSession | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._on_cancel: Callable[[], None] | None = None
        self._followers: list[Callable[[int, Sequence[StreamEvent]], None]] = []

    @property
    def last(self) -> int:
        """The number of the newest event."""
        if self._successor is not None:
            return self._successor.last
        return self._before + len(self._events)

    @property
    def weight(self) -> int:
        """About how many bytes of memory it takes; what messages and results say, which the
        conversation's state holds as well, is not counted."""
        texts = sum(len(getattr(event, "text", "")) for event in self._events)
        return _TURN_BYTES + _EVENT_BYTES * len(self._events) + texts

    @property
    def is_ended(self) -> bool:
        """Whether the terminal event is published."""
        return self._ended

    @property
    def is_stored(self) -> bool:
        """Whether all of it is durable. An end that is not was said because the store failed."""
        return self._written >= self._before + len(self._events)

    def publish(self, events: Sequence[StreamEvent]) -> None:
        """Append events and wake the readers. After the terminal event nothing may follow."""
        if not events:
            return
        if self._ended:
            raise RuntimeError("the turn has ended; nothing can follow its terminal event")
        first = self.last + 1
        self._events.extend(events)
        self._ended = isinstance(events[-1], TERMINAL)
        for follow in self._followers:
            follow(first, events)
        if self._ended:  # it is kept for late readers, what ran the turn is not
            self._on_cancel = None
            self._followers.clear()
        self._wake()

    def follow(self, callback: Callable[[int, Sequence[StreamEvent]], None]) -> None:
        """Call `callback(first_number, events)` at every publication from now on."""
        self._followers.append(callback)

    @property
    def is_held(self) -> bool:
        """Whether the newest event says that the turn waits for somebody."""
        return bool(self._events) and isinstance(self._events[-1], TurnSuspended)

    def hand_over(self, successor: "StreamSession") -> None:
        """The turn is another process's now: readers go on with `successor`."""
        if self._successor is None and not self._ended:
            self._successor = successor
            self._on_cancel = None
            self._followers.clear()
            self._wake()

    def rest(self) -> AsyncIterator[Batch] | None:
        """What follows elsewhere of a turn that was handed over; None for one that was not."""
        if self._successor is None:
            return None
        return self._successor.batches(Cursor(self._before + len(self._events), self.epoch))

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # Durability: the driver takes rows, writes them, and says so.

    def unwritten(self, staged: Sequence[StreamEvent] = ()) -> tuple[RunRow, ...]:
        """Rows for everything that is not in the durable log, `staged` events (to be published
        when the write succeeded) included."""
        events = self._events[self._written - self._before :]
        events.extend(staged)
        if not events:
            return ()
        first = self._written + 1
        return (RunRow(first, first + len(events) - 1, msgspec.json.encode(events), self.epoch),)

    def written(self, last: int) -> None:
        """Events up to `last` are durable now; memory beyond the limit is given back."""
        self._written = max(self._written, last)
        surplus = min(len(self._events) - self._memory_events, self._written - self._before)
        if surplus > self._memory_events // 4:
            del self._events[:surplus]
            self._before += surplus

    # Cancelling is a command, not a disconnect.

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """What `cancel` does while the turn runs."""
        self._on_cancel = callback
        if self.cancel_requested:
            callback()

    def release(self) -> None:
        """What ran the turn is not needed any more; it may run on with another."""
        self._on_cancel = None

    def cancel(self) -> None:
        """Ask the turn to end. It ends with TurnCancelled, unless it ended before."""
        if not self._ended and not self.cancel_requested:
            self.cancel_requested = True
            if self._on_cancel is not None:
                self._on_cancel()

    # Reading.

    async def batches(self, after: After = 0) -> AsyncIterator[Batch]:
        """What lies behind `after`, as it comes, until the terminal event.

        A number alone is one of this session. Where the epoch of a cursor says that its reader saw
        events that another process has replaced since, reading begins with what replaced them: such
        events have numbers that the reader knows, and a higher epoch. A cursor beyond the newest
        event waits for what follows it. Raises ResumeGap when events behind `after` are gone, when
        the turn ended before `after`, and for an epoch that the turn has not reached; InvalidInput.
        """
        at = Cursor.of(after)
        if self._successor is None:
            at = Cursor(await self._standing(at), self.epoch)
        elif at.epoch is None:
            at = Cursor(at.number, self.epoch)
        cursor = at.number
        while True:
            if self._successor is not None:
                async for batch in self._successor.batches(Cursor(cursor, at.epoch)):
                    yield batch
                return
            if cursor < self._before:
                for batch in await self._from_disk(cursor):
                    cursor = batch.last
                    yield batch
                continue
            if cursor < self.last:
                events = self._events[cursor - self._before :]
                first, cursor = cursor + 1, cursor + len(events)
                yield Batch(first, events, self.epoch)
                continue
            if self._ended:
                if cursor > self.last:
                    raise self._gap(cursor)
                return
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            if self.is_held and self._elsewhere is not None:
                await self._look_elsewhere(waiter, self._elsewhere)
            else:
                await waiter

    async def _standing(self, at: Cursor) -> int:
        """The last event that stands of what its reader has seen."""
        if at.epoch is None or at.epoch == self.epoch:
            return at.number
        if at.epoch > self.epoch:
            raise unknown_epoch(self.turn, at)
        if not self._start:  # nothing of older epochs was durable
            return 0
        rows = await self._read_run(0) if self._read_run is not None else ()
        if not rows:
            raise self._gap(at.number)
        return standing(rows, at.number, at.epoch, begun=self._start)

    async def _look_elsewhere(self, news: asyncio.Future[None], elsewhere: "Elsewhere") -> None:
        """While the turn is held any process may decide it, so news may come from there, too."""
        found = asyncio.ensure_future(elsewhere(self.epoch))
        try:
            await asyncio.wait((news, found), return_when=asyncio.FIRST_COMPLETED)
            if not news.done() and (successor := found.result()) is not None:
                self.hand_over(successor)
        finally:
            found.cancel()
            await asyncio.wait((found,))

    async def numbered(self, after: After = 0) -> AsyncIterator[Numbered]:
        """Every event behind `after` once, in order, with its number, to the terminal event."""
        async for first, events, epoch in self.batches(after):
            for number, event in enumerate(events, first):
                yield Numbered(number, event, epoch)

    async def events(
        self, after: After = 0, *, until_suspended: bool = False
    ) -> AsyncIterator[StreamEvent]:
        """The same without numbers; `until_suspended` also ends behind a TurnSuspended that is the
        newest event: a reader who comes when the turn went on gets the rest, too."""
        async for first, events, _ in self.batches(after):
            for number, event in enumerate(events, first):
                ends = until_suspended and isinstance(event, TurnSuspended) and number == self.last
                yield event
                if ends:
                    return

    async def ended(self) -> None:
        """Return when the terminal event is published."""
        async for _ in self.batches(self.last):
            pass

    async def _from_disk(self, after: int) -> list[Batch]:
        rows = await self._read_run(after) if self._read_run is not None else ()
        found = unpack(rows, after)
        if not found or found[0].first != after + 1:
            raise self._gap(after)
        return found

    def _gap(self, cursor: int) -> ResumeGap:
        return ResumeGap(
            f"no events behind {cursor} of turn {self.turn} are kept",
            hint="Read the conversation's messages, then follow from the newest event.",
        )


def unknown_epoch(turn: TurnId, at: Cursor) -> ResumeGap:
    """What a reader is told that saw an epoch of which the store knows nothing: it was restored
    from a copy, perhaps."""
    return ResumeGap(
        f"turn {turn} has not come to {at}",
        hint="Read the conversation's messages, then follow from the newest event.",
    )


Elsewhere: TypeAlias = Callable[[int], Awaitable[StreamSession | None]]
"""Waits a little; then the session of whoever holds the turn under a later epoch than the given
one, or None."""
