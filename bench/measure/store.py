"""The store alone: writing at different lengths, loading, searching."""

from typing import Any

from bench.measure.context import Context
from bench.processes import WorkerProcess
from bench.report import Result, Table, number

MARKS = (10, 500, 5000)
LIVE = 40
"""Turns around each mark that are written one by one."""


def measure(context: Context) -> Result:
    """Palaver's SQLite store; there is nobody to compare with."""
    if "palaver" not in context.contestants:
        return Result("store", [], {})
    with context.scratch() as folder, WorkerProcess("store") as worker:
        figures = _measure(worker, str(folder), 10 if context.quick else 30)
    return Result("store", [_table(figures)], figures)


def _measure(worker: WorkerProcess, folder: str, repeats: int) -> dict[str, Any]:
    worker.do("begin", folder=folder)
    worker.do("turns", number=3)
    figures: dict[str, Any] = {}
    for mark in MARKS:
        worker.do("fill", until=max(mark - LIVE // 2, 0))
        figures[str(mark)] = worker.do("turns", number=LIVE)
    figures["load"] = worker.do("load", number=max(repeats // 5, 2))
    worker.do("snapshot")
    figures["load with snapshot"] = worker.do("load", number=max(repeats // 5, 2))
    figures["search"] = worker.do("search", number=repeats)
    worker.do("aclose")
    return figures


def _table(figures: dict[str, Any]) -> Table:
    table = Table("The SQLite store alone", ("wall ms", "CPU ms"))
    for mark in MARKS:
        for act in ("accept", "append"):
            table.rows.append(_row(f"{act} at turn {mark:,}", figures[str(mark)][act]))
    for name in ("load", "load with snapshot"):
        messages = figures[name]["messages"]
        table.rows.append(_row(f"{name}, {messages:,} messages", figures[name]))
    for name, found in figures["search"].items():
        table.rows.append(_row(f"search, {name}", found))
    table.notes = [
        "accept: a message of 300 characters and its turn",
        "append: an answer of 1,200 characters and the end of the turn",
        "both wait until it is durable (fsync); medians",
    ]
    return table


def _row(name: str, times: dict[str, float]) -> tuple[str, ...]:
    return (name, number(times["wall_ms"]), number(times["cpu_ms"]))
