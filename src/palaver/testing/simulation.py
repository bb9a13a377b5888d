"""The whole service on virtual time under a seed: chaos first, then healing, then the reckoning.

Two simulated processes work on one database; clients say things, cancel, decide, compact and read
along; processes are killed at named points and at random, closed and started again; models, stores,
blobs and tools fail, and sometimes no model can be reached. Whatever came of it, when all is healed
every turn ends, and nothing waits in an outbox. The invariants are checked at each write:

- histories are valid, no tool with an effect runs twice for the same order;
- no accepted message is lost, stands twice or is accepted twice, and its turn ends once;
- a client that comes back with its cursor sees the events that are stored, in whatever process it
  reads them, none missing and none twice; the text that it was shown is the text of the message.

`simulate(seed)` raises AssertionError that names the seed; the same seed gives the same world.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from palaver.domain.errors import PalaverError, StoreError
from palaver.domain.ids import OwnerId
from palaver.domain.values import Scope
from palaver.store.blobs import MemoryBlobStore
from palaver.store.memory import MemoryStore
from palaver.testing.faults import POINTS, Delay, Fault, Faults, Raise
from palaver.testing.simulation_loop import LoopClock, Mortal, RealLoop, run_virtual
from palaver.testing.simulation_people import Talker, decide
from palaver.testing.simulation_process import Died, Process, tools
from palaver.testing.simulation_store import Database

CHAOS_S = 30.0
"""Virtual seconds of bad days."""
HEALED_S = 3_600.0
"""Virtual seconds within which everything must have ended, once nothing fails any more."""
_KILLING = [
    p for p in POINTS if p.startswith(("store.ap", "store.acc", "tool", "message", "turn", "model"))
]


class Figures(msgspec.Struct):
    """What happened in one world, or in several."""

    accepted: int = 0
    kills: int = 0
    restarts: int = 0
    faults: int = 0
    paid: int = 0
    cancels: int = 0
    kept: int = 0
    """Prompts that waited in an outbox."""
    compactions: int = 0
    read: int = 0
    """Turns whose reader has seen exactly what is stored."""
    taken: int = 0
    """Turns that changed hands."""
    outcomes: dict[str, int] = {}
    writes: int = 0
    virtual_s: float = 0.0

    def __add__(self, other: "Figures") -> "Figures":
        def both(name: str) -> Any:
            one, two = getattr(self, name), getattr(other, name)
            return dict(Counter(one) + Counter(two)) if isinstance(one, dict) else one + two

        return Figures(**{name: both(name) for name in self.__struct_fields__})


def simulate(
    seed: int, *, talkers: int = 2, messages: int = 3, folder: Path | None = None
) -> Figures:
    """Live one world, in memory, or on an SQLite file in `folder`. Raises AssertionError with the
    seed where something does not hold."""
    clock = LoopClock()
    with _database(folder and folder / f"seed_{seed}.db", clock) as database:
        world = World(seed, database, clock, talkers, messages)
        try:
            run_virtual(world.live())
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
        finally:
            clock.loop = None
    if world.problems:
        raise AssertionError(f"seed {seed}: " + "; ".join(world.problems))
    return world.figures


@contextmanager
def _database(file: Path | None, clock: LoopClock) -> Iterator[Database]:
    if file is None:
        yield Database(MemoryStore(clock=clock), clock)
        return
    from palaver.store.sqlite import SqliteStore

    real = RealLoop()
    try:
        store = real.ask(SqliteStore.open(file, clock=clock))
        yield Database(store, clock, real)
        real.ask(store.close())
    finally:
        real.close()


class World:
    """One database, its processes, its clients, and whoever wishes them ill."""

    def __init__(
        self, seed: int, database: Database, clock: LoopClock, talkers: int, messages: int
    ) -> None:
        self.chance = random.Random(seed)
        self.clock, self.scope = clock, Scope()
        self.database = database
        self.blobs = MemoryBlobStore()
        self.processes: list[Process] = []
        self.tools = tools(self)
        self.healed = False
        self.figures = Figures()
        self.paid: Counter[str] = Counter()
        self.keys: dict[str, str] = {}
        self.accepted: dict[str, tuple[str, str]] = {}
        """Orders with their conversation and turn."""
        self._problems: list[str] = []
        self._talkers, self._messages = talkers, messages

    @property
    def problems(self) -> list[str]:
        """What does not hold that must."""
        return self._problems + self.database.problems

    def complain(self, problem: str) -> None:
        """Note what does not hold."""
        self._problems.append(problem)

    def living(self) -> list[OwnerId]:
        """The owners whose processes live."""
        return [process.owner for process in self.processes if not process.is_dead]

    async def live(self) -> None:
        """Chaos, healing, reckoning."""
        self.clock.loop = asyncio.get_running_loop()
        Mortal.follow_tasks()
        for _ in range(2):
            self._start()
        talks = (Talker(self, each).talk(self._messages) for each in range(self._talkers))
        people = [asyncio.ensure_future(talk) for talk in talks]
        deciding = asyncio.ensure_future(decide(self))
        with suppress(TimeoutError):
            async with asyncio.timeout(CHAOS_S):
                await self._ill_will()
        await self._heal()
        async with asyncio.timeout(HEALED_S):
            await asyncio.gather(*people)
            while self._is_busy():
                await self.clock.sleep(1.0)
        deciding.cancel()
        await self._reckon()
        for process in self.processes:
            process.kill()
        await self.clock.sleep(1.0)

    def _start(self) -> Process:
        made = Process(self, self.chance.choice(["interrupt", "resume"]))
        self.processes.append(made)
        return made

    def _is_busy(self) -> bool:
        database = self.database
        is_open = any(turn not in database.closed for turn in database.opened)
        return is_open or any(state.outbox for state in database.states.values())

    async def _heal(self) -> None:
        self.healed = True
        for process in self.processes:
            process.faults.heal()
            process.kill()
        await self.clock.sleep(0.1)
        self._start()

    # Ill will.

    def new_faults(self, process: Process) -> Faults:
        """Some points where this process will fail, be slow, or die."""
        if self.healed:
            return Faults(clock=self.clock)
        plan: dict[str, Fault] = {}
        for point in self.chance.sample(POINTS, self.chance.randint(0, 4)):
            slow = self.chance.random() < 0.3
            action = Delay(self.chance.uniform(0, 3)) if slow else Raise()
            plan[point] = Fault(action, self.chance.randint(1, 6))
        if self.chance.random() < 0.6:

            def die() -> Exception:
                self._kill(process)
                return StoreError("killed")

            plan[self.chance.choice(_KILLING)] = Fault(Raise(die), self.chance.randint(1, 3))
        return Faults(plan, clock=self.clock)

    def _kill(self, process: Process) -> None:
        if not process.is_dead:
            self.figures.kills += 1
            self.figures.faults += len(process.faults.fired)
            process.kill()

    async def _ill_will(self) -> None:
        while True:
            await self.clock.sleep(self.chance.expovariate(1 / 3))
            victim = self.chance.choice(self.processes)
            fate = self.chance.random()
            if fate < 0.5:
                self._kill(victim)
            elif fate < 0.6:
                victim.ending.set()
            while len(self.living()) < 2:
                await self.clock.sleep(self.chance.uniform(0, 1))
                self.figures.restarts += 1
                self._start()

    # What people need.

    async def process(self) -> Process:
        """One that is there to be asked."""
        while True:
            ready = [p for p in self.processes if not p.is_dead and p.ready.is_set()]
            if ready:
                return self.chance.choice(ready)
            await self.clock.sleep(0.05)

    async def persist(self, work: Any) -> Any:
        """Ask one process after the other, as a client does that got no answer."""
        while True:
            process = await self.process()
            with suppress(Died, PalaverError):
                return await process.ask(work(process.manager))
            await self.clock.sleep(self.chance.uniform(0.05, 0.5))

    # The reckoning.

    async def _reckon(self) -> None:
        figures, database = self.figures, self.database
        for order, (name, turn) in self.accepted.items():
            state = next(s for n, s in database.states.items() if n == name)
            if not any(message.text == order for message in state.messages):
                self.complain(f"{order} was accepted and lost")
            if any(each not in database.closed for each in (turn, state.resent_as(turn))):  # type: ignore[arg-type]
                self.complain(f"the turn of {order} never ended")
        records = [await database.turn(self.scope, turn) for turn in database.opened]
        figures.taken = sum(record.epoch > 0 for record in records)
        figures.accepted = len(self.accepted)
        figures.paid = self.paid.total()
        figures.kept, figures.compactions = database.kept, database.compactions
        figures.outcomes = dict(Counter(database.closed.values()))
        figures.writes = database.writes
        figures.virtual_s = self.clock.monotonic()
