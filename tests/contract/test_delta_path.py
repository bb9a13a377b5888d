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
from typing import Any, TypeAlias, TypeVarTuple

import pytest

import palaver
from palaver import TextDelta
from palaver.settings import Settings, StreamSettings
from palaver.store.blobs import MemoryBlobStore
from palaver.store.memory import MemoryStore
from palaver.testing import Pause, Say
from palaver.testing.provider_server import ProviderServer
from tests.contract.test_wires import PATIENT, WIRES, model_of

Ts = TypeVarTuple("Ts")
WORD, DELTAS = "word ", 60
"""Each is sent when the one before it was heard, so that none come together."""
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


Told: TypeAlias = Callable[[asyncio.Event], object]


@contextmanager
def provider() -> Iterator[tuple[ProviderServer, Told]]:
    """A server in a thread, and what sets an event that its script waits for."""
    server, listens, ended = ProviderServer(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with server:
            listens.set()
            await ended.wait()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert listens.wait(60)
        yield server, lambda event: loop.call_soon_threadsafe(event.set)
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


@pytest.mark.parametrize("wire", WIRES)
def test_no_timer_and_no_thread_for_a_delta(wire: str) -> None:
    """Neither the idle clock nor the flush of the run log nor anything else arms a timer for each
    delta, and no delta passes through another thread."""

    async def heard(loop: CountingLoop, server: ProviderServer, told: Told) -> tuple[int, int, int]:
        gates = [asyncio.Event() for _ in range(DELTAS)]
        server.script([[step for gate in gates for step in (Say(WORD), Pause(until=gate))]])
        model = model_of(wire, server, PATIENT)
        stores: dict[str, Any] = {"store": MemoryStore(), "blobs": MemoryBlobStore()}
        settings = Settings(stream=StreamSettings(flush_s=60.0))
        async with palaver.open(model=model, settings=settings, **stores) as manager:
            conversation = await manager.create()
            deltas, text, timers, hops = 0, "", loop.timers, loop.hops
            async for event in conversation.stream("Hello"):
                if isinstance(event, TextDelta):
                    deltas, text = deltas + 1, text + event.text
                    told(gates[len(text) // len(WORD) - 1])
            timers, hops = loop.timers - timers, loop.hops - hops
        await model.aclose()
        return deltas, timers, hops

    loop = CountingLoop()
    with provider() as (server, told), asyncio.Runner(loop_factory=lambda: loop) as runner:
        deltas, timers, hops = runner.run(heard(loop, server, told))
    assert deltas == DELTAS
    assert timers < FIXED
    assert hops < FIXED
