"""What every measurement gets: who takes part, the provider, a folder, how thorough to be."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from bench.processes import Failed, WorkerProcess
from bench.wire import Api


class Context(msgspec.Struct, frozen=True):
    """A run."""

    url: str
    """The fake provider's address; a scenario's name follows it."""
    contestants: tuple[str, ...]
    wires: tuple[Api, ...]
    loop: str
    """`asyncio` or `uvloop`: the event loop of every contestant."""
    folder: Path
    quick: bool
    log: list[str]
    """What was skipped, and why."""

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Those of `names` that take part in this run."""
        return [name for name in names if name in self.contestants]

    @contextmanager
    def workers(self, names: Sequence[str]) -> Iterator[dict[str, WorkerProcess]]:
        """A process for each of `names` that can be started."""
        with ExitStack() as stack:
            started: dict[str, WorkerProcess] = {}
            for name in self.chosen(names):
                try:
                    started[name] = stack.enter_context(WorkerProcess(name, self.loop))
                except Failed as failure:
                    self.log.append(f"{name} left out: {failure}")
            yield started

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A new folder that is gone afterwards."""
        made = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)
