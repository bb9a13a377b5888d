"""Processes of a run: the fake provider and one worker for each contestant.

They live in sessions of their own, so that Ctrl-C reaches only the run, which ends each by its id.
Should the run itself be killed, their standard input ends, and they end.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

ORDER_S = 300.0
"""An order that takes longer has failed."""


SOCKETS = 8192


class Failed(Exception):
    """A process did not do what it was told."""


class Process:
    """A Python module run as a process, spoken to in lines."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.name = " ".join((module, *arguments))
        env = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=env | {"PYTHONHASHSEED": "0", "LANGSMITH_TRACING": "false"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def line(self, timeout_s: float = 60.0) -> str:
        """The next line that it says. Raises Failed when none comes in time."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        said = self._process.stdout.readline().decode() if ready else ""
        if not said:
            raise Failed(f"{self.name} {'ended' if ready else f'said nothing in {timeout_s:g} s'}")
        return said

    def tell(self, line: str) -> None:
        """Send one line."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Failed(f"{self.name} has ended") from None

    def close(self) -> None:
        """End it: first by the end of its input, then by signal."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def allow_sockets() -> None:
    """Let this process open as many files as the system lets it, for many connections at once."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = SOCKETS if most == resource.RLIM_INFINITY else min(most, SOCKETS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


_FOREIGN = ("PALAVER_", "ANTHROPIC_", "OPENAI_", "LANGCHAIN_", "LANGSMITH_")
"""Variables of the person's own set-up, which must not change what is measured."""


class FakeProvider(Process):
    """The provider; `url` is its address."""

    def __init__(self) -> None:
        super().__init__("bench.fake_provider")
        self.url = f"http://127.0.0.1:{int(self.line())}"


class WorkerProcess(Process):
    """A contestant that takes orders."""

    def __init__(self, contestant: str, loop: str = "asyncio") -> None:
        super().__init__("bench.worker", contestant, loop)
        self.contestant = contestant
        self.line()

    def do(self, order: str, *, timeout_s: float = ORDER_S, **given: Any) -> dict[str, Any]:
        """Carry out an order. Raises Failed with what the worker says."""
        self.tell(json.dumps({"do": order, **given}))
        answer: dict[str, Any] = json.loads(self.line(timeout_s))
        if "error" in answer:
            raise Failed(f"{self.contestant}: {answer['error']}")
        return answer
