"""A long conversation: what a turn costs as it grows, in CPU, disk and memory."""

from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from bench.measure.context import Context
from bench.processes import Failed, WorkerProcess
from bench.report import Result, Table, number, times
from bench.scenario import ANSWER_CHARS, ANSWER_DELTAS, QUESTION_CHARS, RESULT_CHARS
from bench.wire import Api

CONTESTANTS = ("raw", "palaver", "sdk", "create_agent")
MARKS = (10, 100, 500)
CHUNK = 20
"""Turns of one contestant before it is the next one's."""
AROUND = 5
"""Turns on each side of a mark that its median is taken over."""
CONTENT = QUESTION_CHARS + ANSWER_CHARS + RESULT_CHARS


class _Run(msgspec.Struct):
    worker: WorkerProcess
    folder: Path
    limit: int
    cpu_s: list[float] = []
    wall_s: list[float] = []
    late_cpu_s: list[float] = []
    """Of turns around the last mark, where the turns before them were filled in."""
    before: int = 0
    peak: int = 0
    now: int = 0
    disk: dict[str, int] = {}


def measure(context: Context) -> Result:
    """All contestants. The slow ones live through the first turns and those around the last mark;
    what lies between is put into their history, because it would take them most of the run."""
    tables, figures = [], {}
    for api in context.wires[:1] if context.quick else context.wires:
        runs = _measure(context, api)
        tables.append(_table(api, runs))
        figures[api] = {name: _figures(run) for name, run in runs.items()}
    return Result("turns", tables, figures)


def _limit(name: str, api: Api) -> int:
    # The SDK's cost of a turn on OpenAI's wires is seconds at the last mark.
    lives = name in ("raw", "palaver") or (name == "sdk" and api == "anthropic")
    return (MARKS[-1] if lives else MARKS[-2]) + AROUND


def _measure(context: Context, api: Api) -> dict[str, _Run]:
    with context.workers(CONTESTANTS) as workers, context.scratch() as folder:
        runs: dict[str, _Run] = {}
        for name, worker in workers.items():
            own = folder / name
            own.mkdir()
            run = _Run(worker, own, _limit(name, api))
            try:
                _begin(run, f"{context.url}/loop", api)
            except Failed as failure:
                context.log.append(f"turns, {api}: {failure}")
                continue
            runs[name] = run
        while going := {n: r for n, r in runs.items() if len(r.cpu_s) < r.limit}:
            for run in going.values():
                try:
                    _some_turns(run)
                except Failed as failure:
                    context.log.append(f"turns, {api}: {failure}")
                    run.limit = len(run.cpu_s)
        for run in runs.values():
            _settle(run)
            try:
                _late_turns(run)
            except Failed as failure:
                context.log.append(f"turns, {api}: {failure}")
        return runs


def _begin(run: _Run, url: str, api: Api) -> None:
    warm = run.folder / "warm"
    warm.mkdir()
    run.worker.do("begin", api=api, url=url, folder=str(warm), tools=True)
    run.worker.do("turns", number=3)
    run.worker.do("begin", api=api, url=url, folder=str(run.folder), tools=True)
    run.before = run.worker.do("memory", reset=True)["now"]


def _some_turns(run: _Run) -> None:
    number = min(CHUNK, run.limit - len(run.cpu_s))
    done = run.worker.do("turns", number=number)
    run.cpu_s.extend(done["cpu_s"])
    run.wall_s.extend(done["wall_s"])


def _settle(run: _Run) -> None:
    memory = run.worker.do("memory")
    run.peak, run.now = memory["peak"] - run.before, memory["now"] - run.before
    if run.limit >= MARKS[-1]:
        run.worker.do("aclose")
    run.disk = _disk(run.folder)


def _late_turns(run: _Run) -> None:
    if run.limit < MARKS[-1]:
        run.worker.do("fill", turns=MARKS[-1] - AROUND - run.limit)
        run.late_cpu_s = run.worker.do("turns", number=2 * AROUND)["cpu_s"]


def _disk(folder: Path) -> dict[str, int]:
    # A write-ahead log is a buffer of a size of its own; closing empties Palaver's.
    files = [f for f in folder.iterdir() if f.is_file() and not f.name.endswith(("-wal", "-shm"))]
    sizes = {"total": sum(f.stat().st_size for f in files)}
    database = folder / "palaver.db"
    if database.exists():
        sizes |= _tables(database)
    return sizes


def _tables(database: Path) -> dict[str, int]:
    """Bytes of the search index and of the rest, by SQLite's own count."""
    import apsw

    connection = apsw.Connection(str(database))
    try:
        found = connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name")
        counted = {str(name): int(str(size)) for name, size in found}
        encoded = connection.execute("SELECT sum(length(body)) FROM events").get
    except apsw.SQLError:
        return {}
    finally:
        connection.close()
    index = sum(size for name, size in counted.items() if "search" in name or "fts" in name)
    sizes = {f"table {name}": size for name, size in counted.items()}
    log = sum(counted.values()) - index
    return {"index": index, "log": log, "encoded": int(str(encoded or 0)), **sizes}


def _cpu_ms(run: _Run, mark: int) -> float | None:
    lived = run.cpu_s[mark - AROUND : mark + AROUND]
    near = run.late_cpu_s if mark == MARKS[-1] and run.late_cpu_s else lived
    return median(near) * 1000 if len(near) == 2 * AROUND else None


def _figures(run: _Run) -> dict[str, Any]:
    return {
        "cpu_ms": {str(mark): _cpu_ms(run, mark) for mark in MARKS},
        "turns": len(run.cpu_s),
        "cpu_s": run.cpu_s,
        "wall_s": run.wall_s,
        "rss_peak_growth": run.peak,
        "rss_growth": run.now,
        "content_bytes": CONTENT * len(run.cpu_s),
        "disk": run.disk,
    }


def _table(api: Api, runs: dict[str, _Run]) -> Table:
    columns = (
        *(f"turn {mark}, CPU ms" for mark in MARKS), "turns", "disk MB", "of it index",
        "RSS peak +MiB", "settled +MiB", "content MB", "peak × content", "settled",
    )  # fmt: skip
    table = Table(f"A conversation with tool results, {api} wire", columns)
    for name, run in runs.items():
        turns = len(run.cpu_s)
        cpu = [number(_cpu_ms(run, mark)) for mark in MARKS]
        total, index = run.disk.get("total", 0), run.disk.get("index")
        table.rows.append((
            name, *cpu, str(turns),
            number(total / 1e6) if total else "none",
            number(None if index is None else index / 1e6),
            number(run.peak / 2**20), number(run.now / 2**20),
            number(CONTENT * turns / 1e6),
            *(times(grown / (CONTENT * turns) if turns else None) for grown in (run.peak, run.now)),
        ))  # fmt: skip
    table.notes = [
        f"each turn: {QUESTION_CHARS} characters said, a call with {RESULT_CHARS} of result",
        f"then {ANSWER_CHARS} of answer in {ANSWER_DELTAS} deltas; the history is sent twice",
        f"medians over {2 * AROUND} turns around each mark; raw and sdk keep nothing on disk",
        "disk and memory are those after as many turns as the column says",
        f"whoever has fewer than {MARKS[-1]}: turns up to {MARKS[-1] - AROUND} were filled in",
    ]
    return table
