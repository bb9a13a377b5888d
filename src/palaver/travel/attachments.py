"""The bytes of attachments on their way in and out: what they are, and as data URLs."""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from typing import TypeAlias

from palaver.domain.ids import BlobId
from palaver.domain.messages import File, Image
from palaver.domain.pictures import picture_size, picture_type

ReadBlob: TypeAlias = Callable[[BlobId], bytes | None]
"""Bytes of a blob that the caller has read before; None when they are gone."""
MAX_DATA_URL = 64 * 1024 * 1024
"""Characters of one data URL; more than any provider takes."""
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w=.\"-]+)*?(;base64)?,", re.ASCII)


def blob_id(data: bytes) -> BlobId:
    """The name that the store gives these bytes."""
    return BlobId(f"sha256:{hashlib.sha256(data).hexdigest()}")


def data_url(media_type: str, data: bytes) -> str:
    """`data` as a URL that needs no server."""
    return (
        f"data:{media_type or 'application/octet-stream'};base64,{base64.b64encode(data).decode()}"
    )


def from_data_url(url: str) -> tuple[str, bytes] | None:
    """Media type and bytes of a base64 data URL; None for anything else and for damaged ones."""
    match = _DATA_URL.match(url[:256])
    if match is None or match[2] is None or len(url) > MAX_DATA_URL:
        return None
    try:
        return match[1] or "text/plain", base64.b64decode(url[match.end() :], validate=True)
    except binascii.Error:
        return None


def described(data: bytes, *, media_type: str = "", name: str = "") -> Image | File:
    """The block for these bytes: an Image for what providers take as a picture, else a File."""
    if kind := picture_type(data):
        width, height = picture_size(data)
        return Image(kind, blob_id(data), name=name, width=width, height=height)
    return File(media_type or "application/octet-stream", blob_id(data), name=name, size=len(data))
