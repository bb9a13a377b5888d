"""Which messages each line of a summary comes from, as far as it can be known.

The writer is asked to end lines with handles, like [m12, m15] or [m3–m9]. A handle counts only if
there is such a message and it shares a word with the line: a name, a number, a rare word. What does
not hold is taken out, so that a link in a summary always leads to something that speaks of it.
"""

import re
from collections.abc import Sequence

import msgspec

from palaver.context.handles import handle
from palaver.context.identifiers import identifiers
from palaver.context.words import words
from palaver.context.words_frequent import FREQUENT
from palaver.domain.messages import Message, ToolCall, ToolResult

_CITED = re.compile(
    r"\s*[\[(【]\s*(?P<list>m\d{1,9}(?:\s*(?:[-–—,;、]|\.\.|to|and|&)\s*m?\d{1,9})*)\s*[\])】]"
)
_ITEM = re.compile(r"m(\d{1,9})(?:\s*(?:[-–—]|\.\.|to)\s*m?(\d{1,9}))?")
_MOST = 8
"""Handles behind one line; a longer range is named by its ends."""
_LONGEST_RANGE = 400


class Lined(msgspec.Struct, frozen=True):
    """A text whose lines have sources: `sources[i]` are the positions of line i."""

    text: str
    sources: tuple[tuple[int, ...], ...]
    dropped: int = 0
    """Handles that did not hold."""

    def __add__(self, other: "Lined") -> "Lined":
        if not self.text or not other.text:
            return self if self.text else other
        return Lined(
            f"{self.text}\n{other.text}",
            (*self.sources, *other.sources),
            self.dropped + other.dropped,
        )


class Sources:
    """The messages that a summary may cite: those before `stop`. Words are found when needed."""

    def __init__(self, messages: Sequence[Message], stop: int) -> None:
        self._messages, self._stop = messages, stop
        self._words: dict[int, frozenset[str]] = {}

    def checked(self, text: str) -> Lined:
        """`text` with the handles that hold at the ends of its lines, and only those."""
        lines: list[str] = []
        sources: list[tuple[int, ...]] = []
        dropped = 0
        for line in text.strip().splitlines():
            said, cited = cut(line)
            held = tuple(at for at in cited if self._supports(at, said))
            dropped += len(cited) - len(held)
            lines.append(f"{said} [{_named(held)}]" if held else said)
            sources.append(held)
        return Lined("\n".join(lines), tuple(sources), dropped)

    def _supports(self, position: int, line: str) -> bool:
        if not 0 <= position < self._stop:
            return False
        return not telling(line).isdisjoint(self._of(position))

    def _of(self, position: int) -> frozenset[str]:
        found = self._words.get(position)
        if found is None:
            found = self._words[position] = telling(said_in(self._messages[position]))
        return found


def cut(line: str) -> tuple[str, list[int]]:
    """A line without its handles, and the positions that they name, each once."""
    found: dict[int, None] = {}
    for cited in _CITED.finditer(line):
        for item in _ITEM.finditer(cited["list"]):
            first = int(item[1]) - 1
            last = int(item[2]) - 1 if item[2] else first
            found |= dict.fromkeys(range(first, min(last, first + _LONGEST_RANGE) + 1))
    return _CITED.sub("", line).rstrip(), list(found)


def telling(text: str) -> frozenset[str]:
    """The words and identifiers of `text` that say something."""
    said = (word for word in words(text) if word not in FREQUENT and len(word) > 1)
    return frozenset((*said, *(name.lower() for name in identifiers(text))))


def said_in(message: Message) -> str:
    """Everything of a message that a summary can speak of: text, calls, results."""
    found: list[str] = [message.text]
    for block in message.content:
        if isinstance(block, ToolCall):
            found.append(f"{block.name} {block.arguments}")
        elif isinstance(block, ToolResult):
            found.append(f"{block.name} {block.text}")
    return "\n".join(part for part in found if part)


def _named(positions: Sequence[int]) -> str:
    if len(positions) > _MOST:
        return f"{handle(positions[0])}–{handle(positions[-1])}"
    return ", ".join(map(handle, positions))
