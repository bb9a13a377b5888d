"""Everything that can happen to a running turn arrives in one place, in order.

The end of the model's stream, finished tools, progress, a person's cancel, the deadline: the turn's
loop takes one item at a time, so its decisions need no locks. What the model says on the way there
decides nothing and does not pass here (`attempt`).
"""

import asyncio
from collections import deque
from collections.abc import Container, Coroutine
from typing import Any, TypeAlias

import msgspec

from palaver.domain.clock import Clock
from palaver.domain.errors import ProviderError
from palaver.domain.ids import CallId
from palaver.domain.messages import ToolResult
from palaver.providers.base import Finished


class StreamEnded(msgspec.Struct, frozen=True):
    """Attempt `number`'s stream is over, well or not."""

    number: int
    outcome: Finished | ProviderError


class ToolDone(msgspec.Struct, frozen=True):
    """A tool has its result."""

    call_id: CallId
    result: ToolResult
    duration_s: float


class Progressed(msgspec.Struct, frozen=True):
    """A running tool says how far it is."""

    call_id: CallId
    text: str
    fraction: float | None


class Stop(msgspec.Struct, frozen=True):
    """A person cancelled the turn (`deadline` False), or its time is over."""

    deadline: bool = False


class Waited(msgspec.Struct, frozen=True):
    """The wait before the next attempt is over."""


Item: TypeAlias = StreamEnded | ToolDone | Progressed | Stop | Waited


class Inbox:
    """A queue with one reader, and the tasks that feed it."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._reports: dict[CallId, Progressed] = {}
        """The newest report of each call that nobody has taken yet."""

    def put(self, item: Item) -> None:
        """Add an item; never blocks. Producers are bounded: one stream and a few tools.

        Of a call's progress only the newest report waits, in the place of the first: a tool that
        reports in a tight loop costs no memory and delays nothing else.
        """
        if isinstance(item, Progressed):
            waits = item.call_id in self._reports
            self._reports[item.call_id] = item
            if waits:
                return
        self._items.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> Item:
        """The next item."""
        while not self._items:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._newest(self._items.popleft())

    def _newest(self, item: Item) -> Item:
        return self._reports.pop(item.call_id) if isinstance(item, Progressed) else item

    def drain(self) -> list[Item]:
        """Everything that is there, without waiting."""
        items = [self._newest(item) for item in self._items]
        self._items.clear()
        return items

    def drop(self, calls: Container[CallId]) -> None:
        """Take away everything that these calls have put and nobody has taken."""
        kept = [
            item
            for item in self._items
            if not isinstance(item, ToolDone | Progressed) or item.call_id not in calls
        ]
        self._items = deque(kept)
        self._reports = {id: report for id, report in self._reports.items() if id not in calls}

    async def pause(self, seconds: float, clock: Clock) -> Stop | None:
        """Wait; returns early with what stopped the turn meanwhile. What an attempt that is over
        left behind is dropped."""

        async def alarm() -> None:
            await clock.sleep(seconds)
            self.put(Waited())

        self.spawn(alarm(), name="wait before the next attempt")
        while True:
            match await self.get():
                case Waited():
                    return None
                case Stop() as stop:
                    return stop
                case _:
                    pass

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run `work`, which reports by `put` and never raises."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """Cancel every task and wait until all have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
