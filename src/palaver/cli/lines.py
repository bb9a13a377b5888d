"""Lines of standard input, without blocking the event loop and without holding the program back.

A thread that sits in `sys.stdin.readline` cannot be left alone when the program ends: the
interpreter waits for the lock of the stream. This one reads the descriptor itself, one line ahead.
"""

import asyncio
import os
import sys
import threading
from queue import SimpleQueue

CHUNK = 65_536


class Lines:
    """Gives one line after another; starts reading with the first one asked for."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        self._asked: SimpleQueue[asyncio.Future[str | None]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop = asyncio.get_running_loop()
        self._rest = b""
        self._at_end = False

    async def next(self) -> str | None:
        """The next line without its end; None when there is no more."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="stdin", daemon=True)
            self._thread.start()
        future: asyncio.Future[str | None] = self._loop.create_future()
        self._asked.put(future)
        return await future

    def _serve(self) -> None:
        while True:
            future = self._asked.get()
            line = self._read()
            try:
                self._loop.call_soon_threadsafe(_answer, future, line)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

    def _read(self) -> str | None:
        while b"\n" not in self._rest and not self._at_end:
            try:
                data = os.read(self._descriptor, CHUNK)
            except OSError:
                data = b""
            self._at_end = not data
            self._rest += data
        if not self._rest:
            return None
        line, _, self._rest = self._rest.partition(b"\n")
        return line.removesuffix(b"\r").decode("utf-8", "replace")


def _answer(future: "asyncio.Future[str | None]", line: str | None) -> None:
    if not future.done():
        future.set_result(line)
