"""Copies of a database in use: of one moment, checked, and never in the place of something else."""

import asyncio
from pathlib import Path

import pytest

from palaver.domain.errors import InvalidInput, StoreCorrupt, StoreError
from palaver.store.backup import backup
from palaver.store.blobs import FileBlobStore
from palaver.store.sqlite import SqliteStore
from palaver.testing.store_contract.base import CHAT, ME, begin, said


async def test_others_write_meanwhile(tmp_path: Path) -> None:
    """The copy is of one moment: a beginning of each log, with index and listing."""
    store = await SqliteStore.open(tmp_path / "chat.db")
    await begin(store)
    for number in range(50):
        await store.append(ME, CHAT, [said(f"hello {number} " * 200)], expected=number + 1)

    async def write() -> None:
        for number in range(50, 90):
            await store.append(ME, CHAT, [said(f"hello {number}")], expected=number + 1)

    report, _ = await asyncio.gather(store.backup(tmp_path / "copy.db"), write())
    every = await store.read(ME, CHAT)
    await store.close()
    assert sorted(p.name for p in tmp_path.glob("copy*")) == ["copy.db"]
    copy = await SqliteStore.open(tmp_path / "copy.db")
    found = await copy.read(ME, CHAT)
    hits = await copy.search(ME, "hello", limit=1000)
    await copy.close()
    assert 51 <= len(found) == report.facts <= 91
    assert found == every[: len(found)]
    assert len(hits) == len(found) - 1


async def test_attachments_go_with_it(tmp_path: Path) -> None:
    """Into the folder where the copy's own would be; a second backup adds what is new."""
    store = await SqliteStore.open(tmp_path / "chat.db")
    blobs = FileBlobStore(tmp_path / "chat.db-blobs")
    await blobs.put(ME, b"one")
    two = await blobs.put(ME, b"two")
    target = tmp_path / "backups" / "copy.db"
    first = await store.backup(target, blobs=blobs.folder)
    await blobs.put(ME, b"three")
    second = await store.backup(target, blobs=blobs.folder, overwrite=True)
    await store.close()
    assert (first.attachments, second.attachments) == (2, 1)
    copied = FileBlobStore(target.with_name("copy.db-blobs"))
    assert b"".join([piece async for piece in copied.get(ME, two)]) == b"two"


async def test_what_is_there_stays(tmp_path: Path) -> None:
    """Unless it is to be replaced; the database itself never is."""
    store = await SqliteStore.open(tmp_path / "chat.db")
    await begin(store)
    target = tmp_path / "copy.db"
    target.write_text("mine")
    with pytest.raises(InvalidInput):
        await store.backup(target)
    with pytest.raises(InvalidInput):
        await store.backup(tmp_path / "chat.db", overwrite=True)
    assert target.read_text() == "mine"
    await store.backup(target, overwrite=True)
    assert target.read_bytes().startswith(b"SQLite")
    await store.close()
    with pytest.raises(StoreError):
        await store.backup(target, overwrite=True)


async def test_damage_is_not_backed_up(tmp_path: Path) -> None:
    """An older backup is not replaced by a copy of a damaged file."""
    path, target = tmp_path / "chat.db", tmp_path / "copy.db"
    store = await SqliteStore.open(path)
    await begin(store)
    for number in range(200):
        await store.append(ME, CHAT, [said(f"hello {number} " * 50)], expected=number + 1)
    await store.backup(target)
    await store.close()
    whole, good = bytearray(path.read_bytes()), target.read_bytes()
    for page in range(8, len(whole) // 4096, 5):
        whole[page * 4096 : page * 4096 + 4096] = b"\xff" * 4096
    path.write_bytes(whole)
    with pytest.raises(StoreCorrupt) as damage:
        backup(path, target, overwrite=True)
    assert f"doctor --repair '{path}'" in damage.value.hint
    assert "copy" not in damage.value.message
    assert target.read_bytes() == good
    assert sorted(p.name for p in tmp_path.glob("copy*")) == ["copy.db"]
