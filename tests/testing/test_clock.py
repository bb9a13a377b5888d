"""The clock that is told the time."""

import asyncio

from palaver.testing import ToldClock


async def test_nobody_wakes_by_itself() -> None:
    """A sleeper wakes when the clock was told of all its seconds, not before."""
    clock = ToldClock(start=1000.0)
    sleeper = asyncio.create_task(clock.sleep(10))
    await clock.advance(9.5)
    assert not sleeper.done()
    await clock.advance(0.5)
    assert sleeper.done()
    assert (clock.monotonic(), clock.now()) == (10.0, 1010.0)


async def test_sleepers_wake_in_order_of_time() -> None:
    """One long step wakes everybody in order, also who falls asleep again on the way."""
    clock = ToldClock()
    woken: list[tuple[str, float]] = []

    async def repeat(name: str, seconds: float, times: int) -> None:
        for _ in range(times):
            await clock.sleep(seconds)
            woken.append((name, clock.monotonic()))

    async with asyncio.TaskGroup() as group:
        group.create_task(repeat("two", 2, 2))
        group.create_task(repeat("one", 1, 3))
        await clock.advance(100)
    assert woken == [("one", 1), ("two", 2), ("one", 2), ("one", 3), ("two", 4)]
    assert clock.monotonic() == 100


async def test_cancelled_sleeper_leaves_nothing() -> None:
    """A cancelled sleep raises CancelledError and is forgotten."""
    clock = ToldClock()
    sleeper = asyncio.create_task(clock.sleep(5))
    await clock.settle()
    assert clock.sleeping == 1
    sleeper.cancel()
    await asyncio.wait([sleeper])
    assert sleeper.cancelled()
    assert clock.sleeping == 0
    await clock.advance(10)


async def test_auto_moves_by_itself_and_in_order() -> None:
    """With `auto`, sleeping takes no real time and still happens in order of time."""
    clock = ToldClock(auto=True)
    woken: list[float] = []

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(clock.monotonic())

    await asyncio.gather(sleep(3600), sleep(60), sleep(0.5))
    assert woken == [0.5, 60, 3600]


async def test_until_sleeping_sees_a_sleeper_that_comes_later() -> None:
    """`until_sleeping` waits for work that is not ready yet."""
    clock = ToldClock()

    async def later() -> None:
        await asyncio.sleep(0.002)
        await clock.sleep(1)

    task = asyncio.create_task(later())
    await clock.until_sleeping()
    await clock.advance(1)
    await task
