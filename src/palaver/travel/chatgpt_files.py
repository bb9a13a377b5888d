"""The archive that ChatGPT's export comes in: read in part, and never beyond its bounds.

An archive of a few kilobytes can unpack to gigabytes, and what it says about sizes can be a lie. So
bytes are counted while they are unpacked, for each file and for all of them.
"""

import re
import zipfile
import zlib
from collections.abc import Iterator
from functools import cached_property
from io import BytesIO
from pathlib import PurePosixPath

from palaver.domain.errors import InvalidInput
from palaver.travel.source import MAX_BYTES, Source

MAX_FILE = 64 * 1024 * 1024
"""Bytes of one attachment; a larger one stays out."""
MAX_FILES = 1024 * 1024 * 1024
"""Bytes of all attachments that are read from one archive."""
MAX_MEMBERS = 200_000
_CHUNK = 1024 * 1024
_FILE = re.compile(r"file[-_][A-Za-z0-9]+")
_DAMAGE = (
    zipfile.BadZipFile,
    NotImplementedError,  # a method of compression that is not here
    RuntimeError,  # encrypted
    EOFError,
    OSError,
    ValueError,
    zlib.error,
)
_CONVERSATIONS = re.compile(r"conversations(-\d+)?\.json")


def is_archive(data: bytes) -> bool:
    """Whether these are the bytes of a zip archive."""
    return data.startswith(b"PK\x03\x04")


class Export:
    """The archive. Raises InvalidInput when it is damaged or holds more than it may."""

    def __init__(
        self, data: bytes, *, max_bytes: int = MAX_BYTES, max_file: int = MAX_FILE
    ) -> None:
        try:
            self._archive = zipfile.ZipFile(BytesIO(data))
        except _DAMAGE as error:
            raise InvalidInput(f"the archive is damaged: {error}") from error
        self._members = self._archive.infolist()
        if len(self._members) > MAX_MEMBERS:
            raise InvalidInput(f"the archive holds more than {MAX_MEMBERS:,} files")
        self._max_bytes, self._max_file = max_bytes, max_file
        self._room = MAX_FILES
        """Bytes of attachments that may still be unpacked."""

    @property
    def is_chatgpt(self) -> bool:
        """Whether conversations are in it."""
        return bool(self._conversations)

    @cached_property
    def _conversations(self) -> list[zipfile.ZipInfo]:
        found = [m for m in self._members if _CONVERSATIONS.fullmatch(_name(m))]
        return sorted(found, key=lambda member: member.filename)

    def documents(self) -> Iterator[Source]:
        """The files that hold conversations; a large export has several."""
        if not self._conversations:
            raise InvalidInput("the archive holds no conversations.json")
        room = self._max_bytes
        for member in self._conversations:
            data = self._read(member, room)
            if data is None:
                raise InvalidInput(f"{member.filename} unpacks to more than {room:,} bytes")
            room -= len(data)
            yield Source(data, name=member.filename)

    def file(self, id: str) -> bytes | None:
        """The bytes of an attachment, None where they are not in the archive or too many."""
        member = self._by_id.get(id)
        if member is None:
            return None
        limit = min(self._max_file, self._room)
        data = self._read(member, limit)
        # Also for what was too large: else naming it again and again would cost without bound.
        self._room -= limit if data is None else len(data)
        return data

    @cached_property
    def _by_id(self) -> dict[str, zipfile.ZipInfo]:
        """Names begin with the id, `file_…` or `file-…`, then a hyphen or the suffix."""
        found: dict[str, zipfile.ZipInfo] = {}
        for member in self._members:
            if match := _FILE.match(_name(member)):
                found.setdefault(match[0], member)
            found.setdefault(_name(member), member)
        return found

    def _read(self, member: zipfile.ZipInfo, limit: int) -> bytes | None:
        """The file, None when it is more than `limit` bytes whatever the archive says."""
        read = bytearray()
        try:
            with self._archive.open(member) as file:
                while chunk := file.read(_CHUNK):
                    read += chunk
                    if len(read) > limit:
                        return None
        except _DAMAGE as error:
            raise InvalidInput(f"{member.filename} cannot be unpacked: {error}") from error
        return bytes(read)


def _name(member: zipfile.ZipInfo) -> str:
    return PurePosixPath(member.filename).name
