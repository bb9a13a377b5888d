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

    @contextmanager
    def calling(self, action: Callable[[], None]) -> Iterator[None]:
        """Within it, the first Ctrl-C calls `action`."""
        before, self._action = self._action, action
        try:
            yield
        finally:
            self._action = before

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
    for each in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(each, interrupts.leave, TERMINATED)


def _log_stray(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    from palaver import log

    error = context.get("exception")
    log.get("cli").error("stray_error", message=context.get("message", ""), error=repr(error))
