"""Bounds of repeating: how often, and how long to wait between attempts.

The numbers are settings. Waiting has full jitter (a uniform share of the backoff), so that clients
that failed together do not come back together.
"""

import msgspec

from palaver.domain.errors import ProviderError
from palaver.recovery.classification import ErrorClassification, classify, traits
from palaver.settings import RetrySettings


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
    """The bounds for a class of failures; one attempt where repeating cannot help."""
    kind = classify(failure)
    may_pass = traits(kind).passes if failure.should_retry is None else failure.should_retry
    if not may_pass or kind is ErrorClassification.UNAVAILABLE:
        return RetryPolicy(1, 0.0, 1.0, 0.0)
    if kind is ErrorClassification.RATE_LIMIT:
        return RetryPolicy(
            settings.rate_limit_attempts,
            settings.rate_limit_base_s,
            settings.rate_limit_factor,
            settings.rate_limit_cap_s,
        )
    attempts = 2 if kind is ErrorClassification.PROTOCOL else settings.network_attempts
    return RetryPolicy(attempts, settings.network_base_s, 2.0, settings.network_cap_s)
