"""What a turn costs over HTTP: each delta on its way from provider through server to client."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from msgspec import structs

from bench.measure.context import Context
from bench.measure.deltas import Samples, samples_of
from bench.processes import Failed, Process, WorkerProcess
from bench.report import Result, Table, number, ratio, rounds_of, times
from bench.scenario import expected_chars
from bench.servers.langgraph import PROGRAM
from bench.wire import Api

BURST, FIRST, GAP_MS = 10_000, 20, 2
CLIENTS, DELTAS, CROWD_GAP_MS, OVER_S = 500, 150, 100, 10.0
SUBSCRIBERS, SHARED, SHARED_GAP_MS = 100, 300, 5
SETTLE_S = 0.15
SERVERS = ("palaver", "starlette", "langgraph")


def measure(context: Context) -> Result:
    """On the first wire that is asked for: bursts and first text, a crowd, many readers of one."""
    api = context.wires[0]
    figures: dict[str, Any] = {"api": api}
    if find_spec("uvloop") is not None:  # as `palaver serve` and uvicorn choose it
        context = structs.replace(context, loop="uvloop")
    with WorkerProcess("stream-client", "uvloop") as client:
        figures["burst"] = _turns(context, client, api, f"burst-{BURST}", 3 if context.quick else 7)
        paced = f"paced-{FIRST}-{GAP_MS}"
        figures["first"] = _turns(context, client, api, paced, 5 if context.quick else 11)
        figures["crowd"] = _crowd(context, client, api, 1 if context.quick else 3)
        figures["shared"] = _shared(context, client, api, 2 if context.quick else 5)
    tables = [_costs(figures), _crowds(figures["crowd"]), _readers(figures["shared"])]
    return Result("server", tables, figures)


class ServerProcess(Process):
    """A server of `bench.servers` that plays one scenario."""

    def __init__(self, name: str, loop: str, api: Api, url: str, folder: Path) -> None:
        super().__init__("bench.servers", name, loop, api, url, str(folder))
        self.address, _, child = self.line(180).strip().partition(" ")
        self._pid = int(child or self._process.pid)

    def cpu_s(self) -> float:
        """Of all its threads, user and system, to the nanosecond."""
        tasks = Path(f"/proc/{self._pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


@contextmanager
def _servers(context: Context, api: Api, scenario: str) -> Iterator[dict[str, ServerProcess]]:
    with ExitStack() as stack:
        folder = stack.enter_context(context.scratch())
        started: dict[str, ServerProcess] = {}
        for name in SERVERS:
            if name == "langgraph" and (PROGRAM is None or scenario.startswith("many")):
                continue
            own = folder / name
            own.mkdir()
            url = f"{context.url}/{scenario}"
            try:
                started[name] = stack.enter_context(
                    ServerProcess(name, context.loop, api, url, own)
                )
            except Failed as failure:
                context.log.append(f"server, {name} left out: {failure}")
        yield started


def _turns(
    context: Context, client: WorkerProcess, api: Api, scenario: str, rounds: int
) -> Samples:
    """One turn after the other, in turn with the raw reader. `us`: CPU of the server's process for
    each delta."""
    deltas = int(scenario.split("-")[1])
    found: Samples = {"raw": []}
    with context.workers(["raw"]) as workers, _servers(context, api, scenario) as servers:
        for round_ in range(rounds + 1):
            made = samples_of(context, workers, api, scenario, 1)
            for name, server in servers.items():
                try:
                    client.do("warm", server=name, address=server.address)
                    time.sleep(SETTLE_S)
                    before = server.cpu_s()
                    sample = client.do("turn", server=name)
                    time.sleep(SETTLE_S)
                    if sample["chars"] != expected_chars(deltas):
                        raise Failed(f"{sample['chars']} characters came")
                except Failed as failure:
                    context.log.append(f"server, {scenario}, {name}: {failure}")
                    continue
                us = (server.cpu_s() - before) / deltas * 1e6
                made[name] = [{**sample, "us": us}]
            for name, of in made.items() if round_ else ():  # the first round is a warm-up
                found.setdefault(name, []).extend(of)
    return found


def _crowd(context: Context, client: WorkerProcess, api: Api, rounds: int) -> Samples:
    scenario = f"many-{DELTAS}-{CROWD_GAP_MS}"
    found: Samples = {}
    for _ in range(rounds):
        with context.workers(["raw"]) as workers, context.scratch() as folder:
            for worker in workers.values():
                url = f"{context.url}/{scenario}"
                worker.do("begin", api=api, url=url, folder=str(folder), tools=True)
                given = {"number": CLIENTS, "deltas": DELTAS, "over_s": OVER_S, "limit_s": 120.0}
                found.setdefault("raw", []).append(worker.do("crowd", **given))
        with _servers(context, api, scenario) as servers:
            for name, server in servers.items():
                before = server.cpu_s()
                asked: dict[str, Any] = {"number": CLIENTS, "deltas": DELTAS, "over_s": OVER_S}
                asked |= {"server": name, "address": server.address}
                try:
                    sample = client.do("crowd", **asked)
                except Failed as failure:
                    context.log.append(f"server, crowd, {name}: {failure}")
                    continue
                if sample["failure"]:
                    context.log.append(f"server, crowd, {name}: {sample['failure']}")
                cpu_s = server.cpu_s() - before
                found.setdefault(name, []).append({**sample, "cpu_s": cpu_s})
    return found


def _shared(context: Context, client: WorkerProcess, api: Api, rounds: int) -> Samples:
    """Readers of one turn: `us` of the server's CPU for each delta delivered."""
    found: Samples = {}
    with _servers(context, api, f"paced-{SHARED}-{SHARED_GAP_MS}") as servers:
        server = servers["palaver"]
        for round_ in range(rounds + 1):
            for readers in (1, SUBSCRIBERS):
                before = server.cpu_s()
                sample = client.do("subscribers", address=server.address, number=readers)
                time.sleep(SETTLE_S)
                if sample["chars"] != expected_chars(SHARED) or sample["complete"] != readers:
                    raise Failed(f"of {readers} readers {sample['complete']} have the whole")
                us = (server.cpu_s() - before) / (SHARED * readers) * 1e6
                if round_:  # the first round is a warm-up
                    found.setdefault(str(readers), []).append({**sample, "us": us})
    return found


def _costs(figures: dict[str, Any]) -> Table:
    burst, first = figures["burst"], figures["first"]
    columns = ("burst µs/delta", "× raw", "× starlette", "first text, ms later than raw")
    table = Table(f"CPU per delta over HTTP, {figures['api']} wire", columns)
    spent, began = rounds_of(burst, "us"), rounds_of(first, "first_s")
    for name, of in spent.items():
        against = [times(ratio(of, spent[f])) if f in spent else "–" for f in ("raw", "starlette")]
        later = "–"
        if name in began:
            pairs = zip(began[name], began["raw"], strict=False)
            later = number(median(a - b for a, b in pairs) * 1000)
        table.rows.append((name, number(median(of)), *against, later))
    table.notes = [
        f"burst: {BURST:,} deltas as fast as sockets take them; medians of {len(spent['raw'])}",
        "all on uvloop where it is installed, as `palaver serve` is",
        "raw is a reader in one process: no server, no second way; the others serve a client",
        "palaver writes to SQLite with fsync; starlette and langgraph dev keep nothing on disk",
        f"first text: a stream of {FIRST} deltas, at the client; medians of {len(began['raw'])}",
    ]
    return table


def _crowds(samples: Samples) -> Table:
    columns = ("complete", "delay p50, ms", "p99", "longest", "p99 added", "CPU µs/delta")
    table = Table(f"{CLIENTS} clients of one server, 10 deltas/s each", columns)
    floor = median(s["p99_ms"] for s in samples["raw"]) if samples.get("raw") else None
    for name, of in samples.items():
        delays = [median(s[field] for s in of) for field in ("p50_ms", "p99_ms", "max_ms")]
        added = None if floor is None else delays[1] - floor
        us = median(s["cpu_s"] / max(s["deltas"], 1) * 1e6 for s in of)
        complete = str(min(s["complete"] for s in of))
        table.rows.append((name, complete, *map(number, delays), number(added), number(us)))
    rounds = max(map(len, samples.values()))
    table.notes = [
        f"each: a question, a call, its result, then {DELTAS} deltas {CROWD_GAP_MS} ms apart",
        "delay: from the provider's writing of a delta to the client; raw: to the reader",
        f"begun over {OVER_S:g} s; CPU is that of whole turns; medians of {rounds}",
    ]
    return table


def _readers(samples: Samples) -> Table:
    table = Table("Readers of one turn", ("CPU µs/delta delivered",))
    for readers, of in samples.items():
        table.rows.append((readers, number(median(s["us"] for s in of))))
    table.notes = [f"{SHARED} deltas, {SHARED_GAP_MS} ms apart; the turn's own cost included"]
    return table
