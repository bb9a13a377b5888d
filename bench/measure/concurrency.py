"""Many conversations at once in one process: delays, throughput under overload, and memory."""

from statistics import median
from typing import Any

from bench.measure.context import Context
from bench.processes import Failed
from bench.report import Result, Table, number, ratio, times
from bench.wire import Api

CONTESTANTS = {"raw": 3, "palaver": 3, "sdk": 2, "create_agent": 1}
"""Who takes part, and in how many rounds: the slow ones would take most of the run."""
DELTAS, GAP_MS = 200, 20
CROWDS = ((100, 0.0, 3), (200, 0.0, 3), (200, 2.0, 3), (1000, 0.0, 2))
"""Conversations; seconds over which they begin; rounds. The last is an overload."""
LIMIT_S = 240.0
Samples = dict[str, list[dict[str, Any]]]


def measure(context: Context) -> Result:
    """Each crowd in rounds, on the first wire that is asked for."""
    api, tables = context.wires[0], []
    found: dict[str, Samples] = {}
    for size, over_s, rounds in CROWDS:
        samples = _rounds(context, api, size, over_s, 1 if context.quick else rounds)
        began = f"begun over {over_s:g} s" if over_s else "begun at once"
        tables.append(_table(f"{size:,} conversations {began}, {api} wire", samples))
        found[f"{size} {began}"] = samples
    return Result("concurrency", tables, {"api": api, "samples": found})


def _rounds(context: Context, api: Api, size: int, over_s: float, rounds: int) -> Samples:
    samples: Samples = {}
    for round_ in range(rounds):
        taking_part = [name for name, most in CONTESTANTS.items() if round_ < most]
        if context.quick and size == CROWDS[-1][0]:
            taking_part.remove("create_agent")  # minutes, for a figure that the others do not need
        # New processes each time: what one crowd leaves in memory is not the next one's room.
        with context.workers(taking_part) as workers, context.scratch() as folder:
            for name, worker in workers.items():
                own = folder / name
                own.mkdir()
                url = f"{context.url}/many-{DELTAS}-{GAP_MS}"
                try:
                    worker.do("begin", api=api, url=url, folder=str(own), tools=True)
                    asked = {"number": size, "deltas": DELTAS, "over_s": over_s, "limit_s": LIMIT_S}
                    sample = worker.do("crowd", **asked, timeout_s=LIMIT_S + 60)
                except Failed as failure:
                    context.log.append(f"concurrency, {size}: {failure}")
                    continue
                if sample["failure"]:
                    context.log.append(f"concurrency, {size}, {name}: {sample['failure']}")
                samples.setdefault(name, []).append(sample)
    return samples


def _table(title: str, samples: Samples) -> Table:
    columns = (
        "complete", "delay p50, ms", "p99", "longest", "p99 later than raw", "deltas/s", "× raw",
        "CPU µs/delta", "× raw", "KiB idle", "KiB live", "KiB after",
    )  # fmt: skip
    table = Table(title, columns)
    for name, of in samples.items():
        table.rows.append((name, *_cells(of, samples.get("raw"))))
    table.notes = [
        f"each: a question, a call, its result, then {DELTAS} deltas with gaps of {GAP_MS} ms",
        "delay: from the provider's writing of a delta to the subscriber",
        "KiB of resident memory for each conversation: new, at most while it streams, afterwards",
        "medians of " + ", ".join(f"{len(of)} ({name})" for name, of in samples.items()),
    ]
    return table


def _cells(of: list[dict[str, Any]], raw: list[dict[str, Any]] | None) -> list[str]:
    def middle(field: str) -> float | None:
        return median(s[field] for s in of) if all(field in s for s in of) else None

    rate, cost = [_rate(s) for s in of], [_cost(s) for s in of]
    p99, floor = middle("p99_ms"), median(s["p99_ms"] for s in raw) if raw else None
    later = p99 - floor if p99 is not None and floor is not None else None
    memory = [middle(f"{state}_bytes") for state in ("idle", "live", "after")]
    return [
        str(min(s["complete"] for s in of)),
        *(number(middle(field)) for field in ("p50_ms", "p99_ms", "max_ms")),
        number(later),
        number(median(rate)),
        times(ratio(rate, [_rate(s) for s in raw]) if raw else None),
        number(median(cost)),
        times(ratio(cost, [_cost(s) for s in raw]) if raw else None),
        *(number(None if size is None else size / 1024) for size in memory),
    ]


def _rate(sample: dict[str, Any]) -> float:
    return float(sample["deltas"] / sample["wall_s"])


def _cost(sample: dict[str, Any]) -> float:
    return float(sample["cpu_s"] / max(sample["deltas"], 1) * 1e6)
