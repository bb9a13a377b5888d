"""A clock that is told the time, so that a test of waiting neither waits nor depends on luck.

Sleepers wake in the order of their hours, and of their calls where the hours are equal. Between
two wake-ups the event loop turns often enough for everything that follows from the first to happen;
work in other threads is not seen, for that there is `until_sleeping`.
"""

import asyncio
import heapq

_TURNS = 25
"""Steps of the event loop that count as settled: the longest chain of awaits that a wake-up starts
is far shorter, and 25 empty steps cost some 50 µs."""


class ToldClock:
    """A `Clock` that stands still until `advance`; with `auto` every sleep moves it at once.

    Do not use `auto` where a watchdog sleeps beside the work that it watches: it bites at once.
    """

    def __init__(self, *, start: float = 1_800_000_000.0, auto: bool = False) -> None:
        self.auto = auto
        self._start = start
        self._passed = 0.0
        self._order = 0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        """Seconds since 1970, as told."""
        return self._start + self._passed

    def monotonic(self) -> float:
        """Seconds told since this clock was made."""
        return self._passed

    @property
    def sleeping(self) -> int:
        """How many tasks wait for this clock."""
        return sum(not future.done() for _, _, future in self._sleepers)

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been told of `seconds` more. Zero and less only yield."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        self._order += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (self._passed + seconds, self._order, future)
        heapq.heappush(self._sleepers, entry)
        try:
            if self.auto:
                await self._come_first(entry)
            else:
                await future
        finally:
            future.cancel()
            if entry in self._sleepers:
                self._sleepers.remove(entry)
                heapq.heapify(self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Tell that `seconds` passed. Every sleeper due by then has run when this returns.

        Who falls asleep again on the way and is due within the time wakes again.
        """
        until = self._passed + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            due, _, future = heapq.heappop(self._sleepers)
            self._passed = max(self._passed, due)
            if not future.done():
                future.set_result(None)
                await self.settle()
        self._passed = until
        await self.settle()

    async def settle(self) -> None:
        """Let everything run that can run without time passing."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    async def until_sleeping(self, count: int = 1) -> None:
        """Wait until `count` tasks wait for this clock, real threads and sockets included."""
        while self.sleeping < count:  # noqa: ASYNC110 - polling sees threads and sockets too
            await asyncio.sleep(0.001)

    async def _come_first(self, entry: tuple[float, int, asyncio.Future[None]]) -> None:
        # Yielding first lets tasks that would wake earlier get their place in the queue.
        await asyncio.sleep(0)
        while self._sleepers[0] is not entry:  # noqa: ASYNC110 - time moves at once, not later
            await asyncio.sleep(0)
        self._passed = max(self._passed, entry[0])
