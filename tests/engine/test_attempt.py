"""The way of a model's words: shown in the step in which they are read, written together later."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from palaver import Scope, StopReason, TextDelta, TurnCancelled
from palaver.domain.errors import ServerFailure
from palaver.domain.ids import TurnId
from palaver.domain.messages import Block, Text
from palaver.domain.values import Usage
from palaver.providers.base import Finished, ModelEvent, ModelInfo, ModelRequest, TextPart
from palaver.settings import RetrySettings, Settings, StreamSettings
from palaver.store.base import RunRow
from palaver.store.memory import MemoryStore
from tests.engine.conftest import Opened

BEFORE = 2
"""Events before the first words: turn started, attempt started."""


class Wire:
    """A model with one answer. Batches come when the test says so, or at once; `asked` is told
    before each of them."""

    def __init__(self, words: Sequence[str], *, asked: Callable[[], None] = lambda: None) -> None:
        self.name = "scripted:wire"
        self.info = ModelInfo(self.name, window=200_000)
        self.request_id = ""
        self.said: list[str] = []
        self.gate: asyncio.Future[None] | None = None
        """What the next batch waits for."""
        self.is_closed = False
        self.failure: Exception | None = None
        self._words, self._asked = words, asked

    def stream(self, request: ModelRequest) -> "Wire":
        return self

    async def __aiter__(self) -> AsyncIterator[list[ModelEvent]]:
        for word in self._words:
            self._asked()
            if self.gate is not None:
                await self.gate
            self.said.append(word)
            yield [TextPart(word)]
        if self.failure is not None:
            raise self.failure
        yield [Finished(self.partial(), StopReason.END_TURN)]

    def partial(self) -> tuple[Block, ...]:
        return (Text("".join(self.said)),) if self.said else ()

    def usage(self) -> Usage | None:
        return None

    async def aclose(self) -> None:
        self.is_closed = True


async def test_nothing_is_read_before_what_came_is_shown(opened: Opened) -> None:
    """However fast a model is, no batch waits in memory: the next one is read when the last one is
    in the stream."""
    shown: list[int] = []
    wire = Wire(["word "] * 50, asked=lambda: shown.append(session.last - BEFORE))
    manager = await opened(wire)
    session = await (await manager.create()).start("Hello")
    await manager.streams.settled(session.turn)
    assert shown == list(range(50))


async def test_two_steps_of_the_loop_carry_a_batch_to_a_reader(opened: Opened) -> None:
    """The model's reader shows it in the first, the reader of the turn has it in the second."""
    loop = asyncio.get_running_loop()
    wire = Wire(["one", "two"])
    wire.gate = loop.create_future()
    manager = await opened(wire)
    conversation = await manager.create()
    session = await conversation.start("Hello")
    heard: list[str] = []

    async def follow() -> None:
        async for event in session.events():
            heard.extend([event.text] if isinstance(event, TextDelta) else [])

    following = asyncio.ensure_future(follow())
    for _ in range(50):  # until everybody waits
        await asyncio.sleep(0)
    gate, wire.gate = wire.gate, loop.create_future()
    gate.set_result(None)
    for _ in range(2):
        await asyncio.sleep(0)
    assert heard == ["one"]
    wire.gate.set_result(None)
    await following
    assert heard == ["one", "two"]


async def test_a_cancel_keeps_all_that_was_shown_and_nothing_else(opened: Opened) -> None:
    """The message that is stored is what readers had seen when the turn was cancelled."""
    wire = Wire(["one ", "two ", "three "])
    manager = await opened(wire)
    conversation = await manager.create()

    def stop_before_the_third() -> None:
        if len(wire.said) == 2:
            wire.gate = asyncio.get_running_loop().create_future()
            session.cancel()

    wire._asked = stop_before_the_third
    session = await conversation.start("Hello")
    events = [event async for event in session.events()]
    assert isinstance(events[-1], TurnCancelled)
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "one two "
    assert conversation.messages[-1].text == "one two "
    assert wire.is_closed


async def test_a_failure_behind_words_is_told_once(opened: Opened) -> None:
    """Words that came are kept, the failure ends the turn, and nothing is asked again where broken
    answers are not to be continued."""
    wire = Wire(["half an "])
    wire.failure = ServerFailure("down")
    manager = await opened(wire, settings=Settings(retry=RetrySettings(resumes=0)))
    conversation = await manager.create()
    session = await conversation.start("Hello")
    kinds = [type(event).__name__ async for event in session.events()]
    assert kinds.count("AttemptStarted") == 1
    assert kinds.count("TurnFailed") == 1
    assert conversation.messages[-1].text == "half an "


class CountingStore(MemoryStore):
    """Remembers what was written of run logs outside of facts."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[int] = []
        self.wrote = asyncio.Event()

    async def append_run(self, scope: Scope, turn: TurnId, rows: Sequence[RunRow]) -> None:
        await super().append_run(scope, turn, rows)
        self.written.append(len(rows))
        self.wrote.set()


@pytest.mark.looptime  # the pause is over when nothing else can happen, not after 10 ms
async def test_deltas_are_written_together(opened: Opened) -> None:
    """A thousand deltas before a pause are one write of one row; what comes after it and before the
    end goes with the facts that end the turn."""
    store = CountingStore()
    wire = Wire(["word "] * 2_000)
    pause: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def rest_in_the_middle() -> None:
        wire.gate = pause if len(wire.said) == 1_000 else None

    wire._asked = rest_in_the_middle
    settings = Settings(stream=StreamSettings(flush_s=0.01))
    manager = await opened(wire, store=store, settings=settings)
    session = await (await manager.create()).start("Hello")
    await store.wrote.wait()
    pause.set_result(None)
    await manager.streams.settled(session.turn)
    rows = await store.read_run(Scope(), session.turn)
    assert store.written == [1]
    assert [(row.first, row.last) for row in rows] == [
        (1, BEFORE + 1_000),
        (BEFORE + 1_001, session.last),
    ]
