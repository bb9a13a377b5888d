"""Files that people attach: stored as blobs, described by blocks."""

import asyncio
import mimetypes
from pathlib import Path

from palaver.domain.errors import InvalidInput
from palaver.domain.messages import File, Image
from palaver.domain.text import clean
from palaver.domain.values import Scope
from palaver.store.base import BlobStore

PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
"""What every provider takes as a picture; everything else travels as a file."""


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


def picture_type(data: bytes) -> str:
    """The media type by the first bytes, or nothing when they are no known picture's."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return ""


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels of a PNG, GIF or JPEG; (0, 0) where they cannot be told."""
    if data.startswith(b"\x89PNG") and len(data) >= 24:
        return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    if data.startswith(b"GIF8") and len(data) >= 10:
        return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    if data.startswith(b"\xff\xd8"):
        return _jpeg_size(data)
    return 0, 0


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame header
            return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
        at += 2 + length
    return 0, 0
