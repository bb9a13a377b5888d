"""The page of the documentation about measurements, made from the figures of one run.

A run's file holds every sample. What is committed holds medians and the tables, and the page says
nothing but what is in it; `scripts/generate-benchmarks` writes both.
"""

from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from bench.aims import Aim, aims
from bench.report import Result, Table

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
FIGURES, PAGE = FOLDER / "benchmarks.json", FOLDER / "benchmarks.md"
FEW = 8
"""Longer lists of numbers are samples of single turns; the tables hold their medians."""
TEMPLATE = Path(__file__).with_name("page.md")


class Published(msgspec.Struct, forbid_unknown_fields=True):
    """What is committed of a run."""

    at: str
    quick: bool
    machine: dict[str, str | int]
    versions: dict[str, str]
    skipped: list[str]
    aims: list[Aim]
    results: list[Result]


def published(run: dict[str, Any]) -> Published:
    """What is committed of the file of a run."""
    figures = {result["name"]: result["figures"] for result in run["results"]}
    reduced = [{**r, "figures": _reduced(r["figures"])} for r in run["results"]]
    kept = {**run, "results": reduced, "aims": msgspec.to_builtins(aims(figures))}
    return msgspec.convert(kept, Published)


def page(of: Published) -> str:
    """The whole page."""
    tables = [table.text().strip() for result in of.results for table in result.tables]
    if of.skipped:
        tables.append("\n".join(["## What could not be measured\n", *_list(of.skipped)]))
    filled = {
        "run": _run(of),
        "aims": _aims(of.aims),
        "short": "\n".join(_list(_missed(of.aims))),
        "tables": "\n\n".join(tables),
    }
    return TEMPLATE.read_text(encoding="utf-8").format_map(filled)


def _run(of: Published) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in of.machine.items())
    packages = ", ".join(f"{name} {version}" for name, version in of.versions.items())
    what = "A short run" if of.quick else "The run"
    return f"{what} of {of.at[:10]}: {machine}.\n\nPackages: {packages}."


def _aims(found: list[Aim]) -> str:
    table = Table("", ("bound", "seen", ""))
    table.rows = [(a.what, a.bound, a.seen, "" if a.met else "missed") for a in found]
    return "\n".join(table.lines())


def _missed(found: list[Aim]) -> list[str]:
    missed = [f"{aim.what}: {aim.seen}; the aim is {aim.bound}" for aim in found if not aim.met]
    return missed or ["nothing that was measured here misses its aim"]


def _list(items: list[str]) -> list[str]:
    return [f"- {item}" for item in items]


def _reduced(value: Any) -> Any:
    """Samples become their medians; long lists of numbers go."""
    if isinstance(value, dict):
        made = {key: _reduced(item) for key, item in value.items()}
        return {key: item for key, item in made.items() if item is not None}
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, list):
        if value and all(isinstance(item, dict) for item in value):
            return {key: _middle([item[key] for item in value if key in item]) for key in value[0]}
        return None if len(value) > FEW else [_reduced(item) for item in value]
    return value


def _middle(values: list[Any]) -> Any:
    if values and all(isinstance(v, int | float) for v in values):
        return _reduced(median(values))
    return _reduced(values[0]) if values else None
