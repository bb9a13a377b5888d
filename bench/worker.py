"""One contestant in its own process: takes orders as JSON lines, answers with figures.

Imports, garbage and memory of one contestant so cannot weigh on another, and the provider's CPU is
nobody's. Ends when its standard input ends.
"""

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import memory
from bench.contestants import make
from bench.contestants.base import starts
from bench.crowd import crowd
from bench.processes import allow_sockets
from bench.scenario import QUESTION
from bench.wire import WARM_UP

SETTLE_S = 0.06
"""Counted after the end of a turn, so that work put off is work counted."""


class Worker:
    """Carries out orders; every method takes and gives plain JSON."""

    def __init__(self, name: str) -> None:
        self._contestant = make(name)

    async def begin(self, api: str, url: str, folder: str, tools: bool) -> dict[str, Any]:
        """A new conversation."""
        await self._contestant.begin(api, url, Path(folder), tools=tools)
        return {}

    async def deltas(self) -> dict[str, Any]:
        """One turn on a warm connection, in time and CPU: to the first text, and to the end."""
        await self._contestant.say(WARM_UP, _Heard())
        await asyncio.sleep(SETTLE_S)
        heard = _Heard()
        gc.collect()
        heard.begin()
        await self._contestant.say(QUESTION, heard)
        wall_s = time.perf_counter() - heard.began
        await asyncio.sleep(SETTLE_S)
        cpu_s = time.process_time() - heard.began_cpu
        return {
            "chars": heard.chars,
            "pieces": heard.pieces,
            "wall_s": wall_s,
            "cpu_s": cpu_s,
            "first_s": heard.first - heard.began,
            "first_cpu_s": heard.first_cpu - heard.began_cpu,
        }

    async def tools(self) -> dict[str, Any]:
        """One turn with calls: when they started, and how long the turn took, in seconds."""
        await self._contestant.say(WARM_UP, _Heard())
        starts.clear()
        began = time.monotonic()
        await self._contestant.say(QUESTION, _Heard())
        ended = time.monotonic()
        return {"starts_s": sorted(s - began for s in starts), "wall_s": ended - began}

    async def crowd(
        self, number: int, deltas: int, limit_s: float, over_s: float = 0.0
    ) -> dict[str, Any]:
        """`number` new conversations, a turn of so many stamped deltas in each, begun over so many
        seconds.
        """
        await self._contestant.say(WARM_UP, _Heard())
        return await crowd(self._contestant, number, deltas, limit_s=limit_s, over_s=over_s)

    async def turns(self, number: int) -> dict[str, Any]:
        """So many turns: CPU and wall seconds of each."""
        cpu: list[float] = []
        wall: list[float] = []
        for _ in range(number):
            heard = _Heard()
            heard.begin()
            await self._contestant.say(QUESTION, heard)
            cpu.append(time.process_time() - heard.began_cpu)
            wall.append(time.perf_counter() - heard.began)
        return {"cpu_s": cpu, "wall_s": wall}

    async def fill(self, turns: int) -> dict[str, Any]:
        """So many turns appear in the history without having been run."""
        await self._contestant.fill(turns)
        return {}

    async def memory(self, reset: bool = False) -> dict[str, Any]:
        """Bytes in memory: now, and at most since the last reset."""
        gc.collect()
        if reset:
            memory.reset_peak()
        return {"now": memory.now(), "peak": memory.peak()}

    async def aclose(self) -> dict[str, Any]:
        """Let go of everything."""
        await self._contestant.aclose()
        return {}


class _Heard:
    """The subscriber: counts, and remembers when the first text came."""

    def __init__(self) -> None:
        self.chars = self.pieces = 0
        self.began = self.began_cpu = self.first = self.first_cpu = 0.0

    def begin(self) -> None:
        self.began_cpu, self.began = time.process_time(), time.perf_counter()

    def __call__(self, piece: str) -> None:
        if not self.pieces:
            self.first_cpu, self.first = time.process_time(), time.perf_counter()
        self.pieces += 1
        self.chars += len(piece)


def main(name: str, loop: str = "asyncio") -> None:
    """Serve until standard input ends. What libraries print goes to standard error."""
    allow_sockets()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    with asyncio.Runner(loop_factory=_loops(loop)) as runner:
        worker: Any = _worker(name)
        answers.write("{}\n")
        for line in sys.stdin:
            order = json.loads(line)
            try:
                given = runner.run(getattr(worker, order.pop("do"))(**order))
            except Exception as error:
                given = {"error": f"{type(error).__name__}: {error}"}
            answers.write(json.dumps(given) + "\n")
        runner.run(worker.aclose())


def _loops(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop called `name`; None for asyncio's own."""
    if name == "asyncio":
        return None
    import uvloop

    return uvloop.new_event_loop


def _worker(name: str) -> Any:
    if name == "store":
        from bench.measure.store_worker import StoreWorker

        return StoreWorker()
    if name == "stream-client":
        from bench.stream_client import StreamClient

        return StreamClient()
    return Worker(name)


if __name__ == "__main__":
    main(*sys.argv[1:])
