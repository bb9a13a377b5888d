"""An immutable sequence that grows at its end without copying what is already there.

Appending to a tuple of 10,000 copies 10,000 references; a `History` copies at most `CHUNK`. Full
chunks are shared between all versions, so keeping every past state of a conversation is cheap.
"""

from collections.abc import Iterable, Iterator, Sequence
from operator import is_
from typing import Generic, TypeVar, overload

T = TypeVar("T")
CHUNK = 128


class History(Sequence[T], Generic[T]):
    """Frozen sequence: `append` and `replace_last` cost O(CHUNK), indexing O(1)."""

    __slots__ = ("_chunks", "_length", "_tail")

    def __init__(self, items: Iterable[T] = ()) -> None:
        everything = tuple(items)
        full = len(everything) // CHUNK * CHUNK
        self._chunks: tuple[tuple[T, ...], ...] = tuple(
            everything[i : i + CHUNK] for i in range(0, full, CHUNK)
        )
        self._tail: tuple[T, ...] = everything[full:]
        self._length = len(everything)

    @classmethod
    def _of(cls, chunks: tuple[tuple[T, ...], ...], tail: tuple[T, ...]) -> "History[T]":
        made: History[T] = cls.__new__(cls)
        made._chunks, made._tail = chunks, tail
        made._length = len(chunks) * CHUNK + len(tail)
        return made

    @classmethod
    def of(cls, items: Sequence[T]) -> "History[T]":
        """`items` themselves when they are a history, else a history of them."""
        return items if isinstance(items, History) else cls(items)

    def append(self, item: T) -> "History[T]":
        """This history with `item` behind it."""
        tail = (*self._tail, item)
        if len(tail) < CHUNK:
            return self._of(self._chunks, tail)
        return self._of((*self._chunks, tail), ())

    def replace_last(self, item: T) -> "History[T]":
        """This history with its last item exchanged. Raises IndexError when it is empty."""
        if self._tail:
            return self._of(self._chunks, (*self._tail[:-1], item))
        if not self._chunks:
            raise IndexError("an empty history has no last item")
        return self._of((*self._chunks[:-1], (*self._chunks[-1][:-1], item)), ())

    def first(self, length: int) -> "History[T]":
        """The first `length` items; the full chunks among them are shared, not copied."""
        if length >= self._length:
            return self
        full = length // CHUNK
        rest = self._chunks[full] if full < len(self._chunks) else self._tail
        return self._of(self._chunks[:full], rest[: length - full * CHUNK])

    def since(self, start: int) -> Iterator[T]:
        """Items from position `start` on, without touching the ones before."""
        for i in range(start // CHUNK, len(self._chunks)):
            yield from self._chunks[i][max(0, start - i * CHUNK) :]
        yield from self._tail[max(0, start - len(self._chunks) * CHUNK) :]

    def starts_with(self, other: "History[T]") -> bool:
        """Whether this history begins with the very objects of `other`.

        Chunks that both share are not looked into.
        """
        if other._length > self._length:
            return False
        for mine, theirs in zip(self._chunks, other._chunks, strict=False):
            if mine is not theirs and not all(map(is_, mine, theirs)):
                return False
        full = len(other._chunks)
        rest = self._chunks[full] if full < len(self._chunks) else self._tail
        return all(map(is_, other._tail, rest))

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        for chunk in self._chunks:
            yield from chunk
        yield from self._tail

    def __reversed__(self) -> Iterator[T]:
        yield from reversed(self._tail)
        for chunk in reversed(self._chunks):
            yield from reversed(chunk)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> "History[T]": ...
    def __getitem__(self, index: int | slice) -> "T | History[T]":
        if isinstance(index, slice):
            return History(self[i] for i in range(*index.indices(self._length)))
        if index < 0:
            index += self._length
        if not 0 <= index < self._length:
            raise IndexError(index)
        chunk, offset = divmod(index, CHUNK)
        return self._chunks[chunk][offset] if chunk < len(self._chunks) else self._tail[offset]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        return self._length == other._length and all(
            a == b for a, b in zip(self, other, strict=True)
        )

    def __hash__(self) -> int:
        return hash((self._length, self._tail))

    def __repr__(self) -> str:
        return f"History(<{self._length} items>)"
