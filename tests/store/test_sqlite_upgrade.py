"""Files of older schemas are opened, upgraded in place, and used like new ones."""

import asyncio
from pathlib import Path

import apsw
import pytest

from palaver import codec
from palaver.domain.events import (
    ConversationCreated,
    ConversationForked,
    Event,
    HeadMoved,
    MetadataChanged,
)
from palaver.domain.ids import ConversationId
from palaver.domain.values import SessionMetadata
from palaver.store.projection import encode_facts, summarise
from palaver.store.sqlite import SqliteStore
from palaver.store.sqlite_schema import APPLICATION_ID, MIGRATIONS
from palaver.testing.store_contract.base import CHAT, ME, HandClock, accept, said

FIRST_KINDS = (
    "conversation.created", "preferences.changed", "metadata.changed", "turn.opened",
    "message.added", "tool.claimed", "tool.resolved", "turn.held", "call.decided", "attempt.made",
    "turn.closed",
)  # fmt: skip
FORK = ConversationId("conv_fork")


def facts() -> list[Event]:
    many = [said(f"walrus {i}") for i in range(400)]
    titled = MetadataChanged(SessionMetadata(title="Old"))
    return [ConversationCreated(), *many[:200], titled, *many[200:]]


def write_first(path: Path) -> None:
    """A file as the first schema left it, with one conversation of 402 facts."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute(MIGRATIONS[0])
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1")
    with connection:
        connection.executemany(
            "INSERT INTO kinds (name) VALUES (?)", [(name,) for name in FIRST_KINDS]
        )
        _write_conversation(connection, facts())
    connection.close()


def _write_conversation(connection: apsw.Connection, events: list[Event]) -> None:
    change = summarise(events)
    connection.execute(
        "INSERT INTO conversations VALUES (1, 'acme', ?, ?, 1000, 1000, ?, 0, ?, ?)",
        (CHAT, len(events), change.messages, change.preview, b'{"title":"Old"}'),
    )
    for i, fact in enumerate(encode_facts(events), (1 << 32) + 1):
        connection.execute(
            "INSERT INTO events VALUES (?, ?, ?, 1000, ?)",
            (i, FIRST_KINDS.index(fact.kind) + 1, fact.version, fact.body),
        )
        connection.execute("INSERT INTO search_events (event) VALUES (?)", (i,))
        row = connection.last_insert_rowid()
        terms = " ".join(fact.terms)
        connection.execute("INSERT INTO search (rowid, terms) VALUES (?, ?)", (row, terms))
    connection.execute("INSERT INTO snapshots VALUES (1, 1, 2, '{}')")
    connection.execute(
        "INSERT INTO turns VALUES (1, 'acme', 'ann', 'turn_0', 1, 3, 'owner', 0, 0, 1000, 0, 'k')"
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_first(tmp_path / "chat.db")
    return tmp_path / "chat.db"


async def test_first_schema_is_upgraded(path: Path) -> None:
    """Facts, search, listing and turns of a file of the first schema are all there; it takes new
    facts of new types."""
    clock = HandClock()
    store = await SqliteStore.open(path, clock=clock)
    assert [codec.kind(r.event) for r in await store.read(ME, CHAT)] == [
        codec.kind(event) for event in facts()
    ]
    (line,) = (await store.list_conversations(ME)).items
    assert (line.messages, line.preview, line.metadata.title) == (400, "walrus 399", "Old")
    assert len(await store.search(ME, "walrus", limit=500)) == 400
    assert await store.snapshot(ME, CHAT) is None
    assert (await accept(store, "walrus 1", turn="turn_1", expected=0, key="k")).replayed
    moved = HeadMoved(None)
    await store.append(ME, CHAT, [moved], expected=402)
    assert (await store.read(ME, CHAT, after=402))[0].event == moved
    await store.close()
    again = apsw.Connection(str(path))
    assert again.pragma("user_version") == len(MIGRATIONS)
    again.close()


async def test_old_conversations_can_be_forked(path: Path) -> None:
    """What a listing shows of a fork is right also where the old file kept no marks."""
    store = await SqliteStore.open(path, clock=HandClock())
    for at, count, preview, title in (
        (402, 400, "walrus 399", "Old"),
        (300, 298, "walrus 297", "Old"),
        (100, 99, "walrus 98", ""),
    ):
        name = ConversationId(f"conv_{at}_fork")
        await store.fork(ME, CHAT, name, [ConversationForked(CHAT, at)], at=at)
        lines = (await store.list_conversations(ME)).items
        line = next(line for line in lines if line.id == name)
        assert (line.messages, line.preview, line.metadata.title) == (count, preview, title)
    await store.close()


async def test_processes_upgrade_once(path: Path) -> None:
    """Several that open an old file at the same time all find it upgraded."""
    stores = await asyncio.gather(*(SqliteStore.open(path) for _ in range(3)))
    assert [len(await store.read(ME, CHAT)) for store in stores] == [402] * 3
    for store in stores:
        await store.close()
