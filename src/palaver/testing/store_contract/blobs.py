"""What every `BlobStore` must keep."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from hashlib import sha256

from palaver.domain.errors import InvalidInput, NotFound
from palaver.domain.ids import BlobId
from palaver.store.base import BlobStore
from palaver.testing.store_contract.base import ME, STRANGER, raises

LIMIT = 1_000_000


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    """`parts`, one after the other."""
    for part in parts:
        yield part


async def content(store: BlobStore, blob: BlobId) -> bytes:
    """All bytes of a blob of `ME`."""
    return b"".join([piece async for piece in store.get(ME, blob)])


class BlobStoreContract:
    """Subclass it and override `open_blobs`."""

    def open_blobs(self, *, limit: int) -> AbstractAsyncContextManager[BlobStore]:
        """A new, empty store that takes at most `limit` bytes a blob. To be overridden."""
        raise NotImplementedError

    async def test_bytes_come_back(self) -> None:
        """What is put, whole or in pieces, comes back under the hash of its bytes."""
        async with self.open_blobs(limit=LIMIT) as store:
            for data in (b"", b"x", bytes(range(256)) * 1000):
                blob = await store.put(ME, data)
                assert blob == "sha256:" + sha256(data).hexdigest()
                assert await store.put(ME, pieces(data[:7], b"", data[7:])) == blob
                assert await content(store, blob) == data
                assert await store.size(ME, blob) == len(data)

    async def test_limit(self) -> None:
        """More bytes than allowed raise InvalidInput and leave nothing."""
        async with self.open_blobs(limit=10) as store:
            await store.put(ME, b"x" * 10)
            with raises(InvalidInput):
                await store.put(ME, b"y" * 11)
            with raises(InvalidInput):
                await store.put(ME, pieces(b"y" * 6, b"y" * 5))
            with raises(NotFound):
                await store.size(ME, BlobId("sha256:" + sha256(b"y" * 11).hexdigest()))

    async def test_broken_source_leaves_nothing(self) -> None:
        """When the source fails, its error passes and no blob is there."""

        async def broken() -> AsyncIterator[bytes]:
            yield b"half"
            raise NotFound("gone")

        async with self.open_blobs(limit=LIMIT) as store:
            with raises(NotFound):
                await store.put(ME, broken())
            with raises(NotFound):
                await store.size(ME, BlobId("sha256:" + sha256(b"half").hexdigest()))

    async def test_tenants_do_not_share(self) -> None:
        """Knowing a hash gives no access to another tenant's bytes."""
        async with self.open_blobs(limit=LIMIT) as store:
            blob = await store.put(ME, b"secret")
            with raises(NotFound):
                await store.size(STRANGER, blob)
            with raises(NotFound):
                await anext(store.get(STRANGER, blob))
            assert await store.collect(STRANGER, keep=frozenset(), older_than_s=-1) == 0
            assert await content(store, blob) == b"secret"

    async def test_odd_ids_are_not_found(self) -> None:
        """An id that is no hash names nothing, wherever it points."""
        async with self.open_blobs(limit=LIMIT) as store:
            blob = await store.put(ME, b"x")
            odd = ("", "sha256:", "sha256:../../etc/passwd", blob.upper(), blob[7:], blob + "0")
            for name in (*odd, "sha256:" + "é" * 64, blob + "\n"):
                with raises(NotFound):
                    await store.size(ME, BlobId(name))
                with raises(NotFound):
                    await anext(store.get(ME, BlobId(name)))

    async def test_collecting(self) -> None:
        """What nothing keeps and is old enough goes; the rest stays."""
        async with self.open_blobs(limit=LIMIT) as store:
            kept, other = await store.put(ME, b"kept"), await store.put(ME, b"other")
            keep = frozenset({kept})
            assert await store.collect(ME, keep=keep, older_than_s=3600) == 0
            assert await store.collect(ME, keep=keep, older_than_s=-1) == 1
            assert await content(store, kept) == b"kept"
            with raises(NotFound):
                await store.size(ME, other)
            assert await store.put(ME, b"other") == other
