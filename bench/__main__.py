"""`python -m bench`: every measurement, as tables and as JSON."""

import argparse
import contextlib
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from bench import contestants
from bench.measure.context import Context
from bench.processes import Failed, FakeProvider
from bench.report import Result
from bench.wire import APIS

MEASURES = (
    *("deltas", "tools", "turns", "concurrency", "server", "startup", "store"),
    *("segmentation", "compaction", "window"),
)
LOOPS = ("asyncio", "uvloop")
PACKAGES = (
    "palaver", "aiohttp", "orjson", "msgspec", "apsw", "uvloop",
    "anthropic", "openai", "langchain", "langchain-core", "langchain-anthropic",
    "langchain-openai", "langgraph", "langgraph-checkpoint-sqlite", "starlette", "uvicorn",
)  # fmt: skip
"""Whose versions are told with the figures."""
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run what is asked for. Returns 1 when a measurement could not be made at all."""
    asked = _arguments()
    began = time.monotonic()
    failures = 0
    results: list[Result] = []
    log: list[str] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="palaver-bench-")))
        provider = stack.enter_context(FakeProvider())
        present = _present(asked.contestants, log)
        context = Context(
            provider.url, present, tuple(asked.wires), asked.loop, folder, asked.quick, log
        )
        for name in asked.only:
            started = time.monotonic()
            try:
                result = _measure(name)(context)
            except Failed as failure:
                log.append(f"{name} could not be measured: {failure}")
                failures += 1
                continue
            results.append(result)
            _write(asked, results, log)  # a run that is ended early has measured something
            for table in result.tables:
                print(f"{table.text()}\n", flush=True)
            print(f"({name}: {time.monotonic() - started:.0f} s)\n", flush=True)
    for line in log:
        print(f"! {line}")
    file = _write(asked, results, log)
    print(f"{file} written; {time.monotonic() - began:.0f} s in all")
    return 1 if failures else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", type=_names(MEASURES), default=list(MEASURES), metavar="NAME,…")
    known = tuple(contestants.NAMES)
    parser.add_argument("--contestants", type=_names(known), default=list(known), metavar="NAME,…")
    parser.add_argument("--wires", type=_names(APIS), default=list(APIS), metavar="NAME,…")
    parser.add_argument("--loop", choices=LOOPS, default=LOOPS[0], help="of every contestant")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, shorter conversations")
    parser.add_argument("--json", type=Path, default=RESULTS / "latest.json", metavar="FILE")
    return parser.parse_args()


def _names(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return names

    return parse


def _present(names: list[str], log: list[str]) -> tuple[str, ...]:
    present = []
    for name in names:
        if absent := contestants.missing(name):
            log.append(f"{name} left out: {', '.join(absent)} not installed")
        else:
            present.append(name)
    return tuple(present)


def _measure(name: str) -> Callable[[Context], Result]:
    measure: Callable[[Context], Result] = import_module(f"bench.measure.{name}").measure
    return measure


def _write(asked: argparse.Namespace, results: list[Result], log: list[str]) -> Path:
    file: Path = asked.json
    file.parent.mkdir(parents=True, exist_ok=True)
    written: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": asked.quick,
        "machine": {
            "cores": os.cpu_count(),
            "system": platform.system(),
            "python": platform.python_version(),
            "loop": asked.loop,
        },
        "versions": _versions(),
        "skipped": log,
        "results": results,
    }
    file.write_bytes(msgspec.json.format(msgspec.json.encode(written), indent=1))
    return file


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
