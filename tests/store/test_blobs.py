"""Both blob stores keep the contract."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from palaver.domain.errors import StoreError
from palaver.domain.values import Scope
from palaver.store.base import BlobStore
from palaver.store.blobs import FileBlobStore, MemoryBlobStore
from palaver.testing.store_contract import BlobStoreContract


class TestMemoryBlobStore(BlobStoreContract):
    def open_blobs(self, *, limit: int) -> AbstractAsyncContextManager[BlobStore]:
        return _as_is(MemoryBlobStore(limit=limit))


class TestFileBlobStore(BlobStoreContract):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "blobs"

    def open_blobs(self, *, limit: int) -> AbstractAsyncContextManager[BlobStore]:
        return _as_is(FileBlobStore(self.path, limit=limit))

    async def test_no_name_leads_outside(self) -> None:
        """A tenant's name never becomes part of a path."""
        async with self.open_blobs(limit=10) as store:
            await store.put(Scope("../../outside"), b"x")
            assert [p.name for p in self.path.parent.iterdir()] == ["blobs"]

    async def test_nothing_unfinished_stays(self) -> None:
        """A refused blob leaves no file behind."""
        async with self.open_blobs(limit=3) as store:
            with pytest.raises(Exception, match="at most 3 bytes"):
                await store.put(Scope(), b"xxxx")
            assert [p for p in self.path.rglob("*") if p.is_file()] == []

    async def test_folder_that_is_none(self, tmp_path: Path) -> None:
        """A place that cannot be written is said as a StoreError that names it."""
        (tmp_path / "file").touch()
        store = FileBlobStore(tmp_path / "file")
        with pytest.raises(StoreError, match="file"):
            await store.put(Scope(), b"x")


@asynccontextmanager
async def _as_is(store: BlobStore) -> AsyncIterator[BlobStore]:
    yield store
