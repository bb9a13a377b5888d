"""A file from elsewhere, as JSON records: decoded once, damaged lines counted and passed over.

JSON Lines, one JSON list and one JSON object look alike to readers: a run of records, each with
its position. Compressed files (gzip) and UTF-16, as some terminals redirect, are read as well.
"""

import json
import zlib
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Any

import msgspec

from palaver.domain.errors import InvalidInput

MAX_BYTES = 512 * 1024 * 1024
"""Unpacked. The largest sessions seen have a few hundred megabytes, pictures included."""
_GZIP = b"\x1f\x8b"
_HEAD = 64
"""Records that are looked at to tell the format."""
_DAMAGED_HEAD = 200


class Record(msgspec.Struct, frozen=True):
    """One JSON value at its position (from 0; lines count also when they are blank).

    `damage` says what is wrong with it, or is empty.
    """

    number: int
    value: Any
    damage: str = ""

    @property
    def fields(self) -> dict[str, Any]:
        """The value where it is an object; else an empty one."""
        return self.value if isinstance(self.value, dict) else {}


class Source:
    """The bytes of one file. Raises InvalidInput when they are more than `max_bytes`, unpacked."""

    def __init__(self, data: bytes, *, name: str = "", max_bytes: int = MAX_BYTES) -> None:
        self.name = name
        self.data = _plain(data, max_bytes)

    @cached_property
    def text(self) -> str:
        """The whole file; bytes that are no UTF-8 are U+FFFD."""
        return self.data.decode("utf-8", "replace")

    @cached_property
    def document(self) -> Any:
        """The file as one JSON value, None where it is none."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None

    @cached_property
    def head(self) -> tuple[dict[str, Any], ...]:
        """The first objects of the file, for telling its format."""
        records = islice(self.records(), _HEAD + _DAMAGED_HEAD)
        return tuple(islice((r.value for r in records if isinstance(r.value, dict)), _HEAD))

    @property
    def object(self) -> dict[str, Any]:
        """The file where it is one JSON object; else an empty one."""
        return self.document if isinstance(self.document, dict) else {}

    def records(self) -> Iterator[Record]:
        """The members of a list, the one object, or the lines, in their order."""
        match self.document:
            case list() as values:
                yield from (Record(number, value) for number, value in enumerate(values))
            case None:
                yield from self._lines()
            case value:
                yield Record(0, value)

    def _lines(self) -> Iterator[Record]:
        start = number = 0
        while start < len(self.data):
            end = self.data.find(b"\n", start)
            end = len(self.data) if end < 0 else end
            line = self.data[start:end].strip()
            if line:
                yield _parsed(number, line)
            start, number = end + 1, number + 1


def _parsed(number: int, line: bytes) -> Record:
    try:
        # Not msgspec: it refuses half characters and NaN, which sources do write.
        return Record(number, json.loads(line.decode("utf-8", "replace")))
    except ValueError as error:
        return Record(number, None, f"no JSON: {error}"[:120])
    except RecursionError:
        return Record(number, None, "nested too deeply")


def _plain(data: bytes, max_bytes: int) -> bytes:
    if data.startswith(_GZIP):
        data = _unpacked(data, max_bytes)
    if len(data) > max_bytes:
        raise InvalidInput(
            f"the file is larger than {max_bytes:,} bytes", hint="Split it, or raise max_bytes."
        )
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return data.decode(encoding, "replace").encode("utf-8", "replace")
    return data.removeprefix(b"\xef\xbb\xbf")


def _unpacked(data: bytes, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    room = max_bytes + 1
    try:
        while data.startswith(_GZIP) and room > 0:  # a gzip file may have several members
            unpacker = zlib.decompressobj(wbits=31)
            parts.append(unpacker.decompress(data, room))
            room -= len(parts[-1])
            data = unpacker.unused_data
    except zlib.error as error:
        raise InvalidInput(f"the compressed file is damaged: {error}") from None
    return b"".join(parts)
