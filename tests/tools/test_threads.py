"""Blocking functions in threads."""

import asyncio
import threading

import pytest

from palaver.tools.threads import LIMIT, in_thread, is_cancelled


async def test_values_and_errors_come_back() -> None:
    """What the function returns or raises is the caller's."""
    assert await in_thread(lambda: 17) == 17
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


async def test_cancelled_function_is_told_and_waited_for() -> None:
    """A running function sees that it was cancelled, and its end is waited for."""
    started = threading.Event()
    seen: list[bool] = []

    def work() -> None:
        started.set()
        for _ in range(60_000):
            if is_cancelled():
                break
            threading.Event().wait(0.001)
        seen.append(is_cancelled())

    running = asyncio.ensure_future(in_thread(work))
    assert await asyncio.to_thread(started.wait, 60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert seen == [True]
    assert not is_cancelled()


async def test_threads_are_bounded_and_waiters_can_leave() -> None:
    """Beyond the limit calls wait, and one that is cancelled while it waits never runs."""
    release, ran = threading.Event(), []
    busy = [asyncio.ensure_future(in_thread(lambda: release.wait(60))) for _ in range(LIMIT)]
    waiting = asyncio.ensure_future(in_thread(lambda: ran.append(1)))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    release.set()
    assert all(await asyncio.gather(*busy))
    assert await in_thread(lambda: ran) == []
