"""An event loop whose time is its own: a day of sleeping passes in the time that the work takes.

Where nothing can run, the loop's time jumps to the next timer; work for threads is done in place.
What would wait for ever is told apart from what waits long: with nothing to run and no timer the
loop raises `Stuck`.
"""

import asyncio
import contextvars
import selectors
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_START = 1_800_000_000.0


class Stuck(AssertionError):
    """Everything waits for something that can never come."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop on virtual time. Sockets are not waited for."""

    def __init__(self) -> None:
        self.passed = 0.0
        super().__init__(_Jumps(self))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self.passed

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Do the work here and now: a thread would take its time by another clock."""
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whoever awaits it is told
            done.set_exception(error)
        return done


class _Jumps(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        """What is ready now; else time jumps."""
        ready = super().select(0)
        if not ready and timeout is None:
            raise Stuck("nothing can ever run again")
        if not ready and timeout is not None and timeout > 0:
            self._loop.passed += timeout
        return ready


class LoopClock:
    """A `Clock` by the time of a loop: of this one, or of the running one."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None

    def now(self) -> float:
        """Seconds since 1970, from an arbitrary day on."""
        return _START + self.monotonic()

    def monotonic(self) -> float:
        """The loop's time."""
        return (self.loop or asyncio.get_running_loop()).time()

    async def sleep(self, seconds: float) -> None:
        """Wait by the loop's time."""
        await asyncio.sleep(max(0.0, seconds))


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on a loop of its own, on virtual time; what it leaves running is cancelled."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=60))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class RealLoop:
    """A loop on real time in a thread, for what has threads of its own: whoever asks waits for the
    answer, so that it comes at one moment of virtual time."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="real time")
        self._thread.start()

    def ask(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Mortal:
    """Everything that one simulated process runs: its tasks, and those that they begin.

    `kill` ends it as `kill -9` does, as far as anybody outside can tell: its handles on the store
    answer no more, so what its code does on the way out reaches nobody.
    """

    current: contextvars.ContextVar["Mortal | None"] = contextvars.ContextVar("mortal")

    def __init__(self) -> None:
        self.is_dead = False
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in their order: a seed is one world

    def begin(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """A task of this process."""
        inside = contextvars.copy_context()
        inside.run(self.current.set, self)
        return asyncio.get_running_loop().create_task(work, context=inside)

    def adopt(self, task: "asyncio.Task[Any]") -> None:
        """Count a task as this process's."""
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    def kill(self) -> None:
        """End it; its tasks are gone a few steps of the loop later."""
        self.is_dead = True
        asyncio.get_running_loop().create_task(self._reap(), context=contextvars.Context())

    async def _reap(self) -> None:
        while self._tasks:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.sleep(0.001)

    async def alive(self) -> None:
        """Return while the process lives; otherwise never."""
        if self.is_dead:
            await asyncio.get_running_loop().create_future()

    @classmethod
    def follow_tasks(cls) -> None:
        """Have the running loop count every new task as its process's."""

        def make(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
            task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
            context = options.get("context")
            owner = cls.current.get(None) if context is None else context.get(cls.current)
            if owner is not None:
                owner.adopt(task)
            return task

        asyncio.get_running_loop().set_task_factory(make)
