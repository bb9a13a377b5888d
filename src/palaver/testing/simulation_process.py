"""A simulated process: a manager on the world's database, its models, its tools."""

import asyncio
import random
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from palaver.domain.errors import PalaverError
from palaver.domain.ids import OwnerId
from palaver.domain.values import UserPreferences
from palaver.providers.base import Model, ModelRequest
from palaver.service.manager import ConversationManager
from palaver.settings import (
    CompactionSettings,
    OutboxSettings,
    RetrySettings,
    Settings,
    TurnLimits,
)
from palaver.testing.chaos import ChaosModel, Weather
from palaver.testing.script import Call, Line, Say
from palaver.testing.scripted import ScriptedModel
from palaver.testing.simulation_loop import Mortal
from palaver.testing.simulation_store import Handle
from palaver.tools.decorator import tool
from palaver.tools.definition import ExecutionContext, Tool
from palaver.tools.manager import ToolManager

if TYPE_CHECKING:
    from palaver.testing.simulation import World

T = TypeVar("T")
FIRST, SECOND = "first:model", "second:model"
"""The chain of each process."""
_BAD, _FAIR = Weather(0.1, 0.1, 0.05, 0.02, slow_s=0.3), Weather(0, 0, 0, 0)
_AWAY = Weather(0.9, 0.1, 0, 0)
_LONG = "waits on the shelf beside the door, as it did the day before. " * 20


class Died(Exception):
    """The process that was asked died before it answered."""


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
        world = self.world
        self.manager = self._manager()
        for each in self.faults.tools(world.tools):
            self.manager.tools.register_tool(each)
        with suppress(PalaverError):
            await self.manager.recover()
            self.manager.keep_sending()
            self.ready.set()
            await self.ending.wait()
        await self.manager.aclose()
        self.is_dead = True

    def _manager(self) -> ConversationManager:
        world = self.world
        handle: Any = Handle(world.database, self, self.owner, world.living, world.chance)
        is_away = not world.healed and world.chance.random() < 0.25
        weather = _FAIR if world.healed else _AWAY if is_away else _BAD
        models = {name: self._model(name, weather) for name in (FIRST, SECOND)}
        settings = Settings(
            turn=TurnLimits(on_restart=self.on_restart),  # type: ignore[arg-type]
            retry=RetrySettings(network_attempts=3),
            context=CompactionSettings(automatic=False, summaries="off", min_gain=0.0),
            outbox=OutboxSettings(longest_s=60.0),
            titles="off",
        )
        return ConversationManager(
            store=self.faults.store(handle),
            blobs=self.faults.blobs(world.blobs),
            model=models.__getitem__,
            fallbacks=(SECOND,),
            defaults=UserPreferences(model=FIRST),
            tools=ToolManager(settings=settings.tools, limits=settings.turn),
            clock=world.clock,
            chance=world.chance.random,
            price=lambda name, usage: None,
            settings=settings,
            owns_store=False,
        )

    def _model(self, name: str, weather: Weather) -> Model:
        """One with days of its own."""
        world = self.world
        model = ScriptedModel(name=name, clock=world.clock, piece=4)
        model.when("", _answer)
        seed = world.chance.randrange(2**32)
        return self.faults.model(ChaosModel(model, seed=seed, weather=weather, clock=world.clock))

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


def tools(world: "World") -> list[Tool]:
    """One of each class, for every process: to make one takes longer than to run it."""

    async def work() -> None:
        await world.clock.sleep(world.chance.uniform(0, 0.5))
        process = Mortal.current.get()
        assert process is not None, "tools run in processes"
        await process.alive()

    @tool(effect="read")
    async def look(order: str) -> str:
        """Look at an order."""
        await work()
        return f"{order} {_LONG}"

    @tool(effect="idempotent")
    async def book(order: str, context: ExecutionContext) -> str:
        """Book an order."""
        await work()
        if world.keys.setdefault(order, context.idempotency_key) != context.idempotency_key:
            world.complain(f"{order} was booked under two keys")
        await work()
        return f"booked {order}"

    async def paying(order: str) -> str:
        await work()
        world.paid[order] += 1
        if world.paid[order] > 1:
            world.complain(f"{order} was paid {world.paid[order]} times")
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
