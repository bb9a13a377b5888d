"""What the file store does when its file or disk is not as it should be."""

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import apsw
import pytest

from palaver import codec
from palaver.domain.errors import (
    StaleWriter,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFull,
)
from palaver.domain.events import UnknownEvent
from palaver.domain.ids import ConversationId
from palaver.store.sqlite import SqliteStore
from palaver.store.sqlite_writer import UNSYNCED_S
from palaver.testing.store_contract.base import CHAT, ME, begin, said


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folder" / "chat.db"


async def filled(path: Path, messages: int = 200) -> None:
    """A closed file with one long conversation."""
    store = await SqliteStore.open(path)
    await begin(store)
    await store.append(ME, CHAT, [said(f"word{i} " * 100) for i in range(messages)], expected=1)
    await store.close()


async def test_one_file_is_left(path: Path) -> None:
    """After closing, the log is in one file; no lock of this process stays."""
    await filled(path)
    folder = path.with_name("chat.db-owners")
    assert sorted(p.name for p in path.parent.iterdir()) == ["chat.db", "chat.db-owners"]
    assert not list(folder.glob("owner_*"))


async def test_stale_writer_fails_alone(path: Path) -> None:
    """Appends that wait together share a commit; the refused ones harm none of the others."""
    store = await SqliteStore.open(path)
    names = [ConversationId(f"conv_{i}") for i in range(60)]
    await asyncio.gather(*(begin(store, name) for name in names))
    outcomes = await asyncio.gather(
        *(store.append(ME, name, [said("a")], expected=i % 2) for i, name in enumerate(names)),
        return_exceptions=True,
    )
    assert [isinstance(o, StaleWriter) for o in outcomes] == [True, False] * 30
    assert [len(await store.read(ME, name)) for name in names] == [1, 2] * 30
    await store.close()


async def test_cancelled_append_is_whole_or_absent(path: Path) -> None:
    """Cancelling a caller leaves the store usable and its log without a gap."""
    store = await SqliteStore.open(path)
    await begin(store)
    calls = [asyncio.create_task(store.append(ME, CHAT, [said("a")], expected=1)) for _ in range(9)]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    records = await store.read(ME, CHAT)
    assert len(records) <= 2
    await store.append(ME, CHAT, [said("b")], expected=len(records))
    await store.close()


async def test_full_disk(path: Path) -> None:
    """A full disk raises StoreFull, acknowledges nothing, harms nobody, and heals."""
    store = await SqliteStore.open(path)
    await begin(store)
    await begin(store, "conv_2")

    async def allow(pages: int) -> None:
        await store._writer.run(
            lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchall(),
            in_transaction=False,
        )

    used = await store._writer.run(lambda c: c.pragma("page_count"))
    await allow(int(str(used)) + 8)
    big, small = said("long " * 20_000), said("short")
    outcomes = await asyncio.gather(
        store.append(ME, ConversationId("conv_2"), [small], expected=1),
        store.append(ME, CHAT, [big], expected=1),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], StoreFull)
    assert not isinstance(outcomes[0], BaseException)
    assert len(await store.read(ME, CHAT)) == 1
    await allow(1_000_000)
    await store.append(ME, CHAT, [big], expected=1)
    await store.close()
    again = await SqliteStore.open(path)
    assert len(await again.read(ME, CHAT)) == 2
    await again.close()


async def test_damage_is_found_after_a_crash(path: Path) -> None:
    """When a dead owner's lock lies there, a damaged file is refused at once."""
    await filled(path)
    damage(path)
    (path.with_name("chat.db-owners") / "owner_dead.lock").touch()
    with pytest.raises(StoreCorrupt, match=r"chat\.db is damaged"):
        await SqliteStore.open(path)


async def test_damage_is_found_in_the_background(path: Path) -> None:
    """After a clean shutdown the check runs beside; once it is done nothing is written."""
    await filled(path)
    damage(path)
    (path.with_name("chat.db-owners") / "checked").unlink()
    store = await SqliteStore.open(path)
    assert store._checking is not None
    await store._checking
    with pytest.raises(StoreCorrupt):
        await begin(store, "conv_2")
    await store.close()


def damage(path: Path) -> None:
    """Overwrite some pages in the middle of the log."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 4096 // 2 * 4096)
        file.write(b"\xff" * 4096 * 4)


async def test_text_file_is_refused(path: Path) -> None:
    """A file of another kind is not touched."""
    path.parent.mkdir(parents=True)
    path.write_text("not a database, " * 500)
    with pytest.raises(StoreCorrupt, match="is not a Palaver database"):
        await SqliteStore.open(path)
    assert path.read_text() == "not a database, " * 500


async def test_foreign_database_is_refused(path: Path) -> None:
    """Another program's SQLite file is left as it is."""
    path.parent.mkdir(parents=True)
    foreign = apsw.Connection(str(path))
    foreign.execute("CREATE TABLE notes (text)")
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match="is not a Palaver database"):
        await SqliteStore.open(path)
    assert path.read_bytes() == before


async def test_newer_file_asks_for_an_upgrade(path: Path) -> None:
    """A file of a newer schema is refused with the advice to upgrade."""
    await filled(path, 1)
    newer = apsw.Connection(str(path))
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StoreError, match="newer Palaver") as caught:
        await SqliteStore.open(path)
    assert "Upgrade" in caught.value.hint


async def test_newer_facts_are_kept(path: Path) -> None:
    """Facts of unknown types or newer versions come back as they are, byte for byte."""
    await filled(path, 1)
    newer = apsw.Connection(str(path))
    newer.execute("INSERT INTO kinds (name) VALUES ('mood.changed')")
    raw = b'{"type":"mood.changed","mood":"fine"}'
    newest = b'{"type":"message.added","said":"hello"}'
    (kind,) = newer.execute("SELECT key FROM kinds WHERE name = 'mood.changed'").fetchone()  # type: ignore[misc]
    (said_kind,) = newer.execute("SELECT key FROM kinds WHERE name = 'message.added'").fetchone()  # type: ignore[misc]
    insert = "INSERT INTO events VALUES ((1 << 32) + ?, ?, ?, 1, ?)"
    newer.execute(insert, (3, kind, 1, raw))
    newer.execute(insert, (4, said_kind, codec.VERSIONS["message.added"] + 1, newest))
    newer.execute("UPDATE conversations SET seq = 4")
    newer.close()
    store = await SqliteStore.open(path)
    records = await store.read(ME, CHAT, after=2)
    assert [r.event for r in records] == [
        UnknownEvent("mood.changed", 1, raw),
        UnknownEvent("message.added", codec.VERSIONS["message.added"] + 1, newest),
    ]
    await store.close()


async def test_damaged_fact_is_named(path: Path) -> None:
    """A fact that cannot be decoded raises StoreCorrupt with its number."""
    await filled(path, 1)
    other = apsw.Connection(str(path))
    other.execute("UPDATE events SET body = CAST('{' AS BLOB) WHERE id & 0xffffffff = 2")
    other.close()
    store = await SqliteStore.open(path)
    with pytest.raises(StoreCorrupt, match="event 2 of 'conv_1'"):
        await store.read(ME, CHAT)
    await store.close()


@pytest.mark.long
async def test_locked_file_is_said_to_be_busy(path: Path) -> None:
    """When another program holds the file for over five seconds, StoreBusy is raised."""
    await filled(path, 1)
    store = await SqliteStore.open(path)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy):
        await store.append(ME, CHAT, [said("a")], expected=2)
    assert len(await store.read(ME, CHAT)) == 2
    other.execute("ROLLBACK")
    other.close()
    await store.append(ME, CHAT, [said("a")], expected=2)
    await store.close()


async def test_long_read_does_not_delay_appends(path: Path) -> None:
    """While the reading thread is busy, appends go on."""
    store = await SqliteStore.open(path)
    await begin(store)
    read = threading.Event()
    reading = asyncio.create_task(store._reader.run(lambda _: read.wait(60)))
    await asyncio.sleep(0)
    for number in range(1, 4):
        await store.append(ME, CHAT, [said("a")], expected=number)
    assert not reading.done()
    read.set()
    assert await reading
    await store.close()


READ_ONLY = """
import asyncio, os, sys
import palaver.store.sqlite_writes
from palaver.domain.errors import StoreReadOnly
from palaver.store.sqlite import SqliteStore
from palaver.store.sqlite_writer import UNSYNCED_S
if os.geteuid() == 0:
    os.setuid(65534)  # root may write anywhere
try:
    asyncio.run(SqliteStore.open(sys.argv[1]))
except StoreReadOnly as error:
    print("read only:", error)
"""


@pytest.mark.skipif(os.name == "nt", reason="permissions work differently there")
@pytest.mark.parametrize("existing", [True, False])
def test_read_only_folder(*, existing: bool) -> None:
    """A folder or file that cannot be written is said as StoreReadOnly."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "chat.db"
        if existing:
            asyncio.run(filled(path, 1))
        path.parent.chmod(0o555)
        command = [sys.executable, "-c", READ_ONLY, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        path.parent.chmod(0o755)
    assert done.stdout.startswith("read only:"), done.stderr


async def test_path_is_a_folder(tmp_path: Path) -> None:
    """Naming a folder is said in words, not as SQLite's code."""
    with pytest.raises(StoreError, match="is a folder"):
        await SqliteStore.open(tmp_path)


async def test_only_its_owner_may_read_a_database(tmp_path: Path) -> None:
    """The file, its log and its folders are private, wherever they lie."""
    store = await SqliteStore.open(tmp_path / "chat.db")
    try:
        made = [p for p in tmp_path.iterdir() if p.name.startswith("chat.db")]
        assert len(made) >= 3
        assert [p.name for p in made if p.stat().st_mode & 0o077] == []
    finally:
        await store.close()


async def test_only_deltas_alone_wait_for_no_sync(path: Path) -> None:
    """A group with a fact in it is synced with everything before; so are deltas now and then."""
    normal, full = 1, 2

    def level(connection: apsw.Connection) -> int:
        return int(str(connection.execute("PRAGMA synchronous").fetchall()[0][0]))

    store = await SqliteStore.open(path)
    assert await store._write(level) == full
    store._writer._synced_at += 600  # so that the time is not over on a slow machine
    assert await store._write(level, synced=False) == normal
    assert await store._write(level) == full
    free = threading.Event()
    blocking = asyncio.ensure_future(store._write(lambda _: free.wait(60)))
    shared = [asyncio.ensure_future(store._write(level, synced=i == 1)) for i in range(3)]
    await asyncio.sleep(0)
    free.set()
    assert await asyncio.gather(*shared) == [full] * 3
    await blocking
    store._writer._synced_at += 600
    assert await store._write(level, synced=False) == normal
    store._writer._synced_at -= 600 + UNSYNCED_S
    assert await store._write(level, synced=False) == full
    await store.close()
