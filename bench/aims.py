"""What Palaver aims at, beside what a run has seen."""

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

import msgspec

from bench.report import number, ratio, times

TURN_MS, GROWTH, MEMORY, LOG, INDEX = 10.0, 1.5, 4.0, 1.4, 0.6
BURST, PACED, FIRST_MS = 4.0, 1.5, 2.0
SERVER_BURST, SERVER_FIRST_MS = 5.0, 5.0
TOOLS_SHARE, OVERLOAD_SHARE, HELP_MS = 0.03, 0.6, 150.0


class Aim(msgspec.Struct, frozen=True):
    """One aim: in words, its bound, what was seen, and whether that is within it."""

    what: str
    bound: str
    seen: str
    met: bool


def aims(results: Mapping[str, Mapping[str, Any]]) -> list[Aim]:
    """Every aim that the run says something about. `results`: figures by measurement."""
    looks = {
        "deltas": _deltas,
        "tools": _tools,
        "turns": _turns,
        "concurrency": _concurrency,
        "server": _server,
        "startup": _startup,
    }
    return [aim for name, look in looks.items() if name in results for aim in look(results[name])]


def _deltas(figures: Mapping[str, Any]) -> Iterator[Aim]:
    for api, scenarios in figures["samples"].items():
        burst, paced, first = scenarios.values()
        for what, bound, samples in (("burst", BURST, burst), ("paced", PACED, paced)):
            if _both(samples):
                seen = ratio(*(_field(samples[who], "us") for who in ("palaver", "raw")))
                yield _times(f"CPU per delta, {what}, {api}", bound, "raw", seen)
        if _both(first):
            mine, floor = (_field(first[who], "first_cpu_s") for who in ("palaver", "raw"))
            later = median(a - b for a, b in zip(mine, floor, strict=False)) * 1000
            yield _ms(f"first text later than raw, {api}", FIRST_MS, later)


def _tools(figures: Mapping[str, Any]) -> Iterator[Aim]:
    bound = figures["bound_s"]
    for api, samples in figures["samples"].items():
        if samples.get("palaver"):
            over = median(_field(samples["palaver"], "wall_s")) / bound - 1
            said = f"{over * 100:+.1f} %"
            what = f"three tools while the model speaks, {api}: turn over the bound"
            yield Aim(what, f"{TOOLS_SHARE * 100:g} %", said, over <= TOOLS_SHARE)


def _turns(figures: Mapping[str, Any]) -> Iterator[Aim]:
    for api, runs in figures.items():
        if "palaver" not in runs or "raw" not in runs:
            continue
        mine, floor = runs["palaver"], runs["raw"]
        first, *_, last = mine["cpu_ms"]
        cost, late = mine["cpu_ms"][last], floor["cpu_ms"][last]
        if cost is not None and late is not None:
            yield _ms(f"turn {last}, {api}", TURN_MS, cost)
            grown = max(cost - mine["cpu_ms"][first], 0.0)
            grown /= max(late - floor["cpu_ms"][first], 1e-9)
            yield _times(f"growth from turn {first} to {last}, {api}", GROWTH, "raw", grown)
        content, disk = mine["content_bytes"], mine["disk"]
        for what, field in (("at most", "rss_peak_growth"), ("settled", "rss_growth")):
            seen = mine[field] / content
            yield _times(f"resident memory {what}, {api}", MEMORY, "content", seen)
        if encoded := disk.get("encoded"):
            log, index = disk["log"] / encoded, disk["index"] / encoded
            yield _times(f"log on disk, {api}", LOG, "facts as JSON", log)
            yield _times(f"search index on disk, {api}", INDEX, "facts as JSON", index)


def _concurrency(figures: Mapping[str, Any]) -> Iterator[Aim]:
    *_, (crowd, samples) = figures["samples"].items()
    if _both(samples):
        rates = ([s["deltas"] / s["wall_s"] for s in samples[who]] for who in ("palaver", "raw"))
        size, complete = crowd.split()[0], min(s["complete"] for s in samples["palaver"])
        whole = complete == int(size)
        yield Aim(f"{size} at once: complete turns", f"all {size}", str(complete), whole)
        share = ratio(*rates)
        least = f"at least {OVERLOAD_SHARE} × raw"
        yield Aim(f"{size} at once: deltas/s", least, times(share), share >= OVERLOAD_SHARE)


def _server(figures: Mapping[str, Any]) -> Iterator[Aim]:
    api, burst, first = figures["api"], figures["burst"], figures["first"]
    if _both(burst):
        seen = ratio(*(_field(burst[who], "us") for who in ("palaver", "raw")))
        yield _times(f"CPU per delta over HTTP, burst, {api}", SERVER_BURST, "raw", seen)
    if _both(first):
        mine, floor = (_field(first[who], "first_s") for who in ("palaver", "raw"))
        later = median(a - b for a, b in zip(mine, floor, strict=False)) * 1000
        bound, said = f"{SERVER_FIRST_MS:g} ms", f"{number(later)} ms"
        what = f"first text over HTTP later than raw, {api}"
        yield Aim(what, bound, said, later <= SERVER_FIRST_MS)


def _startup(figures: Mapping[str, Any]) -> Iterator[Aim]:
    if "palaver --help" in figures:
        yield _ms("palaver --help", HELP_MS, figures["palaver --help"]["cpu_ms"])


def _times(what: str, bound: float, of: str, seen: float) -> Aim:
    return Aim(what, f"{bound:g} × {of}", times(seen), seen <= bound)


def _ms(what: str, bound: float, seen: float) -> Aim:
    return Aim(what, f"{bound:g} ms of CPU", f"{number(seen)} ms", seen <= bound)


def _both(samples: Mapping[str, Any]) -> bool:
    return bool(samples.get("palaver")) and bool(samples.get("raw"))


def _field(samples: list[dict[str, Any]], name: str) -> list[float]:
    return [sample[name] for sample in samples]
