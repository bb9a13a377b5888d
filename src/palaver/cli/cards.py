"""What stands in the live part of a terminal: answer text, thinking, and a card for each tool."""

import time
from typing import Protocol

from rich.console import RenderableType
from rich.style import Style
from rich.text import Text

from palaver.cli.blocks import BlockSplitter
from palaver.cli.markdown import Block, block_starts
from palaver.cli.painter import Piece
from palaver.cli.safe import one_line, safe
from palaver.cli.words import arguments_line, result_lines, seconds
from palaver.domain.messages import ToolResult

DIM = Style(dim=True)
RESULT_LINES = 3


class Glyphs:
    """The few signs, for terminals with and without Unicode."""

    def __init__(self, *, unicode: bool) -> None:
        self.dot = "●" if unicode else "*"
        self.result = "└" if unicode else "->"
        self.wheel = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" if unicode else "|/-\\"

    def turning(self, now: float) -> str:
        """The wheel at this time."""
        return self.wheel[int(now * 8) % len(self.wheel)]


class Item(Protocol):
    """A part of a turn, in the order of its beginning."""

    is_done: bool

    def take(self, width: int) -> list[Piece]:
        """What is final and was not taken yet."""
        ...

    def live(self, width: int) -> list[Piece]:
        """What may still change."""
        ...


class Answer:
    """Streamed Markdown: finished blocks go, the last one stays until it is finished too."""

    def __init__(self) -> None:
        self.is_done = False
        self._splitter = BlockSplitter(block_starts)
        self._ready: list[str] = []

    def add(self, text: str) -> None:
        """The answer grew."""
        self._ready += self._splitter.feed(safe(text))

    def close(self) -> None:
        """The answer is complete, or something else follows."""
        self._ready.append(self._splitter.finish())
        self.is_done = True

    def take(self, width: int) -> list[Piece]:
        """Finished blocks."""
        ready, self._ready = self._ready, []
        return [Piece(Block(block), gap=True) for block in ready if block.strip()]

    def live(self, width: int) -> list[Piece]:
        """The block that still grows."""
        blocks = [*self._ready, self._splitter.tail]
        return [Piece(Block(block), gap=True) for block in blocks if block.strip()]


class Thinking:
    """Visible reasoning, dim, line by line."""

    def __init__(self) -> None:
        self.is_done = False
        self._tail, self._ready, self._first = "", list[str](), True

    def add(self, text: str) -> None:
        """The reasoning grew."""
        *lines, self._tail = (self._tail + safe(text)).split("\n")
        self._ready += [line for line in lines if line.strip()]

    def close(self) -> None:
        """It is complete."""
        self._ready += [self._tail] if self._tail.strip() else []
        self._tail, self.is_done = "", True

    def take(self, width: int) -> list[Piece]:
        """Whole lines."""
        pieces = self._pieces(self._ready)
        self._first, self._ready = self._first and not pieces, []
        return pieces

    def live(self, width: int) -> list[Piece]:
        """The line that still grows, and those that could not be taken."""
        return self._pieces([*self._ready, *([self._tail] if self._tail.strip() else [])])

    def _pieces(self, lines: list[str]) -> list[Piece]:
        return [
            Piece(Text(line, style=Style(dim=True, italic=True)), gap=self._first and i == 0)
            for i, line in enumerate(lines)
        ]


class Card:
    """One tool call: name, arguments, progress, time, result."""

    def __init__(self, name: str, glyphs: Glyphs) -> None:
        self.name, self._glyphs = name, glyphs
        self.arguments = ""
        self.is_done = False
        self._taken = False
        self._started_at: float | None = None
        self._progress = ""
        self._result: ToolResult | None = None
        self._took_s = 0.0
        self.waiting = ""
        """What it waits for, when it does not run."""

    def start(self, arguments: str) -> None:
        """The tool runs."""
        self.arguments, self.waiting = arguments, ""
        self._started_at = time.monotonic()

    def progress(self, text: str, fraction: float | None) -> None:
        """The tool reports something."""
        share = "" if fraction is None else f"{min(max(fraction, 0.0), 1.0):.0%}"
        self._progress = " ".join(part for part in (share, text) if part)

    def finish(self, result: ToolResult, took_s: float) -> None:
        """The call has its result."""
        self._result, self._took_s, self.is_done = result, took_s, True

    def stop(self, note: str = "stopped") -> None:
        """It ended without a result that anybody was shown."""
        self.waiting, self.is_done = note, True

    def take(self, width: int) -> list[Piece]:
        """The whole card, once it is finished."""
        if not self.is_done or self._taken:
            return []
        self._taken = True
        return self._pieces(width)

    def live(self, width: int) -> list[Piece]:
        """The card as it is now."""
        return [] if self._taken else self._pieces(width)

    def _pieces(self, width: int) -> list[Piece]:
        lines: list[RenderableType] = [self._head(width)]
        if self._result is not None:
            style = "red" if self._result.failed else DIM
            shown = result_lines(self._result, width=width - 6, lines=RESULT_LINES)
            for i, line in enumerate(shown):
                sign = self._glyphs.result if i == 0 else " " * len(self._glyphs.result)
                lines.append(Text.assemble((f"  {sign} ", DIM), (line, style)))
        elif self._progress and not self.is_done:
            lines.append(Text(f"  {one_line(self._progress, width - 4)}", style=DIM))
        return [Piece(line, gap=i == 0) for i, line in enumerate(lines)]

    def _head(self, width: int) -> Text:
        name, note = one_line(self.name, 40), self._note()
        room = max(8, width - len(name) - len(note) - 8)
        return Text.assemble(
            (f"{self._sign()} ", self._colour()),
            (name, "bold"),
            (f" {self._arguments(room)}".rstrip(), ""),
            (f"  {note}", DIM),
        )

    def _arguments(self, room: int) -> str:
        return arguments_line(self.arguments, room)

    def _sign(self) -> str:
        running = self._started_at is not None and not self.is_done
        return self._glyphs.turning(time.monotonic()) if running else self._glyphs.dot

    def _colour(self) -> str:
        if self._result is None:
            return "yellow"
        return "red" if self._result.failed else "green"

    def _note(self) -> str:
        if self._result is not None:
            failed = "failed, " if self._result.failed else ""
            return failed + (seconds(self._took_s) if self._took_s >= 0.05 else "0 s")
        if self.waiting or self._started_at is None:
            return self.waiting
        return seconds(time.monotonic() - self._started_at)
