"""Files that people attach: stored as blobs, described by blocks."""

import asyncio
import mimetypes
from pathlib import Path

from palaver.domain.errors import InvalidInput
from palaver.domain.messages import File, Image
from palaver.domain.pictures import PICTURES, picture_size, picture_type
from palaver.domain.text import clean
from palaver.domain.values import Scope
from palaver.store.base import BlobStore


async def attachment(
    blobs: BlobStore, scope: Scope, source: bytes | Path, *, name: str, media_type: str
) -> Image | File:
    """Store `source` and describe it. Raises InvalidInput when it cannot be read or is empty."""
    data = source if isinstance(source, bytes) else await asyncio.to_thread(_read, source)
    if not data:
        raise InvalidInput("the file is empty")
    # The name of a file may hold bytes that are no text; Python gives them as lone surrogates.
    shown, _ = clean(name or ("" if isinstance(source, bytes) else source.name))
    kind = media_type or picture_type(data) or mimetypes.guess_type(shown)[0] or _plain(data)
    blob = await blobs.put(scope, data)
    if kind in PICTURES:
        width, height = picture_size(data)
        return Image(kind, blob, name=shown, width=width, height=height)
    return File(kind, blob, name=shown, size=len(data))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror or error}") from error


def _plain(data: bytes) -> str:
    try:
        data.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return "text/plain"
