"""Handles: how a text that stands for others names them, so that the originals can be asked for.

`m12` is the message at position 11 of the path. Every message counts, results of tools too, so a
handle is known without looking at what came before, and what a compaction covers keeps its handles
for ever. (`palaver show` numbers only messages that were spoken; the letter tells the two apart.)
"""

import re

_HANDLE = re.compile(r"\bm([1-9][0-9]{0,8})\b", re.ASCII)


def handle(position: int) -> str:
    """The handle of the message at `position` (from 0)."""
    return f"m{position + 1}"


def position_of(name: str) -> int | None:
    """The position that `name` is the handle of; None when it is no handle."""
    found = _HANDLE.fullmatch(name.strip())
    return int(found[1]) - 1 if found else None


def positions_in(text: str) -> list[int]:
    """The positions of all handles in `text`, in its order, each once."""
    return list(dict.fromkeys(int(found[1]) - 1 for found in _HANDLE.finditer(text)))
