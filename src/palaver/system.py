"""The one module that asks the operating system: time, chance, loops, process locks, folders."""

import asyncio
import contextlib
import os
import secrets
import sys
import threading
import time
from importlib import import_module
from pathlib import Path

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no letters that are read as digits."""


class SystemClock:
    """The real time; the `Clock` of everything but tests."""

    def now(self) -> float:
        """Seconds since 1970 (UTC)."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


def new_id(prefix: str) -> str:
    """A new id such as `conv_01k9x…`: 48 bits of time, 62 of chance; later ids sort later."""
    value = (time.time_ns() // 1_000_000) << 62 | secrets.randbits(62)
    return f"{prefix}_" + "".join(_ALPHABET[value >> shift & 31] for shift in range(105, -1, -5))


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed, else asyncio's own: a delta costs about a third less there.

    Only for programs of ours that start a loop, and not for one that reads keys: libuv leaves a
    terminal non-blocking, after which a long print fails. A host's loop is the host's choice.
    """
    try:
        import uvloop
    except ImportError:  # Windows, other interpreters, or left out
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def private_file(path: Path) -> None:
    """Make `path` an empty file that only its owner may read, unless it is there already.

    Raises OSError where it cannot be made; what is there already is left alone.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


class ProcessLock:
    """A lock on a file that the system releases when the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock if nobody holds it. Returns whether it is held now."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _try_lock(descriptor):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self, *, remove: bool = False) -> None:
        """Give the lock back; `remove` also deletes its file."""
        if self._descriptor is not None:
            if remove:
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


IMPORT_AFTER_S = 0.1


def import_later(name: str) -> asyncio.TimerHandle:
    """Import a heavy module in a thread when the program has run for a moment without needing it.

    A script that only looks at something has ended by then, and one that needs the module at once
    has imported it itself.
    """

    def begin() -> None:
        if name not in sys.modules:
            thread = threading.Thread(target=import_module, args=(name,), daemon=True)
            thread.start()

    return asyncio.get_running_loop().call_later(IMPORT_AFTER_S, begin)
