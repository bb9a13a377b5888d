"""Figures: medians, ratios, and the tables that people read."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import msgspec


class Table(msgspec.Struct):
    """One measurement's result. `rows`: a name and one cell for each column."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []

    def text(self) -> str:
        """The table for a terminal; also valid Markdown."""
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([f"## {self.title}", "", *self.lines(), "", *notes])

    def lines(self) -> list[str]:
        """The cells alone, as Markdown."""
        lines = [("", *self.columns), *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns) + 1)]
        drawn = [_line(line, widths) for line in lines]
        rule = "|".join(["", *("-" * (w + 1) + (":" if i else "-") for i, w in enumerate(widths))])
        return [drawn[0], rule + "|", *drawn[1:]]


class Result(msgspec.Struct):
    """What a measurement gives: tables to read, and figures for the JSON file."""

    name: str
    tables: list[Table]
    figures: dict[str, Any]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        c.ljust(w) if not i else c.rjust(w)
        for i, (c, w) in enumerate(zip(cells, widths, strict=True))
    ]
    return "| " + " | ".join(padded) + " |"


def ratio(mine: Sequence[float], floor: Sequence[float]) -> float:
    """The median of the ratios of each round: what was slow for both does not show."""
    pairs = list(zip(mine, floor, strict=False))
    return median(a / b for a, b in pairs if b > 0)


def number(value: float | None) -> str:
    """Three significant digits, without exponents."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{value:,.{digits}f}"


def times(value: float | None) -> str:
    """A ratio."""
    return "–" if value is None else f"{number(value)} ×"


def rounds_of(samples: Mapping[str, list[dict[str, Any]]], field: str) -> dict[str, list[float]]:
    """One field of every contestant's rounds."""
    return {name: [s[field] for s in of] for name, of in samples.items()}
