"""The whole service on virtual time under a seed: chaos first, then healing, then the reckoning.

Two simulated processes work on one database; clients say things, cancel, decide and read on;
processes are killed at named points and at random, closed and started again; models, stores, blobs
and tools fail. Whatever came of it, when all is healed every turn ends. The invariants are checked
at each write:

- histories are valid, no tool with an effect runs twice for the same order;
- no accepted message is lost or accepted twice, and its turn ends once;
- the events of a turn are numbered without gaps, wherever they are read: within an epoch, for what
  a process showed and could not write before its turn was taken is numbered anew.

`simulate(seed)` raises AssertionError that names the seed; the same seed gives the same world.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from palaver.domain.errors import PalaverError, StoreError
from palaver.domain.ids import OwnerId
from palaver.providers.base import ModelRequest
from palaver.service.conversation import Conversation
from palaver.service.manager import ConversationManager
from palaver.settings import CompactionSettings, RetrySettings, Settings, TurnLimits
from palaver.store.blobs import MemoryBlobStore
from palaver.testing.chaos import ChaosModel, Weather
from palaver.testing.faults import POINTS, Delay, Fault, Faults, Raise
from palaver.testing.script import Call, Line, Say
from palaver.testing.scripted import ScriptedModel
from palaver.testing.simulation_loop import LoopClock, Mortal, run_virtual
from palaver.testing.simulation_store import Database, Handle
from palaver.tools.decorator import tool
from palaver.tools.definition import ExecutionContext, Tool
from palaver.tools.manager import ToolManager

T = TypeVar("T")
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
    outcomes: dict[str, int] = {}
    writes: int = 0
    virtual_s: float = 0.0

    def __add__(self, other: "Figures") -> "Figures":
        def both(name: str) -> Any:
            one, two = getattr(self, name), getattr(other, name)
            return dict(Counter(one) + Counter(two)) if isinstance(one, dict) else one + two

        return Figures(**{name: both(name) for name in self.__struct_fields__})


class Died(Exception):
    """The process that was asked died before it answered."""


def simulate(seed: int, *, talkers: int = 2, messages: int = 3) -> Figures:
    """Live one world. Raises AssertionError with the seed where something does not hold."""
    world = World(seed, talkers, messages)
    try:
        run_virtual(world.live())
    except BaseException as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    if world.problems:
        raise AssertionError(f"seed {seed}: " + "; ".join(world.problems))
    return world.figures


class Process(Mortal):
    """A program that talks, on the world's database."""

    def __init__(self, world: "World", on_restart: str) -> None:
        super().__init__()
        self.owner = OwnerId(f"owner_{len(world.processes)}")
        self.world, self.on_restart = world, on_restart
        self.ready = asyncio.Event()
        self.ending = asyncio.Event()
        self.manager: ConversationManager | None = None
        self.faults = world.new_faults(self)
        self.begin(self._live()).add_done_callback(self._check)

    async def _live(self) -> None:
        world, seed = self.world, self.world.chance.randrange(2**32)
        handle: Any = Handle(world.database, self, self.owner, world.living, world.chance)
        model = ScriptedModel(clock=world.clock, piece=4)
        model.when("", _answer)
        weather = Weather(0.1, 0.1, 0.05, 0.02, slow_s=0.3) if not world.healed else Weather(0, 0)
        chaotic = ChaosModel(model, seed=seed, weather=weather, clock=world.clock)
        settings = Settings(
            turn=TurnLimits(on_restart=self.on_restart),  # type: ignore[arg-type]
            retry=RetrySettings(network_attempts=3),
            context=CompactionSettings(automatic=False, summaries="off"),
            titles="off",
        )
        self.manager = ConversationManager(
            store=self.faults.store(handle),
            blobs=self.faults.blobs(world.blobs),
            model=lambda name: self.faults.model(chaotic),
            tools=ToolManager(settings=settings.tools, limits=settings.turn),
            clock=world.clock,
            chance=world.chance.random,
            price=lambda name, usage: None,
            settings=settings,
            owns_store=False,
        )
        for each in self.faults.tools(world.tools(self)):
            self.manager.tools.register_tool(each)
        with suppress(PalaverError):
            await self.manager.recover()
            self.ready.set()
            await self.ending.wait()
        await self.manager.aclose()
        self.is_dead = True

    def _check(self, life: "asyncio.Task[None]") -> None:
        error = None if life.cancelled() else life.exception()
        if error is not None and not isinstance(error, PalaverError):
            self.world.database.problems.append(f"an untyped error: {error!r}")

    async def ask(self, work: Coroutine[Any, Any, T]) -> T:
        """Have the process do something. Raises Died where it does not live to answer."""
        task = self.begin(work)
        try:
            return await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            raise Died from None


class World:
    """One database, its processes, its clients, and whoever wishes them ill."""

    def __init__(self, seed: int, talkers: int, messages: int) -> None:
        self.chance = random.Random(seed)
        self.clock = LoopClock()
        self.database = Database(clock=self.clock)
        self.blobs = MemoryBlobStore()
        self.processes: list[Process] = []
        self.healed = False
        self.figures = Figures()
        self.paid: Counter[str] = Counter()
        self.keys: dict[str, str] = {}
        self._accepted: dict[str, str] = {}
        self._problems: list[str] = []
        self._talkers, self._messages = talkers, messages

    @property
    def problems(self) -> list[str]:
        """What does not hold that must."""
        return self._problems + self.database.problems

    def living(self) -> list[OwnerId]:
        """The owners whose processes live."""
        return [process.owner for process in self.processes if not process.is_dead]

    async def live(self) -> None:
        """Chaos, healing, reckoning."""
        Mortal.follow_tasks()
        for _ in range(2):
            self._start()
        people = [asyncio.ensure_future(self._talk(each)) for each in range(self._talkers)]
        people.append(asyncio.ensure_future(self._decide()))
        with suppress(TimeoutError):
            async with asyncio.timeout(CHAOS_S):
                await self._ill_will()
        await self._heal()
        async with asyncio.timeout(HEALED_S):
            await asyncio.gather(*people[:-1])
            while any(turn not in self.database.closed for turn in self.database.opened):
                await self.clock.sleep(1.0)
        people[-1].cancel()
        self._reckon()
        for process in self.processes:
            process.kill()
        await self.clock.sleep(1.0)

    def _start(self) -> Process:
        made = Process(self, self.chance.choice(["interrupt", "resume"]))
        self.processes.append(made)
        return made

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

    # People.

    async def _process(self) -> Process:
        while True:
            ready = [p for p in self.processes if not p.is_dead and p.ready.is_set()]
            if ready:
                return self.chance.choice(ready)
            await self.clock.sleep(0.05)

    async def _talk(self, talker: int) -> None:
        name = await self._persist(self._create)
        for number in range(self._messages):
            order = f"order {talker}-{number}"
            turn = await self._persist(lambda m, o=order: self._say(m, name, o))
            self._accepted[order] = turn
            reading = asyncio.ensure_future(self._read(name, turn))
            if self.chance.random() < 0.2:
                await self.clock.sleep(self.chance.uniform(0, 3))
                self.figures.cancels += 1
                await self._persist(lambda m, t=turn: self._cancel(m, name, t))
            await reading

    async def _persist(self, work: Any) -> Any:
        """Ask one process after the other, as a client does that got no answer."""
        while True:
            process = await self._process()
            with suppress(Died, PalaverError):
                return await process.ask(work(process.manager))
            await self.clock.sleep(self.chance.uniform(0.05, 0.5))

    async def _create(self, manager: ConversationManager) -> str:
        return (await manager.create()).id

    async def _say(self, manager: ConversationManager, name: str, order: str) -> str:
        conversation = await manager.open(name)
        session = await conversation.start(order, idempotency_key=order, on_busy="queue")
        return session.turn

    async def _cancel(self, manager: ConversationManager, name: str, turn: str) -> None:
        conversation = await manager.open(name)
        if conversation.state.turn is not None and conversation.state.turn.id == turn:
            await conversation.cancel()

    async def _read(self, name: str, turn: str) -> None:
        """Read the turn to its end, over as many processes as it takes, event by event."""
        seen = [0, 0]

        async def follow(manager: ConversationManager) -> None:
            conversation = await manager.open(name)
            async for numbered in conversation.follow(turn, after=seen[0]):
                # What a dead process showed and never wrote is numbered anew, in a new epoch.
                is_taken = numbered.epoch > seen[1] and numbered.number <= seen[0]
                if numbered.number != seen[0] + 1 and not is_taken:
                    self._problems.append(f"event {numbered.number} was read behind {seen[0]}")
                seen[:] = [numbered.number, numbered.epoch]

        while turn not in self.database.closed:
            process = await self._process()
            assert process.manager is not None
            with suppress(Died, PalaverError):
                await process.ask(follow(process.manager))
            await self.clock.sleep(0.2)

    async def _decide(self) -> None:
        """Somebody allows, or refuses, what waits, in any process."""
        while True:
            await self.clock.sleep(self.chance.uniform(0.2, 2.0))
            for name, state in list(self.database.states.items()):
                for call in state.turn.waiting if state.turn is not None else ():
                    approve = self.chance.random() < 0.8
                    process = await self._process()
                    assert process.manager is not None
                    with suppress(Died, PalaverError):
                        await process.ask(_decided(process.manager, name, call, approve))

    # What is done in the world, and what must be so in the end.

    def tools(self, process: Process) -> list[Tool]:
        """One of each class, for a process."""

        async def work() -> None:
            await self.clock.sleep(self.chance.uniform(0, 0.5))
            await process.alive()

        @tool(effect="read")
        async def look(order: str) -> str:
            """Look at an order."""
            await work()
            return f"{order} waits"

        @tool(effect="idempotent")
        async def book(order: str, context: ExecutionContext) -> str:
            """Book an order."""
            await work()
            if self.keys.setdefault(order, context.idempotency_key) != context.idempotency_key:
                self._problems.append(f"{order} was booked under two keys")
            await work()
            return f"booked {order}"

        async def paying(order: str) -> str:
            await work()
            self.paid[order] += 1
            if self.paid[order] > 1:
                self._problems.append(f"{order} was paid {self.paid[order]} times")
            await work()
            return f"paid {order}"

        @tool(effect="effect", needs_approval=False)
        async def pay(order: str) -> str:
            """Pay for an order."""
            return await paying(order)

        @tool(effect="effect")
        async def send(order: str) -> str:
            """Send an order, if a person agrees."""
            return await paying(order + " sent")

        return [look, book, pay, send]

    def _reckon(self) -> None:
        figures, database = self.figures, self.database
        for order, turn in self._accepted.items():
            if order not in database.questions:
                self._problems.append(f"{order} was accepted and lost")
            if turn not in database.closed:
                self._problems.append(f"the turn of {order} never ended")
        figures.accepted = len(self._accepted)
        figures.paid = self.paid.total()
        figures.outcomes = dict(Counter(database.closed.values()))
        figures.writes = database.writes
        figures.virtual_s = self.clock.monotonic()


async def _decided(manager: ConversationManager, name: str, call: str, approve: bool) -> None:
    conversation: Conversation = await manager.open(name)
    await conversation.decide(call, approve=approve)


def _answer(request: ModelRequest) -> list[Line]:
    """What the model says: its tools one after the other, each once, whatever became of it."""
    order, done = "", set[str]()
    for message in request.messages:
        if message.text.startswith("order "):
            order, done = message.text, set()
        done |= {result.name for result in message.tool_results}
    chosen = random.Random(order).choice(
        [["look"], ["pay"], ["look", "book"], ["book", "send"], []]
    )
    left = [name for name in chosen if name not in done]
    if left:
        return [Say(f"I {left[0]} it."), Call(left[0], {"order": order})]
    return [Say(f"Done with {order}, as you wished.")]
