"""How much there was within the last minute, exactly: a moving window for each name.

Of our own, and not of the library `limits`: what an answer has used is known when it has come, and
there a window takes only what still fits, so the answer that goes past the limit counts nothing.
Where several replicas are to share their windows, another `Windows` takes this one's place. See
docs/decisions/0014.
"""

from collections import deque
from typing import Protocol

import msgspec

from palaver.domain.clock import Clock

WINDOW_S = 60.0
_SWEEP_AT = 1_000
"""Names; whenever there are twice as many as after the last time, the idle ones are dropped."""


class Reading(msgspec.Struct, frozen=True):
    """What is left of a limit, as headers say it."""

    limit: float
    remaining: float
    """Never below 0."""
    reset_s: float
    """Until the whole of it is free again, if nothing more is used; 0 while nothing is."""


class Windows(Protocol):
    """What several limits have counted within the last minute. The seam for a shared one."""

    async def take(self, name: str, limit: float) -> Reading | None:
        """Count one more, if there is room: what is left then; None where there was none."""
        ...

    async def add(self, name: str, amount: int) -> None:
        """Count what was used, whatever room there was."""
        ...

    async def reading(self, name: str, limit: float) -> Reading:
        """What is left."""
        ...

    async def wait_s(self, name: str, limit: float) -> float:
        """Seconds until there is room for one more; 0 where there is."""
        ...


class _Window:
    __slots__ = ("entries", "total")

    def __init__(self) -> None:
        self.entries: deque[tuple[float, int]] = deque()
        self.total = 0

    def forget(self, before: float) -> None:
        entries = self.entries
        while entries and entries[0][0] <= before:
            self.total -= entries.popleft()[1]


class MemoryWindows:
    """Windows of this process."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._windows: dict[str, _Window] = {}
        self._sweep_at = _SWEEP_AT

    async def take(self, name: str, limit: float) -> Reading | None:
        """See `Windows.take`."""
        window = self._window(name)
        if window.total + 1 > limit:
            return None
        self._count(window, 1)
        return self._reading(window, limit)

    async def add(self, name: str, amount: int) -> None:
        """See `Windows.add`."""
        if amount > 0:
            self._count(self._window(name), amount)

    async def reading(self, name: str, limit: float) -> Reading:
        """See `Windows.reading`."""
        return self._reading(self._window(name), limit)

    async def wait_s(self, name: str, limit: float) -> float:
        """See `Windows.wait_s`."""
        window = self._window(name)
        left, now = window.total, self._clock.monotonic()
        wait = 0.0
        for at, amount in window.entries:
            if left + 1 <= limit:
                break
            left -= amount
            wait = at + WINDOW_S - now
        return wait

    def __len__(self) -> int:
        return len(self._windows)

    def _window(self, name: str) -> _Window:
        before = self._clock.monotonic() - WINDOW_S
        window = self._windows.get(name)
        if window is None:
            if len(self._windows) >= self._sweep_at:
                self._sweep(before)
            window = self._windows[name] = _Window()
        window.forget(before)
        return window

    def _sweep(self, before: float) -> None:
        for window in self._windows.values():
            window.forget(before)
        self._windows = {name: w for name, w in self._windows.items() if w.entries}
        self._sweep_at = max(_SWEEP_AT, 2 * len(self._windows))

    def _count(self, window: _Window, amount: int) -> None:
        window.entries.append((self._clock.monotonic(), amount))
        window.total += amount

    def _reading(self, window: _Window, limit: float) -> Reading:
        last = window.entries[-1][0] + WINDOW_S if window.entries else None
        reset = 0.0 if last is None else last - self._clock.monotonic()
        return Reading(limit, max(0, limit - window.total), reset)
