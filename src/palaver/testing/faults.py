"""Faults at named points: where Palaver meets the world, a test can make it fail, wait or die.

The points lie in wrappers around the ports (store, blobs, model, tools, clock), so that no line of
Palaver knows of them. A fault names its point and says at which passing it happens:

    faults = Faults({"tool.after_claim": Fault(Kill(), nth=2)})
    store = faults.store(await SqliteStore.open(path))

`POINTS` lists all of them, and `each_passing` fails the first, the second, … passing of a point
until the scenario comes through unharmed, as SQLite's own tests do with memory and disk. In
another process, `Faults.parse` reads the same from one line: `tool.after_claim:2:kill`.
"""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from inspect import iscoroutinefunction
from itertools import count
from typing import Any, TypeAlias, TypeVar, cast

import msgspec

from palaver.domain.clock import Clock
from palaver.domain.errors import ConnectionFailed, PalaverError, StoreError, ToolExecutionError
from palaver.domain.events import MessageAdded, ToolClaimed, ToolResolved, TurnClosed
from palaver.domain.ids import BlobId
from palaver.domain.messages import Role
from palaver.domain.values import Scope
from palaver.providers.base import Finished, Model, ModelEvent, ModelRequest, ModelStream
from palaver.store.base import BlobStore, ConversationStore
from palaver.system import SystemClock
from palaver.tools.definition import ExecutionContext, Tool

P = TypeVar("P")

_STORE = (
    *("create", "accept", "append", "read", "snapshot", "list_conversations", "search", "fork"),
    "outboxes",
    *("sharing", "rewrite", "blob_references", "delete", "turn", "take_turn", "adopt_orphans"),
    *("append_run", "read_run", "statistics", "close"),
)
_BLOBS = ("put", "get", "size", "delete", "collect")
_FACTS = {
    "tool.{}_claim": lambda e: isinstance(e, ToolClaimed),
    "tool.{}_result": lambda e: isinstance(e, ToolResolved),
    "message.{}": lambda e: isinstance(e, MessageAdded) and e.message.role is Role.ASSISTANT,
    "turn.{}_end": lambda e: isinstance(e, TurnClosed),
}
"""Appends by what they hold: before and after such a fact is durable."""

POINTS: tuple[str, ...] = (
    *(f"store.{name}.{side}" for name in _STORE for side in ("before", "after")),
    *(f"blob.{name}.{side}" for name in _BLOBS for side in ("before", "after")),
    *(name.format(side) for name in _FACTS for side in ("before", "after")),
    *("tool.before_effect", "tool.after_effect"),
    *("model.before", "model.first", "model.mid", "model.end"),
    *("clock.sleep.before", "clock.sleep.after"),
)
"""Every point. `model.first` and `model.mid` lie before the first and before each later batch of an
answer, `model.end` before the one that ends it; `tool.before_effect` and `tool.after_effect` around
the tool's own work, when its claim is durable and its result is not."""


class Raise(msgspec.Struct, frozen=True):
    """Fail with what this makes; None: with an error that fits the point."""

    error: Callable[[], Exception] | None = None


class Delay(msgspec.Struct, frozen=True):
    """Take longer."""

    seconds: float


class Hang(msgspec.Struct, frozen=True):
    """Never come back; a cancel ends it."""


class Kill(msgspec.Struct, frozen=True):
    """End this process at once, as a power cut would end its work: `kill -9`."""


Action: TypeAlias = Raise | Delay | Hang | Kill


class Fault(msgspec.Struct, frozen=True):
    """What happens at the `nth` passing of a point; `lasts`: at every later one, too."""

    action: Action
    nth: int = 1
    lasts: bool = False


class Faults:
    """A plan of faults, and how often each point was passed. `fired` names those that happened."""

    def __init__(self, plan: Mapping[str, Fault] | None = None, *, clock: Clock | None = None):
        self.plan = dict(plan or {})
        unknown = self.plan.keys() - set(POINTS)
        if unknown:
            raise ValueError(f"there is no point {sorted(unknown)[0]!r}")
        self.passed: Counter[str] = Counter()
        self.fired: list[str] = []
        self._clock = clock or SystemClock()

    @classmethod
    def parse(cls, text: str) -> "Faults":
        """`point:nth:action` by commas; the action is `kill`, `raise`, `hang`, or seconds."""
        actions: dict[str, Action] = {"kill": Kill(), "raise": Raise(), "hang": Hang()}
        plan: dict[str, Fault] = {}
        for each in filter(None, text.split(",")):
            point, nth, action = each.split(":")
            plan[point] = Fault(actions.get(action) or Delay(float(action)), int(nth))
        return cls(plan)

    async def at(self, point: str) -> None:
        """Pass a point."""
        self.passed[point] += 1
        fault = self.plan.get(point)
        number = self.passed[point]
        if fault is None or number < fault.nth or (number > fault.nth and not fault.lasts):
            return
        self.fired.append(point)
        match fault.action:
            case Raise(error=error):
                raise _fitting(point) if error is None else error()
            case Delay(seconds=seconds):
                await self._clock.sleep(seconds)
            case Hang():
                await asyncio.Event().wait()
            case Kill():
                os.kill(os.getpid(), signal.SIGKILL)

    def heal(self) -> None:
        """No more faults."""
        self.plan.clear()

    # Wrapping the ports.

    def store(self, store: ConversationStore) -> ConversationStore:
        """`store`, with the points `store.…`, and those of appended facts."""
        return cast("ConversationStore", _Port(store, "store", self, _STORE))

    def blobs(self, blobs: BlobStore) -> BlobStore:
        """`blobs`, with the points `blob.…`."""
        return cast("BlobStore", _Blobs(blobs, "blob", self, _BLOBS))

    def model(self, model: Model) -> Model:
        """`model`, with the points `model.…`."""
        return cast("Model", _Model(model, "model", self, ()))

    def tools(self, tools: Iterable[Tool]) -> list[Tool]:
        """`tools`, with the points around their work."""
        return [_FaultyTool(tool, self) for tool in tools]

    def clock(self, clock: Clock) -> Clock:
        """`clock`, with the points `clock.…`."""
        return cast("Clock", _Port(clock, "clock", self, ("sleep",)))


async def each_passing(
    point: str, action: Action, scenario: Callable[[Faults], Awaitable[None]], *, most: int = 1000
) -> int:
    """Run `scenario` with a fault at the first passing of a point, at the second, … until it comes
    through without one. Returns at how many passings it was tried."""
    for nth in count(1):
        faults = Faults({point: Fault(action, nth)})
        await scenario(faults)
        if not faults.fired or nth == most:
            return nth - (not faults.fired)
    raise AssertionError


def _fitting(point: str) -> PalaverError:
    kinds: dict[str, type[PalaverError]] = {"model": ConnectionFailed, "tool": ToolExecutionError}
    is_fact = any(point in (n.format("before"), n.format("after")) for n in _FACTS)
    kind = StoreError if is_fact else kinds.get(point.partition(".")[0], StoreError)
    return kind(f"a fault at {point}")


class _Port:
    """A port whose coroutines pass points; everything else is the port's own."""

    def __init__(self, port: object, name: str, faults: Faults, methods: Sequence[str]) -> None:
        self._port, self._name, self._faults, self._methods = port, name, faults, methods

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name not in self._methods or not iscoroutinefunction(found):
            return found

        async def passing(*arguments: Any, **named: Any) -> Any:
            facts = arguments[2] if name == "append" else ()
            kinds = [n for n, is_one in _FACTS.items() if any(map(is_one, facts))]
            await self._pass(name, "before", kinds)
            result = await found(*arguments, **named)
            await self._pass(name, "after", kinds)
            return result

        return passing

    async def _pass(self, name: str, side: str, kinds: Sequence[str]) -> None:
        await self._faults.at(f"{self._name}.{name}.{side}")
        for kind in kinds:
            await self._faults.at(kind.format(side))


class _Blobs(_Port):
    async def get(self, scope: Scope, blob: BlobId) -> AsyncIterator[bytes]:
        """See `BlobStore.get`; the point behind it is passed at the end."""
        await self._faults.at("blob.get.before")
        async for piece in cast("BlobStore", self._port).get(scope, blob):
            yield piece
        await self._faults.at("blob.get.after")


class _Model(_Port):
    def stream(self, request: ModelRequest) -> ModelStream:
        """See `Model.stream`."""
        made = cast("Model", self._port).stream(request)
        return cast("ModelStream", _Stream(made, "model", self._faults, ()))


class _Stream(_Port):
    async def __aiter__(self) -> AsyncIterator[list[ModelEvent]]:
        await self._faults.at("model.before")
        number = 0
        async for batch in cast("ModelStream", self._port):
            number += 1
            await self._faults.at("model.first" if number == 1 else "model.mid")
            if any(isinstance(event, Finished) for event in batch):
                await self._faults.at("model.end")
            yield batch


class _FaultyTool(Tool):
    def __init__(self, tool: Tool, faults: Faults) -> None:
        super().__init__(tool.definition)
        self._tool, self._faults = tool, faults

    async def execute(self, arguments: dict[str, Any], context: ExecutionContext) -> Any:
        """See `Tool.execute`."""
        await self._faults.at("tool.before_effect")
        value = await self._tool.execute(arguments, context)
        await self._faults.at("tool.after_effect")
        return value
