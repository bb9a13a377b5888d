"""The SQLite store alone, driven in a process of its own."""

import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

from palaver.domain import snapshot as snapshots
from palaver.domain.events import (
    ConversationCreated,
    Event,
    MessageAdded,
    MetadataChanged,
    TurnClosed,
    TurnOpened,
)
from palaver.domain.ids import ConversationId, MessageId, TurnId
from palaver.domain.messages import Message
from palaver.domain.values import Scope, SessionMetadata, TurnOutcome
from palaver.service.held_state import load_state
from palaver.store.sqlite import SqliteStore
from palaver.store.sqlite_writes import turn_facts
from palaver.system import new_id

SCOPE = Scope()
BATCH = 100
"""Turns of filling written at once."""


class StoreWorker:
    """One store with one growing conversation."""

    def __init__(self) -> None:
        self._store: SqliteStore | None = None
        self._conversation = ConversationId(new_id("conv"))
        self._seq = self._turns = 0
        self._chance = random.Random(1)
        self._words = [_word(self._chance) for _ in range(20_000)]

    async def begin(self, folder: str) -> dict[str, Any]:
        """An empty conversation in a new file."""
        self._store = await SqliteStore.open(Path(folder) / "store.db")
        created = await self._store.create(SCOPE, self._conversation, (ConversationCreated(),))
        self._seq = created.last
        return {}

    async def fill(self, until: int) -> dict[str, Any]:
        """Turns up to number `until`, written in batches."""
        assert self._store is not None
        while self._turns < until:
            facts: list[Event] = []
            for _ in range(min(BATCH, until - self._turns)):
                turn, question = TurnId(new_id("turn")), self._message("user", 300)
                facts += [*turn_facts(question, TurnOpened(turn)), *self._answer(turn)]
                self._turns += 1
            self._seq = (await self._append(facts)).last
        return {}

    async def turns(self, number: int) -> dict[str, Any]:
        """So many turns as they are written live: median milliseconds of accept and of append."""
        assert self._store is not None
        accepts, appends = _Times(), _Times()
        for _ in range(number):
            turn, question = TurnId(new_id("turn")), self._message("user", 300)
            with accepts:
                done = await self._store.accept(
                    SCOPE, self._conversation, question, turn=turn, expected=self._seq
                )
            assert done.appended is not None
            self._seq = done.appended.last
            facts = self._answer(turn)
            with appends:
                self._seq = (await self._append(facts)).last
            self._turns += 1
        return {"accept": accepts.medians(), "append": appends.medians()}

    async def load(self, number: int) -> dict[str, Any]:
        """The conversation as a state, `number` times: median milliseconds, and how long it is."""
        assert self._store is not None
        times, state = _Times(), None
        for _ in range(number):
            with times:
                state, _ = await load_state(self._store, SCOPE, self._conversation)
        assert state is not None
        return {**times.medians(), "messages": len(state.messages)}

    async def snapshot(self) -> dict[str, Any]:
        """Write a snapshot of the conversation as it is."""
        assert self._store is not None
        state, _ = await load_state(self._store, SCOPE, self._conversation)
        appended = await self._store.append(
            SCOPE,
            self._conversation,
            (MetadataChanged(SessionMetadata(title="Bench")),),
            expected=self._seq,
            snapshot=snapshots.take(state),
        )
        self._seq = appended.last
        return {}

    async def search(self, number: int) -> dict[str, Any]:
        """Searches for a rare word, a common one, and two words: median milliseconds of each."""
        store = self._store
        assert store is not None
        queries = {
            "rare": lambda: self._words[self._chance.randrange(10_000, 20_000)],
            "common": lambda: self._words[self._chance.randrange(10)],
            "two words": lambda: " ".join(self._words[self._chance.randrange(500)] for _ in "ab"),
        }
        return {
            name: await _timed(number, lambda query=query: store.search(SCOPE, query()))  # type: ignore[misc]
            for name, query in queries.items()
        }

    async def aclose(self) -> dict[str, Any]:
        """Close the store."""
        if self._store is not None:
            await self._store.close()
            self._store = None
        return {}

    async def _append(self, facts: list[Event]) -> Any:
        assert self._store is not None
        return await self._store.append(SCOPE, self._conversation, facts, expected=self._seq)

    def _answer(self, turn: TurnId) -> list[Event]:
        answer = MessageAdded(self._message("assistant", 1200), turn)
        return [answer, TurnClosed(turn, TurnOutcome.COMPLETED)]

    def _message(self, role: str, chars: int) -> Message:
        # Zipf's law in short: the n-th word is about 1/n as common as the first.
        words = [self._words[int(20_000 ** self._chance.random()) - 1] for _ in range(chars // 7)]
        make = Message.user if role == "user" else Message.assistant
        return make(" ".join(words), id=MessageId(new_id("msg")))


class _Times:
    def __init__(self) -> None:
        self._wall: list[float] = []
        self._cpu: list[float] = []

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self._wall.append(time.perf_counter() - self._began[0])
        self._cpu.append(time.process_time() - self._began[1])

    def medians(self) -> dict[str, float]:
        return {"wall_ms": median(self._wall) * 1000, "cpu_ms": median(self._cpu) * 1000}


async def _timed(number: int, work: Callable[[], Awaitable[Any]]) -> dict[str, float]:
    times = _Times()
    for _ in range(number):
        with times:
            await work()
    return times.medians()


def _word(chance: random.Random) -> str:
    return "".join(chance.choice("aeioulnrstdmkpg") for _ in range(chance.randint(4, 9)))
