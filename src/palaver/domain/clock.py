"""Time as a port: what waits or measures asks a `Clock`, so that tests can tell it the time."""

from typing import Protocol


class Clock(Protocol):
    """Wall time for people, monotonic time for durations."""

    def now(self) -> float:
        """Seconds since 1970 (UTC)."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards; only differences mean something."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait. Returns after `seconds`, or raises CancelledError."""
        ...
