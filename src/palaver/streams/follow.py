"""Following a turn that does not run in this process, from its durable run log."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from palaver.domain.clock import Clock
from palaver.domain.ids import ConversationId, TurnId
from palaver.domain.stream import TERMINAL, StreamEvent
from palaver.streams.session import ReadRun, ResumeGap, StreamSession, unpack

POLL_S = 0.1
"""Between looks at a turn that another process runs: rows come every 50 ms at most."""


class StoredSession(StreamSession):
    """A turn that runs in another process, or that ended and left memory. It is only read."""

    def __init__(
        self,
        turn: TurnId,
        conversation: ConversationId,
        *,
        read_run: ReadRun,
        is_open: Callable[[], Awaitable[bool]],
        clock: Clock,
        epoch: int = 0,
    ) -> None:
        super().__init__(turn, conversation, read_run=read_run, epoch=epoch)
        self._rows_behind, self._is_open, self._clock = read_run, is_open, clock

    async def batches(self, after: int = 0) -> AsyncIterator[tuple[int, Sequence[StreamEvent]]]:
        """See `StreamSession.batches`. Raises ResumeGap when the events are no longer kept."""
        cursor = after
        while True:
            was_open = await self._is_open()
            found = unpack(await self._rows_behind(cursor), cursor)
            if found:
                self._before = max(self._before, found[-1][0] + len(found[-1][1]) - 1)
            for first, events in found:
                if first != cursor + 1:
                    raise self._gap(cursor)
                cursor = first + len(events) - 1
                yield first, events
                if isinstance(events[-1], TERMINAL):
                    return
            if not was_open:
                # It was closed before we looked, so there will be no more: a client that had
                # everything up to the terminal event asks for nothing further.
                if cursor == after:
                    raise self._gap(cursor)
                return
            await self._clock.sleep(POLL_S)

    def _gap(self, cursor: int) -> ResumeGap:
        return ResumeGap(
            f"the events behind {cursor} of turn {self.turn} are no longer kept",
            hint="Read the conversation's messages; the answer is among them.",
        )
