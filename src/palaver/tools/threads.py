"""Threads for tools that block, so that a slow one never stops the event loop.

Unlike asyncio's default executor the threads are daemons: a tool that hangs forever keeps its
thread, but not the process. A thread cannot be stopped from outside; it is asked to, and a tool
that runs for long looks at `is_cancelled` from time to time.
"""

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

LIMIT = 32
"""Threads in one process; further calls wait for one to become free."""
_stop: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar("stop", default=None)


def is_cancelled() -> bool:
    """Whether the call that the current thread serves was told to stop."""
    stop = _stop.get()
    return stop is not None and stop.is_set()


async def in_thread(function: Callable[[], T]) -> T:
    """What `function` returns or raises, from a thread with this task's context variables.

    Cancelled before the thread began: nothing was run. Cancelled later: the thread is told, and
    this waits for it; a second cancellation leaves it behind.
    """
    job = _Job(function, asyncio.get_running_loop())
    _pool.submit(job)
    try:
        await asyncio.shield(job.done)
    except asyncio.CancelledError:
        job.stop.set()
        if not job.withdraw():
            await asyncio.wait({job.done})
        raise
    return job.outcome()  # type: ignore[no-any-return]


class _Job:
    """One function on its way through a thread."""

    def __init__(self, function: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.stop = threading.Event()
        self.done: asyncio.Future[None] = loop.create_future()
        self._function, self._loop = function, loop
        self._context = contextvars.copy_context()
        self._context.run(_stop.set, self.stop)
        self._taken = threading.Lock()
        self._value: Any = None
        self._error: BaseException | None = None

    def withdraw(self) -> bool:
        """Whether the job could be taken back before a thread began it."""
        return self._taken.acquire(blocking=False)

    def run(self) -> None:
        """Called in a thread."""
        if not self._taken.acquire(blocking=False):
            return
        try:
            self._value = self._context.run(self._function)
        except BaseException as error:  # noqa: BLE001 - all of it belongs to the caller
            self._error = error
        # The loop may have been closed while the thread ran on; then nobody waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def outcome(self) -> Any:
        """The value; raises what the function raised."""
        if isinstance(self._error, StopIteration):
            raise RuntimeError("the function raised StopIteration") from self._error
        if self._error is not None:
            raise self._error
        return self._value


class _Pool:
    """Threads that are started when none is idle, up to a limit, and then kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._started = self._idle = 0

    def submit(self, job: _Job) -> None:
        with self._lock:
            self._jobs.put(job)
            if self._idle >= self._jobs.qsize() or self._started >= self._limit:
                return
            self._started += 1
            name = f"palaver-tool-{self._started}"
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def _serve(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            job = self._jobs.get()
            with self._lock:
                self._idle -= 1
            job.run()
            del job  # the value may be large, and the next call far away


_pool = _Pool(LIMIT)
