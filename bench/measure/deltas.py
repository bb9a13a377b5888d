"""CPU for each streamed delta, in a burst and paced, and the delay of the first one."""

from collections.abc import Sequence
from importlib.util import find_spec
from statistics import median
from typing import Any

from msgspec import structs

from bench.measure.context import Context
from bench.processes import Failed, WorkerProcess
from bench.report import Result, Table, number, ratio, rounds_of, times
from bench.scenario import expected_chars
from bench.wire import Api

CONTESTANTS = ("raw", "palaver-adapter", "palaver", "sdk", "create_agent")
BURST, PACED, GAP_MS, FIRST = 2000, 600, 2, 20
Samples = dict[str, list[dict[str, Any]]]


def measure(context: Context) -> Result:
    """All contestants, all wires."""
    plan = {
        f"burst-{BURST}": 4 if context.quick else 9,
        f"paced-{PACED}-{GAP_MS}": 2 if context.quick else 5,
        f"paced-{FIRST}-{GAP_MS}": 5 if context.quick else 11,
    }
    found: dict[Api, dict[str, Samples]] = {}
    with context.workers(CONTESTANTS) as workers:
        for api in context.wires:
            found[api] = {
                scenario: samples_of(context, workers, api, scenario, rounds)
                for scenario, rounds in plan.items()
            }
    tables = [_table(f"{api} wire", *found[api].values()) for api in context.wires]
    figures: dict[str, Any] = {"samples": found}
    if not context.quick and context.loop == "asyncio" and find_spec("uvloop") is not None:
        api, fast = context.wires[0], structs.replace(context, loop="uvloop")
        with fast.workers(CONTESTANTS[:3]) as workers:
            figures["uvloop"] = {s: samples_of(fast, workers, api, s, r) for s, r in plan.items()}
        tables.append(_table(f"{api} wire, uvloop", *figures["uvloop"].values()))
    return Result("deltas", tables, figures)


def samples_of(
    context: Context, workers: dict[str, WorkerProcess], api: Api, scenario: str, rounds: int
) -> Samples:
    """So many answers of every worker, in turn. `us`: microseconds of CPU for each delta."""
    samples: Samples = {name: [] for name in workers}
    deltas = int(scenario.split("-")[1])
    with context.scratch() as folder:
        for _ in range(rounds):
            for name in list(samples):
                worker = workers[name]
                try:
                    # A new conversation each time, so that no history adds to the deltas.
                    url = f"{context.url}/{scenario}"
                    worker.do("begin", api=api, url=url, folder=str(folder), tools=False)
                    sample = worker.do("deltas")
                    if sample["chars"] != expected_chars(deltas):
                        raise Failed(f"{name} heard {sample['chars']} characters")
                except Failed as failure:
                    context.log.append(f"deltas, {api}, {scenario}: {failure}")
                    del samples[name]
                    continue
                samples[name].append({**sample, "us": sample["cpu_s"] / deltas * 1e6})
    return samples


def _table(where: str, burst: Samples, paced: Samples, first: Samples) -> Table:
    columns = (
        "burst µs/delta", "× raw", "paced µs/delta", "× raw",
        "first text, ms later than raw", "the same in CPU ms",
    )  # fmt: skip
    table = Table(f"CPU per delta, {where}", columns)
    for name in burst:
        cells = [*_cost(burst, name), *_cost(paced, name)]
        cells += [_later(first, name, field) for field in ("first_s", "first_cpu_s")]
        table.rows.append((name, *cells))
    table.notes = [
        f"burst: {BURST:,} deltas as fast as the socket takes them; medians of {_count(burst)}",
        f"paced: {PACED} deltas, {GAP_MS} ms apart; medians of {_count(paced)}",
        f"first text: a stream of {FIRST} deltas; medians of {_count(first)}",
    ]
    return table


def _cost(samples: Samples, name: str) -> tuple[str, str]:
    spent = rounds_of(samples, "us")
    if not spent.get(name):
        return "–", "–"
    against = ratio(spent[name], spent["raw"]) if spent.get("raw") else None
    return number(median(spent[name])), times(against)


def _later(samples: Samples, name: str, field: str) -> str:
    seconds = rounds_of(samples, field)
    if not seconds.get(name) or not seconds.get("raw"):
        return "–"
    return number(_median_difference(seconds[name], seconds["raw"]) * 1000)


def _median_difference(mine: Sequence[float], floor: Sequence[float]) -> float:
    return median(a - b for a, b in zip(mine, floor, strict=False))


def _count(samples: Samples) -> int:
    return max((len(of) for of in samples.values()), default=0)
