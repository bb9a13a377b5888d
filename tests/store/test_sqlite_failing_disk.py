"""Disks that fail a sync, or that cannot be written: what was stored is read, and no more is told
to be stored than is."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from palaver.domain.errors import StoreFailed
from palaver.store.owners import Owners
from palaver.store.sqlite import SqliteStore
from palaver.store.sqlite_schema import connect_writer
from palaver.store.sqlite_writer import Writer
from palaver.testing.store_contract.base import CHAT, ME, begin, said


def unsynced(_: apsw.Connection) -> None:
    """What SQLite says when the disk does not confirm."""
    raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)


async def test_after_a_failed_sync_nothing_more_is_written(tmp_path: Path) -> None:
    """Not by trying again either: the system may say that all is well when it is not."""
    path = tmp_path / "chat.db"
    writer = Writer("writer", path, Owners(path))
    await writer.start(lambda: connect_writer(path))
    ran: list[int] = []
    works = [writer.run(lambda c, n=n: ran.append(n)) for n in range(3)]  # type: ignore[misc]
    failing = writer.run(unsynced)
    later = [writer.run(lambda c, n=n: ran.append(n)) for n in (3, 4)]  # type: ignore[misc]
    done = await asyncio.gather(*works, failing, *later, return_exceptions=True)
    assert isinstance(done[3], StoreFailed)
    refused = [each for each in done if isinstance(each, StoreFailed)]
    ran.clear()
    with pytest.raises(StoreFailed, match="did not confirm"):
        await writer.run(lambda c: ran.append(9))
    assert refused
    assert ran == []
    await writer.close()
    again = Writer("writer", path, Owners(path))
    await again.start(lambda: connect_writer(path))
    await again.run(lambda c: ran.append(10))
    await again.close()
    assert ran == [10]


READ = """
import asyncio, os, sys
import palaver
from palaver import PalaverError

async def read():
    async with palaver.open(sys.argv[2], model="offline") as manager:
        conversation = await manager.create()  # what is imported later may not be readable then
        await conversation.say("hello")
        await manager.search("hello")
        await manager.find("last")
    os.setuid(65534)
    async with palaver.open(sys.argv[1], model="offline") as manager:
        conversation = await manager.find("last")
        print(len(conversation.messages), len(await manager.search("hello")))
        try:
            await conversation.say("more")
        except PalaverError as error:
            print(error.code)

asyncio.run(read())
"""


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="another user is needed")
@pytest.mark.parametrize("what", ["file", "folder"])
async def test_what_cannot_be_written_is_read(tmp_path: Path, what: str) -> None:
    """Listing, search and reading work; a message is refused with a clear error."""
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "home").mkdir(mode=0o755)
    path = folder / "chat.db"
    store = await SqliteStore.open(path)
    scope = type(ME)()
    await begin(store, scope=scope)
    await store.append(scope, CHAT, [said("hello")], expected=1)
    await store.close()
    for parent in (tmp_path, *tmp_path.parents[:3]):
        parent.chmod(0o755)
    path.chmod(0o444 if what == "file" else 0o666)
    folder.chmod(0o777 if what == "file" else 0o555)
    for lock in path.with_name("chat.db-owners").iterdir():
        lock.chmod(0o444)
    path.with_name("chat.db-owners").chmod(0o555)
    before = path.read_bytes()
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", READ, str(path), str(tmp_path / "other.db")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PALAVER_HOME": str(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.stdout.split() == ["1", "1", "storage_read_only"], done.stderr
    assert path.read_bytes() == before
