"""Following a turn that does not run in this process, from its durable run log."""

from collections.abc import AsyncIterator, Awaitable, Callable

from palaver.domain.clock import Clock
from palaver.domain.stream import TERMINAL
from palaver.streams.session import Numbered, ReadRun, ResumeGap, unpack

POLL_S = 0.1
"""Between looks at a turn that another process runs: rows come every 50 ms at most."""


async def follow_stored(
    read_run: ReadRun,
    is_open: Callable[[], Awaitable[bool]],
    clock: Clock,
    *,
    after: int = 0,
    epoch: int = 0,
) -> AsyncIterator[Numbered]:
    """Every event behind `after` once, in order, to the terminal event.

    Raises ResumeGap when the events are no longer kept.
    """
    cursor = after
    while True:
        was_open = await is_open()
        for first, events in unpack(await read_run(cursor), cursor):
            if first != cursor + 1:
                raise ResumeGap(f"the events behind {cursor} are no longer kept")
            for number, event in enumerate(events, first):
                cursor = number
                yield Numbered(number, event, epoch)
                if isinstance(event, TERMINAL):
                    return
        if not was_open:
            # It was closed before we looked, so there will be no more: a client that had everything
            # up to the terminal event asks for nothing further.
            if cursor == after:
                raise ResumeGap(f"the events behind {cursor} are no longer kept")
            return
        await clock.sleep(POLL_S)
