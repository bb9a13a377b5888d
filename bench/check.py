"""The short form, for CI: fails only when Palaver has become much slower beside a raw reader.

What is compared is CPU of Palaver by CPU of the raw reader, in the same minute on the same machine,
with the ratios of `baseline.json`. A ratio may grow by half; one that grew more is measured once
more, and counts as it was at its better. Absolute times never count.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import StatisticsError, median
from typing import TypeAlias

import msgspec

from bench.measure import deltas
from bench.measure.context import Context
from bench.processes import Failed, FakeProvider, WorkerProcess
from bench.report import Table, number, ratio, times
from bench.wire import APIS

BASELINE = Path(__file__).with_name("baseline.json")
ALLOWED = 1.5
CONTESTANTS = ("raw", "palaver")
BURST, BURSTS, PACED, PACES = "burst-2000", 15, "paced-200-2", 7
EARLY, LATE, CHUNK = slice(10, 30), slice(140, 160), 20
CROWD, CROWD_DELTAS, CROWDS = 50, 40, 3

Workers: TypeAlias = dict[str, WorkerProcess]
Ratios: TypeAlias = dict[str, float]


def main() -> int:
    """Measure and judge. Returns 1 when a ratio has grown too much, twice."""
    parser = argparse.ArgumentParser(prog="python -m bench.check", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write what is seen as the baseline")
    asked, began = parser.parse_args(), time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="palaver-bench-")))
        provider = stack.enter_context(FakeProvider())
        context = Context(provider.url, CONTESTANTS, APIS, "asyncio", folder, True, [])
        if asked.write:
            return _write(context)
        baseline = msgspec.json.decode(BASELINE.read_bytes(), type=Ratios)
        seen = [measured(context)]
        if grown(baseline, seen[0]):
            seen.append(measured(context, only=grown(baseline, seen[0])))
    failed = grown(baseline, best(seen))
    print(_table(baseline, seen).text())
    print(f"({time.monotonic() - began:.0f} s)")
    for name in failed:
        print(f"! {name}: more than {ALLOWED:g} times the baseline, or not measured")
    for line in context.log:
        print(f"! {line}")
    if failed:
        print("If this is meant, write a new baseline: python -m bench.check --write")
    return 1 if failed else 0


def grown(baseline: Mapping[str, float], seen: Mapping[str, float]) -> list[str]:
    """The names whose ratio has grown by more than is allowed, and those that are missing."""
    none = float("inf")
    return [name for name, was in baseline.items() if seen.get(name, none) > was * ALLOWED]


def best(seen: list[Ratios]) -> Ratios:
    """The lowest ratio of each name."""
    names = {name for of in seen for name in of}
    return {name: min(of[name] for of in seen if name in of) for name in names}


def measured(context: Context, only: list[str] | None = None) -> Ratios:
    """The ratios of new processes; `only` those groups that hold one of these names.

    A group that cannot be measured is missing, and the context's log says why.
    """
    found: Ratios = {}
    for group, measure in _GROUPS.items():
        if only is None or any(name.startswith(group) for name in only):
            with context.workers(CONTESTANTS) as workers:
                try:
                    ratios = measure(context, workers)
                except (Failed, KeyError, StatisticsError) as failure:
                    context.log.append(f"{group} could not be measured: {failure!r}")
                    continue
            found |= {f"{group}, {name}": ratio for name, ratio in ratios.items()}
    return found


def _burst(context: Context, workers: Workers) -> Ratios:
    return {api: _per_delta(context, workers, api, BURST, BURSTS) for api in APIS}


def _paced(context: Context, workers: Workers) -> Ratios:
    return {api: _per_delta(context, workers, api, PACED, PACES) for api in APIS[:2]}


def _per_delta(context: Context, workers: Workers, api: str, scenario: str, rounds: int) -> float:
    samples = deltas.samples_of(context, workers, api, scenario, rounds)
    spent = {name: [sample["us"] for sample in of] for name, of in samples.items()}
    return ratio(spent["palaver"], spent["raw"])


def _turn(context: Context, workers: Workers) -> Ratios:
    spent: dict[str, list[float]] = {name: [] for name in workers}
    with context.scratch() as folder:
        for name, worker in workers.items():
            _begin(worker, f"{context.url}/loop", folder / name)
        while len(spent["palaver"]) < LATE.stop:
            for name, worker in workers.items():
                spent[name] += worker.do("turns", number=CHUNK)["cpu_s"]
    middle = {
        name: {f"{part.start} to {part.stop}": median(of[part]) for part in (EARLY, LATE)}
        for name, of in spent.items()
    }
    return {part: mine / middle["raw"][part] for part, mine in middle["palaver"].items()}


def _crowd(context: Context, workers: Workers) -> Ratios:
    spent: dict[str, list[float]] = {name: [] for name in workers}
    with context.scratch() as folder:
        for name, worker in workers.items():
            _begin(worker, f"{context.url}/many-{CROWD_DELTAS}-20", folder / name)
        for _ in range(CROWDS):
            for name, worker in workers.items():
                done = worker.do("crowd", number=CROWD, deltas=CROWD_DELTAS, limit_s=30.0)
                spent[name].append(done["cpu_s"])
    return {f"{CROWD} at once": ratio(spent["palaver"], spent["raw"])}


def _begin(worker: WorkerProcess, url: str, folder: Path) -> None:
    folder.mkdir()
    worker.do("begin", api="anthropic", url=url, folder=str(folder), tools=True)


_GROUPS: dict[str, Callable[[Context, Workers], Ratios]] = {
    "burst": _burst,
    "paced": _paced,
    "turns": _turn,
    "crowd": _crowd,
}


def _table(baseline: Mapping[str, float], seen: list[Ratios]) -> Table:
    table = Table("CPU of Palaver by CPU of a raw reader", ("baseline", "limit", "seen", "again"))
    for name, was in baseline.items():
        cells = [was, was * ALLOWED, *(of.get(name) for of in seen), None]
        table.rows.append((name, *(times(cell) for cell in cells[:4])))
    return table


def _write(context: Context) -> int:
    passes = [measured(context) for _ in range(3)]
    written = {name: float(number(median(of[name] for of in passes))) for name in passes[0]}
    BASELINE.write_bytes(msgspec.json.format(msgspec.json.encode(written), indent=1) + b"\n")
    print(_table(written, passes[:2]).text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
