"""Reads the rows of a SQLite file that SQLite itself refuses to read.

A damaged file mostly is a few bad pages among many good ones. SQLite finds rows from the root of
their table down, and stops at the first page that makes no sense. Here every page is looked at for
itself: a good leaf gives its rows even where everything above it is gone. Pages that the file
counts as free are left out, so that nothing comes back that was deleted. What has been committed to
the write-ahead log counts, up to its first damaged frame.

The format: sqlite.org/fileformat2.html. Only tables with row ids are read; indices and the search
index are made anew anyway.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

Value: TypeAlias = int | float | str | bytes | None

_HEADER = b"SQLite format 3\x00"
_LEAF, _BRANCH = 0x0D, 0x05
_ROOT, _FREE, _NODE = 1, 2, 5
"""Types of pages in the pointer map."""
_PAGE_BYTES = 4096
_SIZES = tuple(1 << n for n in range(9, 17))
_LONGEST = 1 << 30
"""No row of ours is longer; a damaged length must not claim all memory."""


class Row(NamedTuple):
    """A row as it was found: its id, and its columns without names."""

    id: int
    values: tuple[Value, ...]


class Unreadable(Exception):
    """A page, or a row on it, makes no sense."""


class Pages:
    """The pages of a file and its write-ahead log, as the last readable commit left them."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        size = path.stat().st_size
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        self._newer: dict[int, bytes] = {}
        wal = path.with_name(path.name + "-wal")
        head = bytes(self._map[:100])
        self.page_bytes = _page_bytes(head) or _PAGE_BYTES
        self.usable = self.page_bytes - (head[20] if head.startswith(_HEADER) else 0)
        self.count = size // self.page_bytes
        if wal.exists():
            self._read_wal(wal.read_bytes())
        self.bad = 0
        """Pages of tables that gave nothing, or not all that they held."""

    def close(self) -> None:
        """Let go of the file."""
        if isinstance(self._map, mmap.mmap):
            self._map.close()
        self._file.close()

    def page(self, number: int) -> bytes:
        """A page by its number, from 1. Raises Unreadable."""
        if number in self._newer:
            return self._newer[number]
        if not 1 <= number <= self.count:
            raise Unreadable(f"there is no page {number}")
        start = (number - 1) * self.page_bytes
        return bytes(self._map[start : start + self.page_bytes])

    def rows(self) -> Iterator[Row]:
        """Every row of every table with row ids that can be read."""
        for number in range(1, self.count + 1):
            kind = self._kind(number)
            if kind not in (None, _ROOT, _NODE):
                continue
            try:
                page = self.page(number)
            except Unreadable:
                continue
            start = 100 if number == 1 else 0
            if page[start] == _LEAF:
                yield from self._leaf(page, start)
            elif kind is not None and page[start] not in (_BRANCH, 0x02, 0x0A):
                self.bad += 1

    def _kind(self, number: int) -> int | None:
        """What the pointer map says of a page; None where it says nothing that could be."""
        if number == 1:
            return _ROOT
        entries = self.usable // 5
        map_page = (number - 2) // (entries + 1) * (entries + 1) + 2
        if map_page == number:
            return 0
        try:
            entry = self.page(map_page)[5 * (number - map_page - 1) :][:5]
        except Unreadable:
            return None
        return entry[0] if len(entry) == 5 and 1 <= entry[0] <= _NODE else None

    def _leaf(self, page: bytes, start: int) -> Iterator[Row]:
        (cells,) = struct.unpack_from(">H", page, start + 3)
        if start + 8 + 2 * cells > self.usable:
            self.bad += 1
            return
        damaged = False
        for (at,) in struct.iter_unpack(">H", page[start + 8 : start + 8 + 2 * cells]):
            try:
                yield self._cell(page, at)
            except (Unreadable, IndexError, struct.error, UnicodeDecodeError):
                damaged = True
        self.bad += damaged

    def _cell(self, page: bytes, at: int) -> Row:
        length, at = _varint(page, at)
        row_id, at = _varint(page, at)
        if length > _LONGEST or at > self.usable:
            raise Unreadable("a row has no end")
        most = self.usable - 35
        local = length
        if length > most:
            least = (self.usable - 12) * 32 // 255 - 23
            local = least + (length - least) % (self.usable - 4)
            local = local if local <= most else least
        payload = page[at : at + local]
        if local < length:
            (following,) = struct.unpack_from(">I", page, at + local)
            payload += self._overflow(following, length - local)
        if len(payload) != length:
            raise Unreadable("a row ends early")
        return Row(_signed(row_id), _record(payload))

    def _overflow(self, number: int, length: int) -> bytes:
        pieces: list[bytes] = []
        while length > 0:
            page = self.page(number)
            (number,) = struct.unpack_from(">I", page)
            pieces.append(page[4 : 4 + min(length, self.usable - 4)])
            length -= len(pieces[-1])
        return b"".join(pieces)

    def _read_wal(self, log: bytes) -> None:
        """Take the frames up to the last commit whose checksums are right."""
        if len(log) < 32:
            return
        magic, _, page_bytes, _, salt1, salt2, *sums = struct.unpack(">8I", log[:32])
        if magic & ~1 != 0x377F0682 or page_bytes not in _SIZES:
            return
        order = ">" if magic & 1 else "<"
        if _checksum(log[:24], (0, 0), order) != tuple(sums):
            return
        if bytes(self._map[:16]) != _HEADER:
            self.page_bytes = page_bytes
            self.usable = page_bytes
        state: tuple[int, int] = (sums[0], sums[1])
        open_frames: dict[int, bytes] = {}
        for at in range(32, len(log) - page_bytes - 23, page_bytes + 24):
            head, body = log[at : at + 24], log[at + 24 : at + 24 + page_bytes]
            number, size, one, two, *frame_sums = struct.unpack(">6I", head)
            state = _checksum(head[:8], state, order)
            state = _checksum(body, state, order)
            if (one, two) != (salt1, salt2) or state != tuple(frame_sums):
                return
            open_frames[number] = body
            if size:  # a commit: the file has so many pages from here on
                self._newer.update(open_frames)
                open_frames.clear()
                self.count = size


def _page_bytes(head: bytes) -> int:
    if not head.startswith(_HEADER) or len(head) < 100:
        return 0
    (size,) = struct.unpack_from(">H", head, 16)
    size = 65536 if size == 1 else size
    return size if size in _SIZES else 0


def _checksum(data: bytes, state: tuple[int, int], order: str) -> tuple[int, int]:
    one, two = state
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for length in range(8):
        byte = data[at + length]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + length + 1
    return value << 8 | data[at + 8], at + 9


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _record(payload: bytes) -> tuple[Value, ...]:
    end, at = _varint(payload, 0)
    types: list[int] = []
    while at < end:
        kind, at = _varint(payload, at)
        types.append(kind)
    if at != end:
        raise Unreadable("a row's header has no end")
    values: list[Value] = []
    for kind in types:
        value, at = _value(payload, kind, at)
        values.append(value)
    if at != len(payload):
        raise Unreadable("a row is longer than its columns")
    return tuple(values)


_WIDTHS = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)


def _value(payload: bytes, kind: int, at: int) -> tuple[Value, int]:
    if kind >= 12:
        length = (kind - 12) // 2
        data = payload[at : at + length]
        if len(data) != length:
            raise Unreadable("a column ends early")
        return (data.decode() if kind % 2 else data), at + length
    if kind in (10, 11):
        raise Unreadable("a column of no type")
    end = at + _WIDTHS[kind]
    if end > len(payload):
        raise Unreadable("a column ends early")
    match kind:
        case 0:
            return None, end
        case 7:
            return struct.unpack(">d", payload[at:end])[0], end
        case 8 | 9:
            return kind - 8, end
        case _:
            return int.from_bytes(payload[at:end], "big", signed=True), end
