"""Puts finished lines into the terminal's history and repaints the unfinished ones below them.

Rich's `Live` leaves remains when a window gets narrower and cuts a high tail at its newest end.
This paints what rich has rendered: what is finished once, the tail again and again, never more of
it than the window holds, and it erases by the width that the window has now.
"""

import re
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console, RenderableType

SYNC, END_SYNC = "\x1b[?2026h", "\x1b[?2026l"
"""Terminals that know synchronized output show a repaint at once; others ignore it."""
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class Piece:
    """Something to print. `gap`: a blank line stands before it."""

    __slots__ = ("content", "gap")

    def __init__(self, content: RenderableType, *, gap: bool = False) -> None:
        self.content, self.gap = content, gap


class Painter:
    """One terminal that is written to from the top down, with a tail that may change."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._drawn: list[int] = []  # columns of each tail line that is on the screen

    def paint(self, finished: Sequence[Piece], tail: Sequence[Piece]) -> None:
        """Replace the tail by `finished` for ever, and by `tail` until the next time."""
        keep = self._rendered(finished)
        lines = self._fitting(self._rendered(tail))
        out = [SYNC, self._erase(), *(line + "\n" for line in keep), "\n".join(lines), END_SYNC]
        self._drawn = [cell_len(_STYLE.sub("", line)) for line in lines]
        self.console.file.write("".join(out))
        self.console.file.flush()

    def clear(self) -> None:
        """Take the tail away."""
        if self._drawn:
            self.paint((), ())

    def _rendered(self, pieces: Iterable[Piece]) -> list[str]:
        lines: list[str] = []
        for piece in pieces:
            with self.console.capture() as captured:
                self.console.print(piece.content)
            block = [line.rstrip(" ") for line in captured.get().split("\n")]
            block = _trimmed(block)
            if block and piece.gap:
                lines.append("")
            lines.extend(block)
        return lines

    def _fitting(self, lines: list[str]) -> list[str]:
        room = max(3, self.console.height - 2)
        if len(lines) <= room:
            return lines
        return [f"… {len(lines) - room + 1} lines above", *lines[-room + 1 :]]

    def _erase(self) -> str:
        if not self._drawn:
            return ""
        width = max(1, self.console.width)
        rows = sum(max(1, -(-columns // width)) for columns in self._drawn)
        up = f"\x1b[{rows - 1}A" if rows > 1 else ""
        return f"\r{up}\x1b[J"


def _trimmed(lines: list[str]) -> list[str]:
    """Without blank lines at both ends; rich puts some around lists and tables."""
    begin, end = 0, len(lines)
    while begin < end and not _STYLE.sub("", lines[begin]).strip():
        begin += 1
    while end > begin and not _STYLE.sub("", lines[end - 1]).strip():
        end -= 1
    return lines[begin:end]
