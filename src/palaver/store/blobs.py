"""Blob stores: bytes beside the log, named by what they are.

In files, each tenant has a folder of its own, named by a hash of the tenant's name, so that no name
can point anywhere; below it two letters of the blob's hash, then the blob. A blob is written under
another name, synced, and renamed: it is there whole or not at all.
"""

import asyncio
import os
import re
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, TypeVar

from palaver.domain.errors import InvalidInput, NotFound
from palaver.domain.ids import BlobId
from palaver.domain.values import Scope
from palaver.store.os_errors import translate_os

T = TypeVar("T")
GIGABYTE = 1 << 30
_PIECE = 1 << 18
_BLOB = re.compile(r"sha256:([0-9a-f]{64})")
_UNFINISHED = ".unfinished-"
_ABANDONED_S = 24 * 3600.0
"""After so long an unfinished file belongs to nobody any more."""


class MemoryBlobStore:
    """A `BlobStore` in this process's memory. `limit`: bytes of one blob."""

    def __init__(self, *, limit: int = GIGABYTE) -> None:
        self._limit = limit
        self._blobs: dict[tuple[str, str], tuple[bytes, float]] = {}

    async def put(self, scope: Scope, data: AsyncIterator[bytes] | bytes) -> BlobId:
        """See `BlobStore.put`."""
        whole = bytearray()
        async for piece in _pieces(data, self._limit):
            whole += piece
        digest = sha256(whole).hexdigest()
        self._blobs[scope.tenant, digest] = (bytes(whole), time.time())
        return BlobId(f"sha256:{digest}")

    async def get(self, scope: Scope, blob: BlobId) -> AsyncIterator[bytes]:
        """See `BlobStore.get`."""
        data = self._find(scope, blob)
        for start in range(0, len(data), _PIECE):
            yield data[start : start + _PIECE]

    async def size(self, scope: Scope, blob: BlobId) -> int:
        """See `BlobStore.size`."""
        return len(self._find(scope, blob))

    async def collect(self, scope: Scope, *, keep: frozenset[BlobId], older_than_s: float) -> int:
        """See `BlobStore.collect`."""
        before = time.time() - older_than_s
        gone = [
            (tenant, digest)
            for (tenant, digest), (_, stored) in self._blobs.items()
            if tenant == scope.tenant and stored < before and f"sha256:{digest}" not in keep
        ]
        for name in gone:
            del self._blobs[name]
        return len(gone)

    async def delete(self, scope: Scope, blob: BlobId) -> None:
        """See `BlobStore.delete`."""
        self._blobs.pop((scope.tenant, _digest(blob)), None)

    def _find(self, scope: Scope, blob: BlobId) -> bytes:
        found = self._blobs.get((scope.tenant, _digest(blob)))
        if found is None:
            raise _missing(blob)
        return found[0]


class FileBlobStore:
    """A `BlobStore` in the folder `path`. `limit`: bytes of one blob."""

    def __init__(self, path: str | Path, *, limit: int = GIGABYTE) -> None:
        self._path = self.folder = Path(path)
        self._limit = limit

    async def put(self, scope: Scope, data: AsyncIterator[bytes] | bytes) -> BlobId:
        """See `BlobStore.put`. Raises StoreFull, StoreReadOnly."""
        folder = self._tenant(scope)
        file = await self._in_thread(lambda: _begin(folder))
        digest = sha256()
        try:
            async for piece in _pieces(data, self._limit):
                digest.update(piece)
                await self._in_thread(partial(file.write, piece))
            target = folder / digest.hexdigest()[:2] / digest.hexdigest()
            await self._in_thread(lambda: _finish(file, target))
        except BaseException:
            _abandon(file)
            raise
        return BlobId(f"sha256:{digest.hexdigest()}")

    async def get(self, scope: Scope, blob: BlobId) -> AsyncIterator[bytes]:
        """See `BlobStore.get`."""
        path = self._file(scope, blob)
        try:
            file = await self._in_thread(lambda: path.open("rb"))
        except FileNotFoundError:
            raise _missing(blob) from None
        try:
            while piece := await self._in_thread(lambda: file.read(_PIECE)):
                yield piece
        finally:
            file.close()

    async def size(self, scope: Scope, blob: BlobId) -> int:
        """See `BlobStore.size`."""
        path = self._file(scope, blob)
        try:
            return await self._in_thread(lambda: path.stat().st_size)
        except FileNotFoundError:
            raise _missing(blob) from None

    async def collect(self, scope: Scope, *, keep: frozenset[BlobId], older_than_s: float) -> int:
        """See `BlobStore.collect`. Also clears away what interrupted writers left behind."""
        kept = {_digest(blob) for blob in keep}
        return await self._in_thread(lambda: _collect(self._tenant(scope), kept, older_than_s))

    async def delete(self, scope: Scope, blob: BlobId) -> None:
        """See `BlobStore.delete`."""
        path = self._file(scope, blob)
        await self._in_thread(lambda: path.unlink(missing_ok=True))

    def _tenant(self, scope: Scope) -> Path:
        name = scope.tenant.encode("utf-8", "surrogatepass")
        return self._path / sha256(name).hexdigest()[:32]

    def _file(self, scope: Scope, blob: BlobId) -> Path:
        digest = _digest(blob)
        return self._tenant(scope) / digest[:2] / digest

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise translate_os(error, self._path) from error


async def _pieces(data: AsyncIterator[bytes] | bytes, limit: int) -> AsyncIterator[bytes]:
    total = 0
    if isinstance(data, bytes):
        data = _sliced(data)
    async for piece in data:
        total += len(piece)
        if total > limit:
            raise InvalidInput(f"a file may have at most {limit:,} bytes")
        yield piece


async def _sliced(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]


def _begin(folder: Path) -> BinaryIO:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=_UNFINISHED, dir=folder)
    os.close(descriptor)
    return Path(name).open("wb")


def _finish(file: BinaryIO, target: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
    target.parent.mkdir(exist_ok=True)
    # Over an older copy of the same bytes too: the newer date keeps it from being collected.
    Path(file.name).replace(target)
    _sync_folder(target.parent)
    _sync_folder(target.parent.parent)


def _sync_folder(folder: Path) -> None:
    if os.name != "nt":  # Windows cannot open folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _abandon(file: BinaryIO) -> None:
    with suppress(OSError):  # the file may be gone, the disk full
        file.close()
    with suppress(OSError):
        Path(file.name).unlink(missing_ok=True)


def _collect(folder: Path, kept: set[str], older_than_s: float) -> int:
    now, gone = time.time(), 0
    for path in folder.glob("[0-9a-f][0-9a-f]/*"):
        if path.name not in kept and path.stat().st_mtime < now - older_than_s:
            path.unlink()
            gone += 1
    for path in folder.glob(f"{_UNFINISHED}*"):
        if path.stat().st_mtime < now - _ABANDONED_S:
            path.unlink()
    return gone


def _digest(blob: BlobId) -> str:
    found = _BLOB.fullmatch(blob)
    if found is None:
        raise _missing(blob)
    return found[1]


def _missing(blob: BlobId) -> NotFound:
    return NotFound(f"there is no blob {blob[:80]!r}")
