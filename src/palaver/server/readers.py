"""Everybody who reads a stream: how many there may be, signs of life, and letting go of those who
take nothing.

One task looks after all of them, and only while there are some.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeAlias

from palaver.domain.clock import Clock
from palaver.domain.errors import PalaverError, QuotaExceeded
from palaver.domain.values import ErrorInfo
from palaver.server.errors import Draining

RETRY_S = 1.0
"""When somebody may come again for whom there was no room, or who was let go of at the end."""
Account: TypeAlias = tuple[str, str]
"""Tenant, and by what the caller is counted there."""


class ServerBusy(PalaverError):
    """As many read as the server takes."""

    code = "server_busy"
    retryable = True
    default_hint = "Try again in a moment; turns run on meanwhile."

    def info(self) -> ErrorInfo:
        """This error as a value, with the time after which it is worth to try again."""
        return ErrorInfo(self.code, self.message, self.hint, True, retry_after_s=RETRY_S)


class Reader(Protocol):
    """Somebody who reads."""

    def look(self, now: float) -> None:
        """Give a sign of life, or let go, where it is time; called again and again."""
        ...

    def end(self) -> None:
        """Say goodbye: the server ends."""
        ...


class Readers:
    """Those of one kind. `what` names the limit of a caller; `every_s`: between looks at them."""

    def __init__(
        self, what: str, *, clock: Clock, limit: int, limit_each: int, every_s: float
    ) -> None:
        self._what, self._clock, self._every_s = what, clock, every_s
        self._limit, self._limit_each = limit, limit_each
        self._readers: dict[Reader, Account] = {}
        self._each: Counter[Account] = Counter()
        self._looking: asyncio.Task[None] | None = None
        self._has_ended = False

    def __len__(self) -> int:
        return len(self._readers)

    def check(self, account: Account, *, more: bool = True) -> None:
        """Raises QuotaExceeded, ServerBusy or Draining where there is no room for one more of this
        caller's. `more`: it is one more for the server, too."""
        if self._has_ended:
            raise Draining("the server is ending")
        if self._each[account] >= self._limit_each:
            raise QuotaExceeded(self._what, allowed=self._limit_each, retry_after_s=RETRY_S)
        if more and len(self._readers) >= self._limit:
            raise ServerBusy("no more readers are taken for now")

    @contextmanager
    def looked_after(self, reader: Reader, account: Account) -> Iterator[None]:
        """Count and look after a reader until the end of the block. Raises as `check`."""
        self.move(reader, account)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name=f"readers: {self._what}")
        try:
            yield
        finally:
            self._count_out(self._readers.pop(reader))
            if not self._readers and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    def move(self, reader: Reader, account: Account) -> None:
        """Count a reader as this caller's from now on. Raises as `check`."""
        if self._readers.get(reader) == account:
            return
        self.check(account, more=reader not in self._readers)
        if reader in self._readers:
            self._count_out(self._readers[reader])
        self._readers[reader] = account
        self._each[account] += 1

    def _count_out(self, account: Account) -> None:
        self._each[account] -= 1
        if not self._each[account]:
            del self._each[account]

    def end(self) -> None:
        """Let go of everybody and take nobody any more."""
        self._has_ended = True
        for reader in tuple(self._readers):
            reader.end()

    async def _look(self) -> None:
        while True:
            await self._clock.sleep(self._every_s)
            now = self._clock.monotonic()
            for reader in tuple(self._readers):
                reader.look(now)
