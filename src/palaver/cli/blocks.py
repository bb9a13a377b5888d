"""Cuts growing Markdown into blocks that will not change any more.

CommonMark is a language of lines, and only its last top-level block can still grow: a paragraph may
become a heading or a table, a list may get another item. So everything before the line on which
the last block begins is finished. Only whole lines are looked at; what half a line will become is
not known yet.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

BlockStarts: TypeAlias = Callable[[str], Sequence[int]]
"""The lines (from 0) on which the top-level blocks of a text begin."""


class BlockSplitter:
    """Takes text in pieces; gives finished blocks. Blocks and tail together are the text."""

    def __init__(self, starts: BlockStarts) -> None:
        self._starts = starts
        self._tail = ""
        self._seen = 0  # characters of the tail that were looked at in vain

    @property
    def tail(self) -> str:
        """What may still change."""
        return self._tail

    def feed(self, text: str) -> list[str]:
        """Take `text`; the blocks that are finished now, each with the blank lines behind it."""
        self._tail += text
        whole = self._tail.rfind("\n") + 1
        if whole <= self._seen:
            return []
        self._seen = whole
        return self._cut(self._tail[:whole])

    def _cut(self, whole: str) -> list[str]:
        starts = [line for line in self._starts(whole) if line > 0]
        if not starts:
            return []
        lines = whole.splitlines(keepends=True) if _plain(whole) else _lines(whole)
        bounds = [0, *starts]
        if bounds[-1] >= len(lines):
            return []
        blocks = ["".join(lines[begin:end]) for begin, end in pairwise(bounds)]
        used = sum(map(len, blocks))
        self._tail = self._tail[used:]
        self._seen -= used
        return [block for block in blocks if block]

    def finish(self) -> str:
        """The rest: the text is complete."""
        rest, self._tail, self._seen = self._tail, "", 0
        return rest


def _plain(text: str) -> bool:
    return text.isascii() and not any(c in text for c in "\x0b\x0c\x1c\x1d\x1e\r")


def _lines(text: str) -> list[str]:
    """Lines as CommonMark counts them: only a newline ends one."""
    return [line + "\n" for line in text.split("\n")[:-1]]
