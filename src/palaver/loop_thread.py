"""An event loop in a thread of its own, for code without `async`."""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

from palaver.domain.errors import StoreError
from palaver.system import new_event_loop

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = new_event_loop()
        self._door = threading.Lock()
        self._is_closing = False
        self._thread = threading.Thread(target=self._loop.run_forever, name="palaver", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` there and wait for it. Ctrl-C cancels it and passes on.

        Raises StoreError when it is closed.
        """
        with self._door:
            if self._is_closing:
                work.close()
                raise StoreError("the conversations of this program are closed")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """The items of an asynchronous iterator, one by one."""

        async def step() -> tuple[T] | None:
            try:
                return (await anext(items),)
            except StopAsyncIteration:
                return None

        while (found := self.run(step())) is not None:
            yield found[0]

    def close(self) -> None:
        """End what still runs, other threads' waiting included, then the thread."""
        with self._door:
            self._is_closing = True
        asyncio.run_coroutine_threadsafe(_end_tasks(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
