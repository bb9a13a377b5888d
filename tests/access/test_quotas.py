"""Limits: requests, tokens, turns at a time, money per day."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from palaver.domain.access import KeyLimits, Principal
from palaver.domain.errors import QuotaExceeded
from palaver.domain.values import Usage
from palaver.service.quotas import Quotas, QuotaState
from palaver.service.windows import MemoryWindows, Reading
from palaver.store.access import AccessStore
from palaver.store.memory_access import MemoryAccess
from palaver.store.sqlite import SqliteStore
from palaver.testing import ToldClock

NOON = 1_800_014_400.0  # 12:00 UTC of a Friday
DAY_S = 86_400.0


def who(limits: KeyLimits | None = None, *, tenant: str = "acme", key: str = "k1") -> Principal:
    return Principal(tenant, key, key, ("write",), limits)


@pytest.fixture
def clock() -> ToldClock:
    return ToldClock(start=NOON)


@pytest.fixture
def quotas(clock: ToldClock) -> Quotas:
    return Quotas(MemoryAccess(clock=clock), clock=clock)


async def refusal(quotas: Quotas, principal: Principal) -> QuotaExceeded:
    with pytest.raises(QuotaExceeded) as caught:
        await quotas.check(principal)
    return caught.value


async def test_without_limits_nothing_is_refused(quotas: Quotas) -> None:
    """A key without limits is counted and let through, and there is nothing for headers."""
    for _ in range(1_000):
        assert await quotas.check(who()) == QuotaState()
    async with quotas.turn(who()), quotas.turn(who()):
        await quotas.charge(who(), model="m", usage=Usage(input=10**9), cost=10**6)
    assert await quotas.check(who()) == QuotaState()


async def test_requests_per_minute(quotas: Quotas, clock: ToldClock) -> None:
    """As many as allowed within any minute, not one more; headers count down, and the refusal says
    when there is room again."""
    ann = who(KeyLimits(requests_per_minute=3))
    for left in (2, 1, 0):
        state = await quotas.check(ann)
        assert state.requests == Reading(3, left, 60.0)
        await clock.advance(10)
    error = await refusal(quotas, ann)
    assert (error.limit, error.allowed, error.retry_after_s) == ("requests_per_minute", 3, 30.0)
    info = error.info()
    assert (info.code, info.retryable, info.retry_after_s) == ("quota_exceeded", True, 30.0)
    await clock.advance(29.9)
    await refusal(quotas, ann)
    await clock.advance(0.1)
    await quotas.check(ann)
    await refusal(quotas, ann)


async def test_window_moves(quotas: Quotas, clock: ToldClock) -> None:
    """No minute, wherever it begins, has more than allowed: there is no edge at which to ask
    twice."""
    ann = who(KeyLimits(requests_per_minute=10))
    let_through: list[float] = []
    for _ in range(400):
        await clock.advance(0.7)
        try:
            await quotas.check(ann)
        except QuotaExceeded:
            continue
        let_through.append(clock.monotonic())
    assert len(let_through) > 40
    for at in let_through:
        assert sum(at <= other < at + 60 for other in let_through) <= 10


async def test_what_is_refused_does_not_count(quotas: Quotas, clock: ToldClock) -> None:
    """Who knocks on while refused gets in when the minute is over."""
    ann = who(KeyLimits(requests_per_minute=1))
    await quotas.check(ann)
    for _ in range(59):
        await clock.advance(1)
        await refusal(quotas, ann)
    await clock.advance(1)
    await quotas.check(ann)


async def test_tokens_per_minute(quotas: Quotas, clock: ToldClock) -> None:
    """The request that goes past the limit is the last one until there is room again; all of its
    tokens count."""
    ann = who(KeyLimits(tokens_per_minute=1_000))
    await quotas.check(ann)
    await quotas.charge(ann, model="m", usage=Usage(input=400, output=100), cost=0.0)
    assert (await quotas.check(ann)).tokens == Reading(1_000, 500, 60.0)
    await clock.advance(20)
    await quotas.charge(ann, model="m", usage=Usage(input=5_000, cache_read=5_000), cost=0.0)
    error = await refusal(quotas, ann)
    assert (error.limit, error.retry_after_s) == ("tokens_per_minute", 60.0)
    await clock.advance(45)  # the first 500 are out of the window by now, the others are not
    await refusal(quotas, ann)
    await clock.advance(15)
    assert (await quotas.check(ann)).tokens == Reading(1_000, 1_000, 0.0)


async def test_concurrent_turns_never_leak(quotas: Quotas) -> None:
    """However a turn ends (well, with an error, cancelled, refused), its place is free again."""
    ann = who(KeyLimits(concurrent_turns=2))
    async with quotas.turn(ann), quotas.turn(ann):
        assert (await quotas.check(ann)).turns == Reading(2, 0, 0.0)
        with pytest.raises(QuotaExceeded, match="concurrent_turns"):
            async with quotas.turn(ann):
                pass
        async with quotas.turn(who(KeyLimits(concurrent_turns=1), key="k2")):
            pass
    with pytest.raises(ZeroDivisionError):
        async with quotas.turn(ann):
            raise ZeroDivisionError

    async def hang() -> None:
        async with quotas.turn(ann):
            await asyncio.Event().wait()

    for _ in range(50):
        tasks = [asyncio.ensure_future(hang()) for _ in range(2)]
        await asyncio.sleep(0)
        assert (await quotas.check(ann)).turns == Reading(2, 0, 0.0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert (await quotas.check(ann)).turns == Reading(2, 2, 0.0)
    quotas.turn(ann)  # never entered, so nothing is taken
    assert (await quotas.check(ann)).turns == Reading(2, 2, 0.0)


async def test_usd_per_day(quotas: Quotas, clock: ToldClock) -> None:
    """Money is counted from midnight to midnight, UTC; models without a price count nothing."""
    ann = who(KeyLimits(usd_per_day=1.0))
    for cost in (0.4, None, 0.4):
        await quotas.check(ann)
        await quotas.charge(ann, model="m", usage=Usage(input=1), cost=cost)
    state = await quotas.check(ann)
    assert state.usd is not None
    assert (state.usd.limit, state.usd.reset_s) == (1.0, DAY_S / 2)
    assert state.usd.remaining == pytest.approx(0.2)
    await quotas.charge(ann, model="m", usage=Usage(input=1), cost=0.3)
    error = await refusal(quotas, ann)
    assert (error.limit, error.retry_after_s) == ("usd_per_day", DAY_S / 2)
    await clock.advance(DAY_S / 2 - 1)
    await refusal(quotas, ann)
    await clock.advance(1)
    assert (await quotas.check(ann)).usd == Reading(1.0, 1.0, DAY_S)


async def test_restart_gives_no_money_back(tmp_path: Path, clock: ToldClock) -> None:
    """What was spent is spent, also when the process has died, and for every process at a time."""
    ann = who(KeyLimits(usd_per_day=1.0))
    async for store in _file(tmp_path, clock):
        await Quotas(store, clock=clock).charge(ann, model="m", usage=Usage(input=1), cost=1.0)
    async for store in _file(tmp_path, clock):
        assert (await refusal(Quotas(store, clock=clock), ann)).limit == "usd_per_day"
        bob = who(KeyLimits(usd_per_day=1.0), key="k2")
        one, two = Quotas(store, clock=clock), Quotas(store, clock=clock)
        await one.charge(bob, model="m", usage=Usage(input=1), cost=2.0)
        await refusal(two, bob)


async def _file(folder: Path, clock: ToldClock) -> AsyncIterator[AccessStore]:
    store = await SqliteStore.open(folder / "chat.db", clock=clock)
    yield store.access
    await store.close()


async def test_nobody_uses_up_somebody_elses(quotas: Quotas) -> None:
    """Limits are by tenant and key, whatever they are called."""
    limits = KeyLimits(requests_per_minute=1, usd_per_day=1.0, concurrent_turns=1)
    others = [
        who(limits, tenant=tenant, key=key)
        for tenant, key in (("a", "b:c"), ("a:b", "c"), ("a", "b"), ("b", "a"), ("1:a", "b"))
    ]
    async with quotas.turn(others[0]):
        for other in others[1:]:
            async with quotas.turn(other):
                await quotas.check(other)
    for other in others[1:]:
        await quotas.charge(other, model="m", usage=Usage(input=1), cost=5.0)
    state = await quotas.check(others[0])
    assert state.usd is not None
    assert state.usd.remaining == 1.0


async def test_key_says_less_than_the_defaults(clock: ToldClock) -> None:
    """What a key says counts; what it does not say is as for everybody."""
    defaults = KeyLimits(requests_per_minute=60, usd_per_day=5.0)
    quotas = Quotas(MemoryAccess(clock=clock), clock=clock, defaults=defaults)
    assert quotas.limits(who()) == defaults
    own = who(KeyLimits(requests_per_minute=600, concurrent_turns=2))
    assert quotas.limits(own) == KeyLimits(600, None, 2, 5.0)


async def test_at_the_same_moment(quotas: Quotas) -> None:
    """Of many requests at once just as many pass as are allowed."""
    ann = who(KeyLimits(requests_per_minute=7))
    answers = await asyncio.gather(*(quotas.check(ann) for _ in range(50)), return_exceptions=True)
    assert sum(isinstance(answer, QuotaState) for answer in answers) == 7


async def test_idle_windows_are_forgotten(clock: ToldClock) -> None:
    """Those who call no more take no memory."""
    windows = MemoryWindows(clock=clock)
    for round_ in range(5):
        for i in range(1_000):
            await windows.take(f"{round_}-{i}", 10)
        await clock.advance(61)
    assert len(windows) <= 1_001
