"""The event loop of a command, and what Ctrl-C means in it at the moment."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from palaver.cli.exits import INTERRUPTED
from palaver.system import new_event_loop

TERMINATED = 143


class Interrupts:
    """Ctrl-C does what the present part of the program says; a second one ends the program."""

    def __init__(self, main: asyncio.Task[int]) -> None:
        self._main = main
        self._action: Callable[[], None] | None = None
        self.code: int | None = None
        """The exit code, once a signal has ended the program."""
        self.drain_s = 0.0
        """Seconds that an answer under way gets when the program is asked to end."""
        self.is_leaving = False
        """Whether the program ends as soon as the answer under way has come to its end."""
        self._is_answering = False

    @contextmanager
    def calling(self, action: Callable[[], None]) -> Iterator[None]:
        """Within it, the first Ctrl-C calls `action`."""
        before, self._action = self._action, action
        try:
            yield
        finally:
            self._action = before

    @contextmanager
    def answering(self, *, answers: bool = True) -> Iterator[None]:
        """Within it an answer comes, for whose end it is worth to wait; not while a person is
        asked."""
        before, self._is_answering = self._is_answering, answers
        try:
            yield
        finally:
            self._is_answering = before

    def terminate(self) -> None:
        """SIGTERM: an answer under way may come to its end; a second one ends the program now."""
        if self.is_leaving or not self._is_answering or self.drain_s <= 0:
            self.leave(TERMINATED)
            return
        self.is_leaving = True
        asyncio.get_running_loop().call_later(self.drain_s, self.leave, TERMINATED)

    def interrupt(self) -> None:
        """Ctrl-C."""
        action, self._action = self._action, None
        if action is None:
            self.leave(INTERRUPTED)
        else:
            action()

    def leave(self, code: int) -> None:
        """End the program in good order: running turns are cancelled, what came is kept."""
        self.code = code
        self._main.cancel()


def run(program: Callable[[Interrupts], Awaitable[int]], *, carries_turns: bool = False) -> int:
    """Run a command to its exit code. One that carries turns where nobody types runs on the faster
    loop; for others importing it would cost more than it saves, or it would harm the terminal."""
    fast = carries_turns and not is_terminal(sys.stdin)
    with asyncio.Runner(loop_factory=new_event_loop if fast else None) as runner:
        return runner.run(_guarded(program))


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person may be at its other end."""
    return stream is not None and not stream.closed and stream.isatty()


async def _guarded(program: Callable[[Interrupts], Awaitable[int]]) -> int:
    main = asyncio.current_task()
    assert main is not None
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_stray)
    interrupts = Interrupts(main)
    _listen(loop, interrupts)
    try:
        return await program(interrupts)
    except asyncio.CancelledError:
        if interrupts.code is None:
            raise
        return interrupts.code


def _listen(loop: asyncio.AbstractEventLoop, interrupts: Interrupts) -> None:
    if sys.platform == "win32":
        return  # Ctrl-C arrives as KeyboardInterrupt there
    loop.add_signal_handler(signal.SIGINT, interrupts.interrupt)
    loop.add_signal_handler(signal.SIGTERM, interrupts.terminate)
    loop.add_signal_handler(signal.SIGHUP, interrupts.leave, TERMINATED)


def _log_stray(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    from palaver import log

    error = context.get("exception")
    log.get("cli").error("stray_error", message=context.get("message", ""), error=repr(error))
