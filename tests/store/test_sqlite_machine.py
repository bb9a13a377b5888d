"""Any sequence of operations leaves the file store and the memory store in the same state."""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from palaver.domain.errors import PalaverError
from palaver.domain.events import (
    ConversationCreated,
    ConversationForked,
    Event,
    MessageAdded,
    MessagePinned,
    MessageRedacted,
    MetadataChanged,
    Recorded,
    TurnOpened,
)
from palaver.domain.ids import ConversationId, MessageId, TurnId
from palaver.domain.messages import Message, Text
from palaver.domain.snapshot import SNAPSHOT_VERSION, Snapshot
from palaver.domain.values import Scope, SessionMetadata
from palaver.store.base import ConversationStore, RunRow
from palaver.store.memory import MemoryStore
from palaver.store.sqlite import SqliteStore
from palaver.testing.store_contract.base import HandClock, closed

scopes = st.sampled_from([Scope("a", "x"), Scope("b", "y")])
names = st.sampled_from([ConversationId(f"c{i}") for i in range(5)])
below_one = st.floats(0, 1)
turns = st.sampled_from([TurnId(f"t{i}") for i in range(4)])
texts = st.sampled_from(
    [
        "red apple",
        "Äpfel rot",
        "東京都 apple",
        "",
        "\ud800",
        "a b",
        "x" * 3000,
        f"sha256:{'a' * 64}",
    ]
)
ids = st.sampled_from(["m1", "m2", "m3"])
queries = st.sampled_from(["apple", "app", "red app", "京", "京都", "apfel", '"', "b"])
numbers = st.integers(-1, 3)


class Stores(RuleBasedStateMachine):
    """Does everything twice and compares the outcomes."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.clock = HandClock()
        self.memory = MemoryStore(clock=self.clock)
        self.file = self._open()

    def _open(self) -> SqliteStore:
        return self.runner.run(SqliteStore.open(self.folder / "chat.db", clock=self.clock))

    def teardown(self) -> None:
        self.runner.run(self.file.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def both(self, call: Callable[[ConversationStore], Awaitable[object]]) -> None:
        async def outcome(store: ConversationStore) -> object:
            try:
                return await call(store)
            except PalaverError as error:
                return type(error), str(error)

        one = self.runner.run(outcome(self.memory))
        two = self.runner.run(outcome(self.file))
        assert one == two

    def expected(self, scope: Scope, name: ConversationId, off: int) -> int:
        log = self.memory._logs.get((scope.tenant, name))
        # Mostly right, so that logs grow.
        return (len(log.records) if log else 0) + (off if off in (-1, 1) else 0)

    @rule(scope=scopes, name=names, title=texts)
    def create(self, scope: Scope, name: ConversationId, title: str) -> None:
        created = ConversationCreated(metadata=SessionMetadata(title=title))
        self.both(lambda s: s.create(scope, name, [created]))

    @rule(
        scope=scopes, name=names, turn=turns, text=texts, id=ids, off=numbers, key=st.none() | ids
    )
    def accept(
        self,
        scope: Scope,
        name: ConversationId,
        turn: TurnId,
        text: str,
        id: str,
        off: int,
        **k: Any,
    ) -> None:
        at = self.expected(scope, name, off)
        message = Message.user(text, id=id)
        key = k["key"]
        self.both(
            lambda s: s.accept(scope, name, message, turn=turn, expected=at, idempotency_key=key)
        )

    @rule(scope=scopes, name=names, off=numbers, facts=st.lists(st.tuples(texts, ids), max_size=3))
    def append(
        self, scope: Scope, name: ConversationId, off: int, facts: list[tuple[str, str]]
    ) -> None:
        at = self.expected(scope, name, off)
        made = (Message.user, Message.assistant)
        events = [
            MessageAdded(made[i % 2](text, id=id)) for i, (text, id) in enumerate(facts, len(facts))
        ]
        snapshot = Snapshot(at + len(events) + (off == 3), SNAPSHOT_VERSION, b"{}")
        self.both(lambda s: s.append(scope, name, events, expected=at, snapshot=snapshot))

    @rule(scope=scopes, name=names, archived=st.booleans())
    def archive(self, scope: Scope, name: ConversationId, *, archived: bool) -> None:
        at = self.expected(scope, name, 0)
        events: list[Event] = [MetadataChanged(SessionMetadata(archived=archived))]
        self.both(lambda s: s.append(scope, name, events, expected=at))

    @rule(scope=scopes, name=names, turn=turns, first=st.integers(1, 9), size=st.integers(0, 3))
    def close_turn(
        self, scope: Scope, name: ConversationId, turn: TurnId, first: int, size: int
    ) -> None:
        at = self.expected(scope, name, 0)
        rows = [RunRow(first, first + size, b"[]")]
        self.both(lambda s: s.append(scope, name, [closed(turn)], expected=at, run=(turn, rows)))

    @rule(scope=scopes, turn=turns, first=st.integers(1, 9), epoch=st.integers(0, 1))
    def append_run(self, scope: Scope, turn: TurnId, first: int, epoch: int) -> None:
        rows = [RunRow(first, first, b"[]", epoch), RunRow(first + 1, first + 4, b"[]", epoch)]
        self.both(lambda s: s.append_run(scope, turn, rows))

    @rule(scope=scopes, name=names, turn=turns, text=texts, id=ids)
    def answer_again(
        self, scope: Scope, name: ConversationId, turn: TurnId, text: str, id: str
    ) -> None:
        at = self.expected(scope, name, 0)
        events: list[Event] = [TurnOpened(turn), MessageAdded(Message.assistant(text, id=id))]
        self.both(lambda s: s.append(scope, name, events, expected=at, opens=turn))

    @rule(scope=scopes, name=names, count=st.integers(100, 1100), text=texts, id=ids)
    def append_many(
        self, scope: Scope, name: ConversationId, count: int, text: str, id: str
    ) -> None:
        at = self.expected(scope, name, 0)
        fact, mute = MessageAdded(Message.user(text, id=id)), MessagePinned(MessageId(id))
        events: list[Event] = [fact, *[mute] * count, fact]
        snapshot = Snapshot(at + len(events), SNAPSHOT_VERSION, b"{}")
        self.both(lambda s: s.append(scope, name, events, expected=at, snapshot=snapshot))

    @rule(scope=scopes, source=names, name=names, where=below_one, off=numbers, text=texts)
    def fork(
        self,
        scope: Scope,
        source: ConversationId,
        name: ConversationId,
        where: float,
        off: int,
        text: str,
    ) -> None:
        end = self.expected(scope, source, 0)
        at = round(1 + where * (end - 1)) if off else end + 1
        events: list[Event] = [ConversationForked(source, at)]
        if off > 1:
            events.append(MessageAdded(Message.user(text, id="m1")))
        self.both(lambda s: s.fork(scope, source, name, events, at=at))
        self.check(scope)

    @rule(
        scope=scopes,
        name=names,
        off=numbers,
        where=st.lists(below_one, max_size=3),
        turn=turns,
        text=texts,
    )
    def rewrite(
        self,
        scope: Scope,
        name: ConversationId,
        off: int,
        where: list[float],
        turn: TurnId,
        text: str,
    ) -> None:
        at = self.expected(scope, name, off)
        log = self.memory._logs.get((scope.tenant, name))
        records = log.records if log else []
        replaced = [self.other(records[int(w * (len(records) - 1))], text) for w in where if log]
        noted: list[Event] = [MessageRedacted(MessageId("m1"))]
        self.both(lambda s: s.rewrite(scope, name, replaced, noted, expected=at, runs=[turn]))
        self.check(scope)

    def other(self, recorded: Recorded, text: str) -> tuple[int, Event]:
        """Something of the same type at the same number; what is no message fits rarely."""
        event = recorded.event
        if isinstance(event, MessageAdded):
            said = msgspec.structs.replace(event.message, content=(Text(text),))
            return recorded.seq, MessageAdded(said, event.turn)
        return recorded.seq, MetadataChanged(SessionMetadata(title=text))

    def check(self, scope: Scope) -> None:
        """All that is derived, for all conversations of a tenant."""
        for name in [ConversationId(f"c{i}") for i in range(5)]:
            self.both(lambda s, n=name: s.read(scope, n))  # type: ignore[misc]
            self.both(lambda s, n=name: s.snapshot(scope, n))  # type: ignore[misc]
            self.both(lambda s, n=name: _found(s, scope, "apple", n))  # type: ignore[misc]
        self.both(lambda s: s.list_conversations(scope))
        self.both(lambda s: s.list_conversations(scope, archived=True))
        self.both(lambda s: _found(s, scope, "apple", None))

    @rule(scope=scopes)
    def look_at_all(self, scope: Scope) -> None:
        self.check(scope)
        self.both(lambda s: s.blob_references(scope))

    @rule(scope=scopes, name=names)
    def delete(self, scope: Scope, name: ConversationId) -> None:
        self.both(lambda s: s.delete(scope, name))
        self.check(scope)

    @rule(seconds=st.integers(-5, 5))
    def time_passes(self, seconds: int) -> None:
        self.clock.time += seconds

    @rule(
        scope=scopes,
        name=names,
        after=numbers,
        until=st.none() | numbers,
        limit=st.none() | numbers,
    )
    def read(
        self, scope: Scope, name: ConversationId, after: int, until: int | None, limit: int | None
    ) -> None:
        self.both(lambda s: s.read(scope, name, after=after, until=until, limit=limit))
        self.both(lambda s: s.read(scope, name, kinds=["message.added", "turn.closed"]))
        self.both(lambda s: s.snapshot(scope, name, until=until))

    @rule(scope=scopes, turn=turns, after=st.integers(-1, 12))
    def read_run(self, scope: Scope, turn: TurnId, after: int) -> None:
        self.both(lambda s: s.read_run(scope, turn, after=after))
        self.both(lambda s: _directory(s, scope, turn))

    @rule(scope=scopes, archived=st.booleans())
    def listing(self, scope: Scope, *, archived: bool) -> None:
        self.both(lambda s: s.list_conversations(scope, archived=archived, limit=1))

    @rule(scope=scopes, query=queries, name=st.none() | names)
    def search(self, scope: Scope, query: str, name: ConversationId | None) -> None:
        self.both(lambda s: _found(s, scope, query, name))


async def _directory(store: ConversationStore, scope: Scope, turn: TurnId) -> object:
    row = await store.turn(scope, turn)
    return row.id, row.conversation, row.open, row.epoch, row.started_at, row.scope


async def _found(
    store: ConversationStore, scope: Scope, query: str, name: ConversationId | None
) -> object:
    hits = await store.search(scope, query, conversation=name, limit=500)
    return sorted(hits, key=lambda hit: (hit.conversation, hit.seq))  # they may rank differently


def test_file_and_memory_agree() -> None:
    """Whatever is done, both stores answer alike: values, errors and their words."""
    brief = settings(max_examples=25, stateful_step_count=25, deadline=None)
    run_state_machine_as_test(
        Stores, settings=settings(brief, suppress_health_check=list(HealthCheck))
    )


@pytest.mark.long
def test_file_and_memory_agree_at_length() -> None:
    """The same, for three hundred longer histories."""
    full = settings(max_examples=300, stateful_step_count=60, deadline=None)
    run_state_machine_as_test(
        Stores, settings=settings(full, suppress_health_check=list(HealthCheck))
    )
