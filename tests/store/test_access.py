"""Keys, spend and the audit log: both stores keep the contract, and the file more than that."""

import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace

from palaver.domain.access import KeyLimits
from palaver.domain.clock import Clock
from palaver.domain.errors import StoreCorrupt, StoreError
from palaver.domain.events import MessageAdded
from palaver.domain.messages import Message
from palaver.domain.values import Usage
from palaver.store.access import AccessStore, AuditEntry, KeepsAccess
from palaver.store.memory import MemoryStore
from palaver.store.repair import repair
from palaver.store.sqlite import SqliteStore
from palaver.store.sqlite_access import ADD_KEY
from palaver.store.sqlite_schema import MIGRATIONS
from palaver.testing.store_contract import AccessContract, DurableAccessContract
from palaver.testing.store_contract.access import DIGEST, TODAY, key
from palaver.testing.store_contract.base import CHAT, ME, HandClock, begin, said


class TestMemoryAccess(AccessContract):
    def open_access(self, *, clock: Clock) -> AbstractAsyncContextManager[AccessStore]:
        return _in_memory(clock)


class TestSqliteAccess(DurableAccessContract):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "chat.db"

    def open_access(self, *, clock: Clock) -> AbstractAsyncContextManager[AccessStore]:
        return _in_file(self.path, clock)

    def open_access_again(self, *, clock: Clock) -> AbstractAsyncContextManager[AccessStore]:
        return _in_file(self.path, clock)


@asynccontextmanager
async def _in_memory(clock: Clock) -> AsyncIterator[AccessStore]:
    store = MemoryStore(clock=clock)
    yield store.access
    await store.close()


@asynccontextmanager
async def _in_file(path: Path, clock: Clock) -> AsyncIterator[AccessStore]:
    store = await SqliteStore.open(path, clock=clock)
    assert isinstance(store, KeepsAccess)
    yield store.access
    await store.close()


async def test_nobody_edits_the_audit_log(tmp_path: Path) -> None:
    """The file refuses to change or delete an entry, whoever asks."""
    async with _in_file(tmp_path / "chat.db", HandClock()) as store:
        written = await store.audit(AuditEntry("acme", "k1", "key.created"))
        connection = apsw.Connection(str(tmp_path / "chat.db"))
        for statement in ("UPDATE audit SET at = 0", "DELETE FROM audit"):
            with pytest.raises(apsw.ConstraintError, match="only appended"):
                connection.execute(statement)
        connection.close()
        assert await store.audit_entries("acme") == (written,)


async def test_secrets_are_not_in_the_file(tmp_path: Path) -> None:
    """Of a key only the digest lies in the file."""
    path = tmp_path / "chat.db"
    async with _in_file(path, HandClock()) as store:
        await store.add_key(key("k1"), DIGEST)
    stored = path.read_bytes()
    assert DIGEST in stored
    assert b"a secret" not in stored


@pytest.mark.parametrize("opened", [_in_memory, None], ids=["memory", "file"])
async def test_closed_store(opened: object, tmp_path: Path) -> None:
    """Behind its end a store says that it is closed."""
    place = _in_memory(HandClock()) if opened else _in_file(tmp_path / "chat.db", HandClock())
    async with place as store:
        pass
    with pytest.raises(StoreError):
        await store.keys()
    with pytest.raises(StoreError):
        await store.add_key(key("k1"), DIGEST)


async def filled(path: Path) -> tuple[object, ...]:
    """A file with keys of which one is revoked, spend and audit entries, and some conversation."""
    clock = HandClock()
    store = await SqliteStore.open(path, clock=clock)
    await begin(store, CHAT, *(said(f"hello {i} " * 50) for i in range(40)))
    for i in range(30):
        limits = KeyLimits(requests_per_minute=i, usd_per_day=0.5) if i % 2 else None
        made = replace(key(f"k{i}"), limits=limits, expires_at=clock.now() + i)
        await store.access.add_key(made, sha256(b"%d" % i).digest())
        used = Usage(input=i, output=2 * i, cache_read=1)
        await store.access.add_spent("acme", f"k{i}", TODAY, "m", usage=used, cost=0.1 * i)
        await store.access.audit(AuditEntry("acme", "cli", "key.created", f"k{i}"))
    await store.access.revoke_key("k7")
    await store.access.touch_key("k8")
    found = await held(store)
    await store.close()
    return found


async def held(store: SqliteStore) -> tuple[object, ...]:
    """All of it."""
    access = store.access
    keys = [await access.key_by_id(k.id) for k in await access.keys()]
    used = await access.usage("acme", since=TODAY, until=TODAY)
    return keys, used, await access.audit_entries("acme")


async def test_backup_and_repair_keep_it(tmp_path: Path) -> None:
    """A copy and a repaired file have every key as it was, revoked ones too, what was spent, and
    the audit log."""
    before = await filled(tmp_path / "chat.db")
    store = await SqliteStore.open(tmp_path / "chat.db")
    await store.backup(tmp_path / "copy.db")
    await store.close()
    report = repair(tmp_path / "chat.db")
    assert (report.is_complete, report.keys) == (True, 30)
    for name in ("copy.db", "chat.db"):
        again = await SqliteStore.open(tmp_path / name)
        assert await held(again) == before
        assert (await again.access.audit(AuditEntry("acme", "cli", "x"))).number == 31
        await again.close()


async def test_repair_gives_nothing_that_was_not_there(tmp_path: Path) -> None:
    """Whatever pages are damaged: a key that is saved is as it was, and one that was revoked opens
    nothing."""
    before = await filled(tmp_path / "whole.db")
    known = {made.id: (made, digest) for made, digest in before[0]}  # type: ignore[attr-defined]
    whole = (tmp_path / "whole.db").read_bytes()
    chance = random.Random(3)
    saved = 0
    for number in range(12):
        damaged = bytearray(whole)
        for page in chance.sample(range(1, len(whole) // 4096), 3):
            damaged[page * 4096 : page * 4096 + 4096] = chance.randbytes(4096)
        path = tmp_path / f"damaged-{number}.db"
        path.write_bytes(damaged)
        try:
            repair(path)
        except StoreCorrupt:
            continue
        store = await SqliteStore.open(path)
        for each in await store.access.keys():
            saved += 1
            assert await store.access.key_by_id(each.id) == known[each.id]
        await store.close()
    assert saved > 100


async def test_what_users_say_is_no_key(tmp_path: Path) -> None:
    """Repair takes no text for a key, though it says that it is one."""
    path = tmp_path / "chat.db"
    store = await SqliteStore.open(path)
    forged = apsw.Connection(":memory:")
    forged.execute("PRAGMA page_size = 4096")
    for statement in MIGRATIONS:
        forged.execute(statement)
    values = ("local", "k666", "evil", "read write admin", DIGEST, 1, None, None, None, None)
    forged.execute(ADD_KEY, values)
    pages = forged.serialize("main")
    text = "".join(chr(byte) for byte in pages[-40 * 4096 :] if 0 < byte < 128)
    await begin(store, CHAT, said(text), said("k666 " * 5_000))
    blob = Message.user(text + "k666" * 2_000, id="m_long")
    await store.append(ME, CHAT, [MessageAdded(blob)], expected=3)
    await store.close()
    damaged = bytearray(path.read_bytes())
    damaged[100:4096] = b"\x00" * 3996  # the directory of tables is gone
    path.write_bytes(damaged)
    assert repair(path).keys == 0
