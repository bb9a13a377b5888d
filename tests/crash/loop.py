"""The crash loop: `python -m tests.crash.loop --kills 500`.

Worlds are made one after another. In each, a program talks over a real socket to a strict provider
and is killed with `kill -9`: at a named point, at the n-th passing, or at a random moment. It is
started again, recovers (in half of the worlds turns are run on, in the others interrupted), and is
killed again. When a world ends, it is let come to rest and everything is checked.
"""

import argparse
import asyncio
import multiprocessing
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path

from palaver.testing import Call, Say, Step
from palaver.testing.faults import POINTS
from palaver.testing.provider_server import ProviderServer
from palaver.testing.provider_server.journal import Received
from tests.crash.checks import Tally, check
from tests.crash.life import WIRES, Life, live

KILLS_OF_A_WORLD = 20
REACHED = tuple(
    point
    for point in POINTS
    if point.startswith(("tool.", "message.", "turn.", "model."))
    or re.match(
        r"store\.(create|accept|append|append_run|adopt_orphans|turn|read|read_run)\.", point
    )
)
"""The points that this program comes by while it lives."""
LIFE_S = 30.0


def answer(received: Received) -> list[Step]:
    """What the model says: it looks, books and pays, and then it says that it is done."""
    n = int(re.findall(r"order (\d+)", received.said)[-1])  # an unanswered one may stand before it
    if received.results:
        return [Say(f"Done with order {n}, and thank you for your patience.")]
    arguments = {"n": n}
    calls: list[Step] = [Call(name, arguments) for name in ("look", "book", "pay")]
    return [Say(f"I see to order {n}."), *calls]


class Loop:
    """Kills until there were enough, or the time is over."""

    def __init__(self, *, kills: int, seed: int, limit_s: float) -> None:
        self.wanted, self._limit_s = kills, limit_s
        self._chance = random.Random(seed)
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(["tests.crash.life"])
        self.kills, self.lives = 0, 0
        self.at: Counter[str] = Counter()
        self.tally = Tally(problems=[])
        self._began = time.monotonic()
        self._life_s = 0.25

    async def run(self) -> None:
        """All worlds."""
        async with ProviderServer(default=answer, piece=8, pace_s=0.001) as server:
            number = 0
            while not self._is_over():
                with tempfile.TemporaryDirectory(prefix="palaver-crash-") as folder:
                    on_restart = ("interrupt", "resume")[number % 2]
                    wire = WIRES[number // 2 % len(WIRES)]
                    await self._world(Life(Path(folder), server.url, wire, on_restart))
                number += 1

    def _is_over(self) -> bool:
        late = time.monotonic() - self._began > self._limit_s
        return self.kills >= self.wanted or late or bool(self.tally.problems)

    async def _world(self, life: Life) -> None:
        for _ in range(KILLS_OF_A_WORLD):
            if self._is_over():
                break
            await self._life(life)
        for rest in (0, 0):  # what was left open is finished, and nothing is left to do then
            code = await self._run(
                Life(life.folder, life.url, life.wire, life.on_restart, "", rest)
            )
            if code:
                self.tally.problems.append(f"a life ended with code {code}")
        self.tally += await check(life.folder)

    async def _life(self, life: Life) -> None:
        """One life and its end: half of them at a named point, each as often as the others."""
        fault, after_s = "", 0.0
        if self._chance.random() < 0.6:
            least = min(self.at[point] for point in REACHED)
            point = self._chance.choice([p for p in REACHED if self.at[p] == least])
            self.at[point] += 1
            fault = f"{point}:{self._chance.choice((1, 1, 2, 3, 5))}:kill"
        else:
            after_s = self._chance.uniform(0.0, 1.2 * self._life_s)
        began = time.monotonic()
        chosen = Life(life.folder, life.url, life.wire, life.on_restart, fault)
        code = await self._run(chosen, kill_after_s=after_s)
        if code == -signal.SIGKILL:
            self.kills += 1
        elif code:
            self.tally.problems.append(f"a life ended with code {code} ({fault})")
        elif not fault:
            self._life_s = 0.9 * self._life_s + 0.1 * (time.monotonic() - began)

    async def _run(self, life: Life, *, kill_after_s: float = 0.0) -> int:
        self.lives += 1
        process = self._processes.Process(target=live, args=(life,))
        process.start()
        try:
            if kill_after_s and not await _ended(process, kill_after_s):
                os.kill(process.pid or 0, signal.SIGKILL)
            if not await _ended(process, LIFE_S):
                self.tally.problems.append(f"a life hung ({life.fault})")
                os.kill(process.pid or 0, signal.SIGKILL)
                await _ended(process, LIFE_S)
            process.join()
            return process.exitcode or 0
        finally:
            process.close()

    def told(self) -> str:
        """The figures."""
        tally, took_s = self.tally, time.monotonic() - self._began
        points = sum(self.at[point] > 0 for point in REACHED)
        return (
            f"{self.kills} kills in {self.lives} lives, {took_s:.0f} s;"
            f" {points} of {len(REACHED)} named points aimed at\n"
            f"{tally.accepted} accepted messages: {tally.answered} answered,"
            f" {tally.interrupted} interrupted\n"
            f"{tally.paid} effects ran, {tally.unknown} reported as of unknown outcome;"
            f" {tally.booked_again} idempotent calls ran again under their key\n"
            f"problems: {len(tally.problems)}"
            + "".join(f"\n  {problem}" for problem in tally.problems[:20])
        )


async def _ended(process: BaseProcess, timeout_s: float) -> bool:
    """Whether the process ends within that time."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(process.sentinel, ended.set)
    try:
        async with asyncio.timeout(timeout_s):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(process.sentinel)
    return True


def main() -> int:
    """Kill as often as the command line says; 1 where something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--limit", type=float, default=1800.0, metavar="SECONDS")
    options = parser.parse_args()
    sys.stdout.write(f"seed {options.seed}\n")
    loop = Loop(kills=options.kills, seed=options.seed, limit_s=options.limit)
    asyncio.run(loop.run())
    sys.stdout.write(f"{loop.told()}\n")
    return 1 if loop.tally.problems or loop.kills < options.kills else 0


if __name__ == "__main__":
    sys.exit(main())
