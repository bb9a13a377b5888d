"""The store in a file keeps the contract, reopened and shared."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from palaver.domain.clock import Clock
from palaver.store.base import ConversationStore
from palaver.store.sqlite import SqliteStore
from palaver.testing.store_contract import AnswersContract, DurableStoreContract


class TestSqliteStore(DurableStoreContract, AnswersContract):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "chat.db"

    def open_store(self, *, clock: Clock) -> AbstractAsyncContextManager[ConversationStore]:
        return _opened(self.path, clock)

    def open_again(self, *, clock: Clock) -> AbstractAsyncContextManager[ConversationStore]:
        return _opened(self.path, clock)


@asynccontextmanager
async def _opened(path: Path, clock: Clock) -> AsyncIterator[ConversationStore]:
    store = await SqliteStore.open(path, clock=clock)
    yield store
    await store.close()
