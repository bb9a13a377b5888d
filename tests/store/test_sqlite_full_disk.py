"""A full disk when the file is opened: everything can be read, nothing is written."""

import asyncio
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from palaver.store.sqlite import SqliteStore
from palaver.testing.store_contract.base import CHAT, ME, begin, said

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="files of a limited size")

READ = """
import asyncio, resource, sys
from palaver.domain.errors import StoreFull
from palaver.store.sqlite import SqliteStore
from palaver.testing.store_contract.base import CHAT, ME, said

async def read():
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # no file can grow
    store = await SqliteStore.open(sys.argv[1])
    assert await store.adopt_orphans() == ()
    assert [c.id for c in (await store.list_conversations(ME)).items] == [CHAT]
    assert len(await store.search(ME, "hello")) == 1
    records = await store.read(ME, CHAT)
    try:
        await store.append(ME, CHAT, [said("more")], expected=len(records))
    except StoreFull as full:
        print(len(records), full.code)
    await store.close()

asyncio.run(read())
"""
CRASH = """
import asyncio, os, sys
from palaver.store.sqlite import SqliteStore
from palaver.testing.store_contract.base import CHAT, ME, begin, said

async def write():
    store = await SqliteStore.open(sys.argv[1])
    await begin(store)
    await store.append(ME, CHAT, [said("hello")], expected=1)
    os._exit(0)

asyncio.run(write())
"""


async def run(code: str, path: Path) -> str:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def filled(path: Path) -> None:
    store = await SqliteStore.open(path)
    await begin(store)
    await store.append(ME, CHAT, [said("hello")], expected=1)
    await store.close()


async def test_a_closed_file_is_read(tmp_path: Path) -> None:
    """Listing, search and reading work; a write says that no space is left."""
    await filled(tmp_path / "chat.db")
    assert await run(READ, tmp_path / "chat.db") == "2 storage_full"


async def test_what_a_dead_process_left_is_read(tmp_path: Path) -> None:
    """Also what was acknowledged and is only in the write-ahead log yet."""
    path = tmp_path / "chat.db"
    await run(CRASH, path)
    path.with_name("chat.db-shm").unlink()
    assert await run(READ, path) == "2 storage_full"
    store = await SqliteStore.open(path)
    await store.append(ME, CHAT, [said("there is room again")], expected=2)
    await store.close()


async def test_the_file_of_another_process_is_read(tmp_path: Path) -> None:
    """While that goes on working with it."""
    path = tmp_path / "chat.db"
    store = await SqliteStore.open(path)
    await begin(store)
    await store.append(ME, CHAT, [said("hello")], expected=1)
    assert await run(READ, path) == "2 storage_full"
    await store.append(ME, CHAT, [said("again")], expected=2)
    await store.close()


async def test_opening_to_read_writes_nothing(tmp_path: Path) -> None:
    """Where there is nothing to bring up to date and nobody died, the file stays as it is."""
    path = tmp_path / "chat.db"
    await filled(path)
    before = hashlib.sha256(path.read_bytes()).digest()
    store = await SqliteStore.open(path)
    assert await store.adopt_orphans() == ()
    assert len(await store.read(ME, CHAT)) == 2
    assert path.with_name("chat.db-wal").stat().st_size == 0
    await store.close()
    assert hashlib.sha256(path.read_bytes()).digest() == before
