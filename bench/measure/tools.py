"""When tools start whose arguments are complete while the model still speaks, and what it saves."""

from statistics import median
from typing import Any

from bench.measure.context import Context
from bench.processes import Failed
from bench.report import Result, Table
from bench.scenario import TOOL_GAP_S, TOOL_RUN_S, TRAILING_S
from bench.wire import Api

CONTESTANTS = ("raw", "palaver", "sdk", "create_agent")
COMPLETE_S = tuple(i * TOOL_GAP_S for i in range(3))
BOUND_S = COMPLETE_S[-1] + TOOL_RUN_S
LATE_S = COMPLETE_S[-1] + TRAILING_S + TOOL_RUN_S


def measure(context: Context) -> Result:
    """All contestants, all wires (one in a quick run)."""
    rounds = 1 if context.quick else 2
    found: dict[Api, dict[str, list[dict[str, Any]]]] = {}
    with context.workers(CONTESTANTS) as workers, context.scratch() as folder:
        for api in context.wires[:1] if context.quick else context.wires:
            found[api] = {name: [] for name in workers}
            for _ in range(rounds):
                for name, worker in workers.items():
                    url = f"{context.url}/tools"
                    try:
                        worker.do("begin", api=api, url=url, folder=str(folder), tools=True)
                        found[api][name].append(worker.do("tools"))
                    except Failed as failure:
                        context.log.append(f"tools, {api}: {failure}")
    table = Table(
        "Three tools of 1 s, complete at 0, 0.5 and 1 s, then 0.5 s of text",
        ("first starts, s", "second", "third", "turn, s", "over the bound"),
    )
    for api, of in found.items():
        table.rows += [_row(f"{name}, {api}", samples) for name, samples in of.items() if samples]
    table.notes = [
        f"bound: {BOUND_S:.2f} s; with tools after the stream: {LATE_S:.2f} s; medians of {rounds}"
    ]
    return Result("tools", [table], {"bound_s": BOUND_S, "samples": found})


def _row(name: str, samples: list[dict[str, Any]]) -> tuple[str, ...]:
    begun = [f"{median(s['starts_s'][i] for s in samples):.3f}" for i in range(3)]
    wall = median(s["wall_s"] for s in samples)
    return (name, *begun, f"{wall:.3f}", f"{(wall / BOUND_S - 1) * 100:+.1f} %")
