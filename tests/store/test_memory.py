"""The store without a file keeps the contract."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from palaver.domain.clock import Clock
from palaver.store.base import ConversationStore
from palaver.store.memory import MemoryStore
from palaver.testing.store_contract import AnswersContract, StoreContract


class TestMemoryStore(StoreContract, AnswersContract):
    def open_store(self, *, clock: Clock) -> AbstractAsyncContextManager[ConversationStore]:
        return _opened(clock)


@asynccontextmanager
async def _opened(clock: Clock) -> AsyncIterator[ConversationStore]:
    store = MemoryStore(clock=clock)
    yield store
    await store.close()
