"""Circuit breakers: who failed a moment ago is not asked again at once.

    CLOSED     calls pass and are counted in a sliding window
    OPEN       after enough failed calls: nobody is let through for a time that grows
    HALF_OPEN  the time is over: exactly one call is let through as a probe

        CLOSED ──enough failed calls──▶ OPEN ──time over──▶ HALF_OPEN ──success──▶ CLOSED
                                         ▲                      │
                                         └───────failure────────┘

A breaker counts calls, not attempts: a call that succeeds at its third attempt is a success. What
the caller did wrong says nothing about the other side and is not counted (`Permit.release`). It is
used from one thread. Between processes a `Board` shares who is open and hands the one probe to one
of them.
"""

from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import Protocol, TypeAlias

import msgspec

from palaver.domain.errors import CircuitBreakerOpenError
from palaver.settings import BreakerSettings

_BUCKETS = 6
"""Parts of the sliding window: it is exact to a sixth of its length."""


class BreakerState(StrEnum):
    """What a breaker does with calls."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerReading(msgspec.Struct, frozen=True):
    """A breaker as it is now. Seconds are from now; counts are of the sliding window."""

    name: str
    state: BreakerState
    calls: int
    failures: int
    opened: int
    """Times in a row that it opened without a success between them."""
    retry_after_s: float = 0.0
    last_error: str = ""
    """Code of the failure that it saw last."""


Heard: TypeAlias = Callable[[str, float, str], None]
"""`heard(name, seconds, error)`: somebody else found that `name` is to be left alone for so long,
or (0 seconds) that it answers again."""


class Board(Protocol):
    """Where processes tell each other about breakers. Losing it costs sharing, nothing else: its
    methods answer quickly and do not raise."""

    def listen(self, heard: Heard) -> None:
        """Call `heard`, in the event loop, for what others say from now on."""
        ...

    async def opened(self, name: str, seconds: float, error: str, *, by: Heard) -> None:
        """Tell all but `by` that `name` is to be left alone for so long."""
        ...

    async def closed(self, name: str, *, by: Heard) -> None:
        """Tell all but `by` that `name` answers again."""
        ...

    async def take_probe(self, name: str, seconds: float, *, by: Heard) -> bool:
        """Whether the one probe is `by`'s, now or already; it expires after `seconds`."""
        ...


class Permit:
    """One call that was let through. Exactly one of `success`, `failure` and `release` counts, the
    first; as a context manager it is released at the end if nothing was said."""

    __slots__ = ("_breaker", "_is_probe", "_is_used")

    def __init__(self, breaker: "CircuitBreaker", *, is_probe: bool) -> None:
        self._breaker, self._is_probe, self._is_used = breaker, is_probe, False

    @property
    def is_probe(self) -> bool:
        """Whether everything waits for how this call ends."""
        return self._is_probe

    def success(self) -> None:
        """The other side answered."""
        if not self._is_used:
            self._is_used = True
            self._breaker._succeeded(is_probe=self._is_probe)

    def failure(self, error: str = "", *, retry_after_s: float | None = None) -> None:
        """The other side failed: `error` is a code, `retry_after_s` what it asked for."""
        if not self._is_used:
            self._is_used = True
            self._breaker._failed(error, retry_after_s, is_probe=self._is_probe)

    def release(self) -> None:
        """The call ended without saying anything about the other side: a cancel, a bad request."""
        if not self._is_used:
            self._is_used = True
            self._breaker._released(is_probe=self._is_probe)

    def __enter__(self) -> "Permit":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class CircuitBreaker:
    """One breaker. `monotonic` gives seconds; `chance` a number from 0 to 1, for jitter."""

    def __init__(
        self,
        name: str,
        *,
        settings: BreakerSettings,
        monotonic: Callable[[], float],
        chance: Callable[[], float],
        changed: "Callable[[BreakerReading], None] | None" = None,
    ) -> None:
        self.name = name
        self._settings, self._monotonic, self._chance = settings, monotonic, chance
        self._changed = changed
        self._bucket_s = settings.window_s / _BUCKETS
        self._calls, self._failures = [0] * _BUCKETS, [0] * _BUCKETS
        self._bucket, self._slot, self._bucket_ends = 0, 0, 0.0
        """The bucket that is counted in: its number since the clock's zero, its place, its end."""
        self._opened = 0
        self._open_until = 0.0
        self._probe_until = 0.0
        self._is_closed = True
        self._last_error = ""

    def admit(self) -> Permit:
        """A permit for one call. Raises CircuitBreakerOpenError where none is to be had."""
        if self._is_closed:
            return Permit(self, is_probe=False)
        now = self._monotonic()
        if now < max(self._open_until, self._probe_until):
            raise self.refusal()
        self._probe_until = now + self._settings.probe_s
        self._tell()
        return Permit(self, is_probe=True)

    @property
    def is_closed(self) -> bool:
        """Whether calls pass and are counted."""
        return self._is_closed

    @property
    def admits(self) -> bool:
        """Whether a call would be let through now, be it as the probe."""
        if self._is_closed:
            return True
        return self._monotonic() >= max(self._open_until, self._probe_until)

    def refusal(self) -> CircuitBreakerOpenError:
        """What a call is told that is not let through now, with the seconds until one would be."""
        now = self._monotonic()
        until = self._open_until if now < self._open_until else self._probe_until
        seconds = max(0.0, until - now)
        return CircuitBreakerOpenError(self.name, retry_after_s=seconds, cause=self._last_error)

    def reading(self) -> BreakerReading:
        """What it is now; costs nothing and changes nothing."""
        now = self._monotonic()
        self._move_to(now)
        return BreakerReading(
            self.name,
            self._state(now),
            sum(self._calls),
            sum(self._failures),
            self._opened,
            max(0.0, self._open_until - now) if not self._is_closed else 0.0,
            self._last_error,
        )

    def open_for(self, seconds: float, error: str) -> None:
        """Open at once, for so long: the other side said so, or another process found out."""
        self._is_closed = False
        self._probe_until = 0.0
        self._last_error = error
        self._open_until = max(self._open_until, self._monotonic() + seconds)
        self._tell()

    def trip(self, error: str, *, retry_after_s: float | None = None) -> None:
        """Open at once, without counting, for the time that grows: one failure says all."""
        self._last_error = error
        self._open(retry_after_s)

    def close(self) -> None:
        """Let calls through again, with nothing counted."""
        was_closed, self._is_closed = self._is_closed, True
        self._opened, self._open_until, self._probe_until = 0, 0.0, 0.0
        self._calls, self._failures = [0] * _BUCKETS, [0] * _BUCKETS
        if not was_closed:
            self._tell()

    def _succeeded(self, *, is_probe: bool) -> None:
        if is_probe:
            self.close()
        elif self._is_closed:
            if (now := self._monotonic()) >= self._bucket_ends:
                self._move_to(now)
            self._calls[self._slot] += 1

    def _failed(self, error: str, retry_after_s: float | None, *, is_probe: bool) -> None:
        self._last_error = error
        if is_probe:
            self._open(retry_after_s)
            return
        if not self._is_closed:
            return  # it began before the breaker opened, and tells nothing new
        self._move_to(self._monotonic())
        self._calls[self._slot] += 1
        self._failures[self._slot] += 1
        failures, calls = sum(self._failures), sum(self._calls)
        if failures >= self._settings.failures and failures >= self._settings.share * calls:
            self._open(retry_after_s)

    def _released(self, *, is_probe: bool) -> None:
        if is_probe:
            self._probe_until = 0.0  # the next caller is the probe

    def _open(self, retry_after_s: float | None) -> None:
        self._opened += 1
        grown = self._settings.open_s * self._settings.growth ** (self._opened - 1)
        seconds = min(self._settings.open_cap_s, grown) * (0.9 + 0.2 * self._chance())
        self.open_for(max(seconds, retry_after_s or 0.0), self._last_error)

    def _move_to(self, now: float) -> None:
        """Forget the buckets that the window has left behind."""
        bucket = int(now / self._bucket_s)
        for passed in range(min(bucket - self._bucket, _BUCKETS)):
            self._calls[(bucket - passed) % _BUCKETS] = 0
            self._failures[(bucket - passed) % _BUCKETS] = 0
        self._bucket, self._slot = bucket, bucket % _BUCKETS
        self._bucket_ends = (bucket + 1) * self._bucket_s

    def _state(self, now: float) -> BreakerState:
        if self._is_closed:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._open_until else BreakerState.HALF_OPEN

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed(self.reading())
