"""Following a turn that does not run in this process, from its durable run log."""

from collections.abc import AsyncIterator, Awaitable, Callable

from palaver.domain.clock import Clock
from palaver.domain.ids import ConversationId, TurnId
from palaver.domain.stream import TERMINAL
from palaver.store.base import TurnRecord
from palaver.streams.cursor import After, Batch, Cursor, standing, unpack
from palaver.streams.session import ReadRun, StreamSession, unknown_epoch

POLL_S = 0.1
"""Between looks at a turn that another process runs: rows come every 50 ms at most."""


class StoredSession(StreamSession):
    """A turn that runs in another process, or that ended and left memory. It is only read.

    `look`: the row of the turn as it is now.
    """

    def __init__(
        self,
        turn: TurnId,
        conversation: ConversationId,
        *,
        read_run: ReadRun,
        look: Callable[[], Awaitable[TurnRecord]],
        clock: Clock,
        epoch: int = 0,
    ) -> None:
        super().__init__(turn, conversation, read_run=read_run, epoch=epoch)
        self._rows_behind, self._look, self._clock = read_run, look, clock

    async def batches(self, after: After = 0) -> AsyncIterator[Batch]:
        """See `StreamSession.batches`."""
        place = Cursor.of(after)
        has_read = False
        while True:
            # In this order: what is written after the look is found at the next one.
            record = await self._look()
            place = await self._placed(place, record)
            cursor = place.number
            for batch in unpack(await self._rows_behind(cursor), cursor):
                if place.epoch is not None and batch.epoch > place.epoch:
                    break  # it was taken over a moment ago, perhaps from further back
                if batch.first != cursor + 1:
                    raise self._gap(cursor)
                cursor, has_read = batch.last, True
                self._before = max(self._before, cursor)
                yield batch
                if isinstance(batch.events[-1], TERMINAL):
                    return
            else:
                if not record.open:
                    if has_read or await self._is_end(cursor):
                        return
                    raise self._gap(cursor)
            place = Cursor(cursor, place.epoch)
            await self._clock.sleep(POLL_S)

    async def _placed(self, at: Cursor, record: TurnRecord) -> Cursor:
        """What of the place stands in the turn's epoch of now."""
        if at.epoch is None or at.epoch == record.epoch:
            return Cursor(at.number, record.epoch)
        if at.epoch > record.epoch:
            raise unknown_epoch(self.turn, at)
        rows = await self._rows_behind(0)
        if not rows and not record.open:
            raise self._gap(at.number)
        # Rows may be of a later epoch than the record by now; they are placed at the next look.
        return Cursor(standing(rows, at.number, at.epoch), record.epoch)

    async def _is_end(self, cursor: int) -> bool:
        """Whether the last event of a turn that has ended is this one: a client that had all of
        them has missed nothing."""
        rows = await self._rows_behind(cursor - 1) if cursor else ()
        return bool(rows) and rows[-1].last == cursor
