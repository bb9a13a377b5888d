"""Who may run now: parallel tools together up to a limit, an exclusive one alone.

Admission is in order of arrival, so a stream of parallel calls cannot starve an exclusive one.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from palaver.domain.errors import InvalidInput


class Gate:
    """One turn's admission. Belongs to one event loop."""

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise InvalidInput(f"at least one tool must be able to run; the limit is {limit}")
        self._limit = limit
        self._inside = 0
        self._is_alone = False
        self._waiting: deque[tuple[bool, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def enter(self, *, exclusive: bool) -> AsyncIterator[None]:
        """Inside the block the caller runs, beside others unless `exclusive`."""
        await self._acquire(exclusive)
        try:
            yield
        finally:
            self._inside -= 1
            self._is_alone = False
            self._admit()

    async def _acquire(self, exclusive: bool) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((exclusive, turn))
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._inside -= 1
                self._is_alone = False
            self._waiting = deque(entry for entry in self._waiting if entry[1] is not turn)
            self._admit()
            raise

    def _admit(self) -> None:
        while self._waiting and not self._is_alone and self._inside < self._limit:
            exclusive, turn = self._waiting[0]
            if exclusive and self._inside:
                return
            self._waiting.popleft()
            if turn.done():  # cancelled while it waited
                continue
            self._inside += 1
            self._is_alone = exclusive
            turn.set_result(None)
