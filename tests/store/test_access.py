"""Keys, spend and the audit log: both stores keep the contract, and the file more than that."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import apsw
import pytest

from palaver.domain.clock import Clock
from palaver.domain.errors import StoreError
from palaver.store.access import AccessStore, AuditEntry, KeepsAccess
from palaver.store.memory import MemoryStore
from palaver.store.sqlite import SqliteStore
from palaver.testing.store_contract import AccessContract, DurableAccessContract
from palaver.testing.store_contract.access import DIGEST, key
from palaver.testing.store_contract.base import HandClock


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
