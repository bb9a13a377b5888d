"""How long commands take to start, in time and CPU."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from bench.measure.context import Context
from bench.processes import Failed
from bench.report import Result, Table, number

PROMPT_S = 20.0
Sample = tuple[float, float]
"""Wall and CPU seconds."""


def measure(context: Context) -> Result:
    """Palaver's commands beside an empty Python, in rounds."""
    rounds = 3 if context.quick else 9
    program = str(Path(sys.executable).with_name("palaver"))
    works: dict[str, Callable[[], Sample]] = {
        "python -c pass": lambda: _run(sys.executable, "-c", "pass"),
        "import palaver": lambda: _run(sys.executable, "-c", "import palaver"),
        "import aiohttp, msgspec, apsw": lambda: _run(
            sys.executable, "-c", "import aiohttp, msgspec, apsw"
        ),
        "palaver --help": lambda: _run(program, "--help"),
        "palaver chat, to its prompt": lambda: _to_prompt(program, "chat"),
    }
    if "create_agent" in context.contestants:
        works["import langchain.agents, langchain_anthropic"] = lambda: _run(
            sys.executable, "-c", "import langchain.agents, langchain_anthropic"
        )
    samples: dict[str, list[Sample]] = {name: [] for name in works}
    with context.scratch() as home:
        os.environ["PALAVER_HOME"] = str(home)
        for _ in range(rounds + 1):  # the first round fills the disk cache
            for name, work in works.items():
                try:
                    samples[name].append(work())
                except (Failed, OSError) as failure:
                    if not samples[name]:
                        context.log.append(f"start-up, {name}: {failure}")
    table = Table("Start-up", ("wall ms", "CPU ms"))
    figures: dict[str, Any] = {}
    for name, taken in samples.items():
        if len(taken) > 1:
            wall, cpu = (median(s[i] for s in taken[1:]) * 1000 for i in (0, 1))
            table.rows.append((name, number(wall), number(cpu)))
            figures[name] = {"wall_ms": wall, "cpu_ms": cpu}
    table.notes = [f"medians of {rounds} rounds, each a new process with a warm disk cache"]
    return Result("startup", [table], figures)


def _run(*command: str) -> Sample:
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.stderr is not None
    said = process.stderr.read().decode(errors="replace").strip()
    process.stderr.close()
    if process.returncode:
        raise Failed(said.splitlines()[-1] if said else f"ended with {process.returncode}")
    return wall, usage.ru_utime + usage.ru_stime


def _to_prompt(*command: str) -> Sample:
    """In a terminal of its own, until the command waits for input there."""
    import pty

    began = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "PALAVER_MODEL"):
            os.environ.pop(name, None)
        os.execv(command[0], command)
    try:
        _wait_for_prompt(pid, terminal, began + PROMPT_S)
        return time.perf_counter() - began, _cpu_s(pid)
    finally:
        os.kill(pid, 9)
        os.close(terminal)
        os.waitpid(pid, 0)


SIGN = "› ".encode()
"""What the prompt shows."""


def _wait_for_prompt(pid: int, terminal: int, deadline: float) -> None:
    import select

    shown = b""
    while time.perf_counter() < deadline:
        ready, _, _ = select.select([terminal], [], [], 0.05)
        if not ready:
            continue
        try:
            data = os.read(terminal, 65536)
        except OSError:
            break
        if not data:
            break
        if b"\x1b[6n" in data:  # a real terminal answers where its cursor is
            os.write(terminal, b"\x1b[1;1R")
        shown += data
        if SIGN in shown:
            return
    raise Failed(f"no prompt came: {shown[-200:].decode(errors='replace').strip()!r}")


def _cpu_s(pid: int) -> float:
    """What the process has used so far, all threads; 0 where the system does not say."""
    tasks = Path(f"/proc/{pid}/task")
    try:
        return sum(int((t / "schedstat").read_text().split()[0]) for t in tasks.iterdir()) / 1e9
    except OSError:
        return 0.0
