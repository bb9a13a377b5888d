"""What lies between the socket of a provider and a reader in the same process: nothing that waits.

The provider runs in a thread with a loop of its own, so that every timer and every call from
another thread that the measured loop sees is Palaver's.
"""

import asyncio
import selectors
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any, TypeVarTuple

import pytest

import palaver
from palaver import TextDelta
from palaver.settings import Clocks, Settings, StreamSettings
from palaver.store.blobs import MemoryBlobStore
from palaver.store.memory import MemoryStore
from palaver.testing import Say
from palaver.testing.provider_server import ProviderServer, Reply
from tests.contract.test_wires import WIRES, model_of

Ts = TypeVarTuple("Ts")
DELTAS = 150
FIXED = 20
"""Timers and calls from threads of a turn, however long its answer is: clocks, look-ups, flush."""


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts timers, and calls that other threads make."""

    def __init__(self) -> None:
        super().__init__(selectors.DefaultSelector())
        self.timers = self.hops = 0

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        self.timers += 1
        return super().call_at(when, callback, *args, context=context)

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self.hops += 1
        return super().call_soon_threadsafe(callback, *args, context=context)


@contextmanager
def provider() -> Iterator[ProviderServer]:
    """A server that says one short delta after the other."""
    server, listens, ended = ProviderServer(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with server:
            listens.set()
            await ended.wait()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert listens.wait(10)
        yield server
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


@pytest.mark.parametrize("wire", WIRES)
def test_no_timer_and_no_thread_for_a_delta(wire: str) -> None:
    """Neither the idle clock nor the flush of the run log nor anything else arms a timer for each
    delta, and no delta passes through another thread."""

    async def heard(loop: CountingLoop, server: ProviderServer) -> tuple[int, int, int]:
        server.script([Reply([Say("word " * DELTAS)], piece=5, pace_s=0.002)])
        model = model_of(wire, server, Clocks(idle_s=30.0))
        stores: dict[str, Any] = {"store": MemoryStore(), "blobs": MemoryBlobStore()}
        settings = Settings(stream=StreamSettings(flush_s=60.0))
        async with palaver.open(model=model, settings=settings, **stores) as manager:
            conversation = await manager.create()
            deltas, timers, hops = 0, loop.timers, loop.hops
            async for event in conversation.stream("Hello"):
                deltas += isinstance(event, TextDelta)
            timers, hops = loop.timers - timers, loop.hops - hops
        await model.aclose()
        return deltas, timers, hops

    loop = CountingLoop()
    with provider() as server, asyncio.Runner(loop_factory=lambda: loop) as runner:
        deltas, timers, hops = runner.run(heard(loop, server))
    assert deltas > 2 * FIXED, "the deltas came together: nothing was measured"
    assert timers < FIXED
    assert hops < FIXED
