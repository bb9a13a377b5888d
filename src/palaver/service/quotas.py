"""How much of it: limits on requests, tokens, turns at a time, and money per day.

Requests and tokens are counted in this process for a minute. Money is counted in the store, by all
processes and through every restart. Tokens and money are known when an answer ends, so they are
looked at before one begins: the request that goes past a limit is the last one, and turns that run
at that moment may go past it together.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import msgspec

from palaver.domain.access import KeyLimits, Principal
from palaver.domain.clock import Clock
from palaver.domain.errors import QuotaExceeded
from palaver.domain.values import Usage
from palaver.service.windows import MemoryWindows, Reading, Windows
from palaver.store.access import AccessStore

TURN_RETRY_S = 1.0
"""When to ask again for a turn: nobody knows when a running one ends."""


class QuotaState(msgspec.Struct, frozen=True):
    """What is left of each limit that there is, for headers."""

    requests: Reading | None = None
    tokens: Reading | None = None
    turns: Reading | None = None
    usd: Reading | None = None


class Quotas:
    """The limits of everybody who calls. `defaults`: of those whose key says nothing of it."""

    def __init__(
        self,
        store: AccessStore,
        *,
        clock: Clock,
        defaults: KeyLimits | None = None,
        windows: Windows | None = None,
    ) -> None:
        self._store, self._clock = store, clock
        self._defaults = defaults or KeyLimits()
        self._windows = windows or MemoryWindows(clock=clock)
        self._turns: Counter[tuple[str, str]] = Counter()

    def limits(self, principal: Principal) -> KeyLimits:
        """What holds for them: what their key says, and the defaults where it says nothing."""
        own = principal.limits
        if own is None:
            return self._defaults
        told = {
            name: getattr(self._defaults, name) if (value := getattr(own, name)) is None else value
            for name in own.__struct_fields__
        }
        return KeyLimits(**told)

    async def check(self, principal: Principal, *, spends: bool = True) -> QuotaState:
        """Count one request; what is left. Raises QuotaExceeded, and then nothing is counted.

        `spends`: a model will work for it. Otherwise tokens and money that are used up keep nobody
        from it, and money is not looked at.
        """
        limits = self.limits(principal)
        usd = await self._money(principal, limits.usd_per_day if spends else None)
        tokens = await self._tokens(principal, limits.tokens_per_minute, spends=spends)
        turns = self._running(principal, limits.concurrent_turns)
        requests = await self._request(principal, limits.requests_per_minute)
        return QuotaState(requests, tokens, turns, usd)

    async def afford(self, principal: Principal) -> None:
        """Raises QuotaExceeded where tokens or money are used up. Counts nothing."""
        limits = self.limits(principal)
        await self._money(principal, limits.usd_per_day)
        await self._tokens(principal, limits.tokens_per_minute, spends=True)

    @asynccontextmanager
    async def turn(self, principal: Principal) -> AsyncIterator[None]:
        """One of the turns that they may have at a time, until the end of the block.

        Raises QuotaExceeded where all of them run.
        """
        allowed = self.limits(principal).concurrent_turns
        at = (principal.tenant, principal.account)
        if allowed is not None and self._turns[at] >= allowed:
            raise QuotaExceeded("concurrent_turns", allowed=allowed, retry_after_s=TURN_RETRY_S)
        self._turns[at] += 1
        try:
            yield
        finally:
            self._turns[at] -= 1
            if not self._turns[at]:
                del self._turns[at]

    async def charge(
        self, principal: Principal, *, model: str, usage: Usage, cost: float | None
    ) -> None:
        """Count what one model call has used: tokens at once, money durably.

        `cost` in USD; None where nobody knows the price. Raises StoreError; what the minute has
        used is counted all the same.
        """
        await self._windows.add(_name("tokens", principal), usage.total)
        await self._store.add_spent(
            principal.tenant, principal.account, self._today(), model, usage=usage, cost=cost
        )

    async def _money(self, principal: Principal, allowed: float | None) -> Reading | None:
        if allowed is None:
            return None
        spent = await self._store.spent(principal.tenant, principal.account, self._today())
        tomorrow_s = self._until_tomorrow()
        if spent >= allowed:
            raise QuotaExceeded("usd_per_day", allowed=allowed, retry_after_s=tomorrow_s)
        return Reading(allowed, allowed - spent, tomorrow_s)

    async def _tokens(
        self, principal: Principal, allowed: int | None, *, spends: bool
    ) -> Reading | None:
        if allowed is None:
            return None
        name = _name("tokens", principal)
        left = await self._windows.reading(name, allowed)
        if spends and left.remaining < 1:
            wait = await self._windows.wait_s(name, allowed)
            raise QuotaExceeded("tokens_per_minute", allowed=allowed, retry_after_s=wait)
        return left

    async def _request(self, principal: Principal, allowed: int | None) -> Reading | None:
        if allowed is None:
            return None
        name = _name("requests", principal)
        left = await self._windows.take(name, allowed)
        if left is None:
            wait = await self._windows.wait_s(name, allowed)
            raise QuotaExceeded("requests_per_minute", allowed=allowed, retry_after_s=wait)
        return left

    def _running(self, principal: Principal, allowed: int | None) -> Reading | None:
        if allowed is None:
            return None
        running = self._turns[principal.tenant, principal.account]
        return Reading(allowed, max(0, allowed - running), 0.0)

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock.now(), UTC).date()

    def _until_tomorrow(self) -> float:
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
        return (midnight - now).total_seconds()


def _name(what: str, principal: Principal) -> str:
    # The length of the tenant's name parts the two: no tenant can make up another one's name.
    tenant, account = principal.tenant, principal.account
    return f"{what}:{len(tenant)}:{tenant}:{account}"
