"""Many conversations at once in one process: how late each delta reaches its subscriber."""

import asyncio
import gc
import time
from array import array
from typing import Any

from bench import memory
from bench.contestants.base import Contestant
from bench.pacing import STAMP_CHARS, delays_ns
from bench.scenario import QUESTION

SETTLE_S = 0.5
"""After the last turn, so that work and memory put off are seen."""
MAX_CONVERSATIONS = 2000


async def crowd(
    first: Contestant,
    number: int,
    deltas: int,
    *,
    limit_s: float,
    over_s: float = 0.0,
    settle_s: float = SETTLE_S,
) -> dict[str, Any]:
    """Say something in `number` new conversations, and wait for all answers.

    They begin evenly over `over_s` seconds, all at once when it is 0.

    `first` has lived through a turn; the others are new conversations beside it. Delays are in
    nanoseconds, memory in bytes. Turns that take longer than `limit_s` are given up.
    """
    if number > MAX_CONVERSATIONS:
        raise ValueError(f"more than {MAX_CONVERSATIONS} conversations")
    heard = Delays(number * deltas)
    before = _resident(reset=True)
    conversations = [await first.another() for _ in range(number)]
    idle = _resident(reset=True)
    began, began_cpu = time.perf_counter(), time.process_time()
    ended = await _all(conversations, heard, limit_s, over_s / number)
    wall_s = time.perf_counter() - began
    peak = memory.peak()
    await asyncio.sleep(settle_s)
    cpu_s = time.process_time() - began_cpu
    failures = [failure for failure in ended if failure is not None]
    return {
        "complete": number - len(failures),
        "failure": f"{failures[0]!r}" if failures else "",
        "deltas": heard.count,
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        **heard.spread(),
        "idle_bytes": (idle - before) / number,
        "live_bytes": (peak - idle) / number,
        "after_bytes": (_resident() - before) / number,
    }


async def _all(
    conversations: list[Contestant], heard: "Delays", limit_s: float, apart_s: float
) -> list[BaseException | None]:
    async def turn(number: int, conversation: Contestant) -> None:
        async with asyncio.timeout(limit_s):
            await asyncio.sleep(number * apart_s)
            await conversation.say(QUESTION, heard)

    turns = (turn(number, each) for number, each in enumerate(conversations))
    return await asyncio.gather(*turns, return_exceptions=True)


class Delays:
    """The subscriber of all of them. Its room is taken before memory is looked at."""

    def __init__(self, room: int) -> None:
        self.count = 0
        self._found = array("q", bytes(8 * room))

    def __call__(self, piece: str) -> None:
        now = time.monotonic_ns()
        if len(piece) == STAMP_CHARS:
            self._found[self.count] = now - int(piece)
            self.count += 1
            return
        for delay in delays_ns(piece, now):
            self._found[self.count] = delay
            self.count += 1

    def spread(self) -> dict[str, float]:
        """Quantiles of the delays, in milliseconds."""
        ordered = sorted(self._found[: self.count])
        if not ordered:
            return {}
        at = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
        last = len(ordered) - 1
        return {name: ordered[round(last * share)] / 1e6 for name, share in at.items()}


def _resident(*, reset: bool = False) -> int:
    gc.collect()
    if reset:
        memory.reset_peak()
    return memory.now()
