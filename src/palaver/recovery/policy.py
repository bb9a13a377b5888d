"""Whether a failed attempt is followed by another, and when.

Only attempts that failed before their first content are repeated here; a stream that broke in the
middle is not hidden. The numbers are settings. Waiting has full jitter (a uniform share of the
backoff), so that clients that failed together do not come back together.
"""

from typing import TypeAlias

import msgspec

from palaver.domain.errors import (
    ConnectionFailed,
    ContextOverflow,
    Overloaded,
    ProviderError,
    ProviderTimeout,
    RateLimited,
    ServerFailure,
    StreamTruncated,
)
from palaver.settings import RetrySettings


class Wait(msgspec.Struct, frozen=True):
    """Try again after `seconds`."""

    seconds: float


class Compact(msgspec.Struct, frozen=True):
    """Make the window smaller, then try again at once."""


class GiveUp(msgspec.Struct, frozen=True):
    """Say so at once."""


Decision: TypeAlias = Wait | Compact | GiveUp


class RetryPolicy(msgspec.Struct, frozen=True):
    """Bounds of one class of failures."""

    attempts: int
    base_s: float
    factor: float
    cap_s: float

    def backoff(self, attempt: int, *, jitter: float) -> float:
        """Seconds before attempt `attempt` + 1; `jitter` is a chance from 0 to 1."""
        return jitter * min(self.cap_s, self.base_s * self.factor ** (attempt - 1))


def create_adaptive_policy(failure: ProviderError, settings: RetrySettings) -> RetryPolicy:
    """The bounds for this failure; one attempt where repeating cannot help."""
    if not failure.can_retry:
        return RetryPolicy(1, 0.0, 1.0, 0.0)
    if isinstance(failure, RateLimited):
        return RetryPolicy(
            settings.rate_limit_attempts,
            settings.rate_limit_base_s,
            settings.rate_limit_factor,
            settings.rate_limit_cap_s,
        )
    if (
        isinstance(
            failure,
            ConnectionFailed | Overloaded | ServerFailure | StreamTruncated | ProviderTimeout,
        )
        or failure.should_retry
    ):
        return RetryPolicy(
            settings.network_attempts, settings.network_base_s, 2.0, settings.network_cap_s
        )
    return RetryPolicy(2, settings.network_base_s, 2.0, settings.network_cap_s)


def decide(
    failure: ProviderError,
    *,
    attempt: int,
    remaining_s: float,
    jitter: float,
    settings: RetrySettings,
    can_compact: bool = False,
) -> Decision:
    """What follows failed attempt number `attempt` (from 1), `remaining_s` before the deadline.

    A provider's Retry-After is obeyed, and where it lies behind the deadline, said at once.
    `can_compact`: whether the window can be made smaller and has not been for this request.
    """
    if failure.in_stream:
        return GiveUp()
    if isinstance(failure, ContextOverflow):
        return Compact() if can_compact else GiveUp()
    policy = create_adaptive_policy(failure, settings)
    if attempt >= policy.attempts:
        return GiveUp()
    seconds = policy.backoff(attempt, jitter=jitter)
    if failure.retry_after_s is not None:
        seconds = max(failure.retry_after_s, 0.0) + jitter * 0.25
    return GiveUp() if seconds >= remaining_s else Wait(seconds)
