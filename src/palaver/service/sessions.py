"""Where a turn's events are: in this process's memory, or in the durable run log of another's.

A turn has one owner, the process that works on it, and an epoch that rises with every change of
owner. A session in memory is good as long as its epoch is the turn's; rows of an older one are
refused by the store. So whoever decides a held call, or ends a turn, takes the turn first, and the
process that had it before finds out: by a refused row, by a look at the epoch, or at the next fact.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from weakref import WeakValueDictionary

from palaver.domain.clock import Clock
from palaver.domain.errors import NotFound
from palaver.domain.events import ToolResolved
from palaver.domain.ids import CallId, ConversationId, TurnId
from palaver.domain.values import Scope
from palaver.store.base import ConversationStore, RunRow, TurnRecord
from palaver.streams.cursor import After, Cursor
from palaver.streams.follow import StoredSession
from palaver.streams.manager import StreamManager
from palaver.streams.session import Numbered, StreamSession

ELSEWHERE_S = 0.25
"""Between the looks of a held turn's reader whether another process has decided it."""


class TurnSessions:
    """Finds the session of a turn to work with, or to read from."""

    def __init__(
        self, *, store: ConversationStore, scope: Scope, clock: Clock, keep_s: float, keep: int
    ) -> None:
        self.streams = StreamManager(clock, keep_s=keep_s, keep=keep)
        self._store, self._scope, self._clock = store, scope, clock
        self._beginning: dict[TurnId, asyncio.Event] = {}
        self._alone: WeakValueDictionary[TurnId, asyncio.Lock] = WeakValueDictionary()

    # Whether this process works on a turn.

    def is_running(self, turn: TurnId) -> bool:
        """Whether this process works on the turn, or is about to."""
        return turn in self._beginning or self.streams.is_running(turn)

    @contextmanager
    def beginning(self, turn: TurnId) -> Iterator[None]:
        """Until the end of the block a task is about to work on the turn: between the durable fact
        and the start of the task nobody takes the turn for abandoned, or starts a second task."""
        begun = self._beginning[turn] = asyncio.Event()
        try:
            yield
        finally:
            if self._beginning.get(turn) is begun:
                del self._beginning[turn]
            begun.set()

    async def begun(self, turn: TurnId) -> None:
        """Return when no task is about to begin."""
        while (begun := self._beginning.get(turn)) is not None:
            await begun.wait()

    async def all_begun(self) -> None:
        """The same for every turn."""
        for turn in list(self._beginning):
            await self.begun(turn)

    def alone(self, turn: TurnId) -> asyncio.Lock:
        """Held by the one who may be about to go on with a held turn."""
        return self._alone.setdefault(turn, asyncio.Lock())

    async def settled(self, turn: TurnId) -> None:
        """Return when no task of this process works on the turn."""
        await self.begun(turn)
        await self.streams.settled(turn)

    async def finished(self, turn: TurnId) -> None:
        """Return when the task of a turn whose terminal event is shown has ended; else at once."""
        found = self.streams.find(turn)
        if found is not None and found.is_ended:
            await self.streams.settled(turn)

    async def is_ours(self, turn: TurnId) -> bool:
        """Whether the turn belongs to this process."""
        return (await self._store.turn(self._scope, turn)).owner == self._store.owner

    async def that_resolved(
        self, conversation: ConversationId, call: CallId, *, after: int
    ) -> TurnId | None:
        """The turn of the newest result of `call` behind fact number `after`."""
        kinds = ("tool.resolved",)
        facts = await self._store.read(self._scope, conversation, after=after, kinds=kinds)
        for recorded in reversed(facts):
            fact = recorded.event
            if isinstance(fact, ToolResolved) and fact.result.call_id == call:
                return fact.turn
        return None

    # To work with.

    def new(self, conversation: ConversationId, turn: TurnId) -> StreamSession:
        """The session of a turn that was just accepted."""
        return self._made(conversation, turn, epoch=0, start=0)

    async def own(self, turn: TurnId) -> StreamSession:
        """The session of an open turn, which is this process's from now on. Raises NotFound."""
        await self.begun(turn)
        return await self.own_beginning(turn)

    async def own_beginning(self, turn: TurnId) -> StreamSession:
        """The same for the one who is about to begin."""
        if not self.streams.is_running(turn) and not await self.is_ours(turn):
            await self._store.take_turn(self._scope, turn)
        found = await self._here(turn)
        if found is not None:
            return found
        record = await self._store.turn(self._scope, turn)
        rows = await self._read_run(turn, 0)
        start = rows[-1].last if rows else 0
        made = self._made(record.conversation, turn, epoch=record.epoch, start=start)
        return self.streams.keep(made)

    async def adopt(self, record: TurnRecord) -> tuple[StreamSession, Sequence[RunRow]]:
        """The session of a turn that was left by a dead process and is this one's since `record`,
        with what its run log holds."""
        self.streams.forget(record.id)
        rows = await self._read_run(record.id, 0)
        start = rows[-1].last if rows else 0
        made = self._made(record.conversation, record.id, epoch=record.epoch, start=start)
        return self.streams.keep(made), rows

    async def hand_over(self, session: StreamSession) -> None:
        """Let the readers of a session go on in the run log: the turn is another process's."""
        record = await self._store.turn(self._scope, session.turn)
        session.hand_over(self._stored(record))

    async def _here(self, turn: TurnId) -> StreamSession | None:
        """The session in memory, unless the turn has moved since."""
        found = self.streams.find(turn)
        if found is None or self.streams.is_running(turn) or (found.is_ended and found.is_stored):
            return found
        record = await self._store.turn(self._scope, turn)
        is_otherwise = found.is_ended and not record.open  # it was said to fail, and was written
        if self.streams.is_running(turn) or (record.epoch == found.epoch and not is_otherwise):
            return self.streams.find(turn)
        found.hand_over(self._stored(record))
        self.streams.forget(turn)
        return None

    # To read from.

    async def reading(
        self, conversation: ConversationId | None, turn: TurnId, after: After = 0
    ) -> StreamSession:
        """A session to read a turn from behind `after`, wherever it runs or ran; `conversation`:
        it must be one of this one. Raises NotFound, InvalidInput."""
        at = Cursor.of(after)
        await self.begun(turn)
        found = await self._here(turn)
        if found is None or (at.epoch or 0) > found.epoch:
            # What is here may not know yet that another process has taken the turn.
            record = await self._store.turn(self._scope, turn)
            if found is None or record.epoch > found.epoch:
                found = self._stored(record)
        if conversation not in (None, found.conversation):
            raise NotFound(f"no turn {turn!r} in this conversation")
        return found

    async def follow(
        self, conversation: ConversationId | None, turn: TurnId, after: After
    ) -> AsyncIterator[Numbered]:
        """Every event of a turn behind `after`, wherever it runs."""
        session = await self.reading(conversation, turn, after)
        async for numbered in session.numbered(after):
            yield numbered

    def _made(
        self, conversation: ConversationId, turn: TurnId, *, epoch: int, start: int
    ) -> StreamSession:
        return StreamSession(
            turn,
            conversation,
            read_run=partial(self._read_run, turn),
            elsewhere=partial(self._elsewhere, turn),
            epoch=epoch,
            start=start,
        )

    def _stored(self, record: TurnRecord) -> StoredSession:
        return StoredSession(
            record.id,
            record.conversation,
            read_run=partial(self._read_run, record.id),
            look=partial(self._store.turn, self._scope, record.id),
            clock=self._clock,
            epoch=record.epoch,
        )

    async def _elsewhere(self, turn: TurnId, epoch: int) -> StreamSession | None:
        await self._clock.sleep(ELSEWHERE_S)
        record = await self._store.turn(self._scope, turn)
        return None if record.epoch == epoch else self._stored(record)

    async def _read_run(self, turn: TurnId, after: int) -> list[RunRow]:
        return await self._store.read_run(self._scope, turn, after=after)
