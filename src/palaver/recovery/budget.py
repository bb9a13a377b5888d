"""The retry budget: what a provider that is down may cost beside what was asked of it.

Attempts per call are bounded by the policy; the budget bounds them over all calls, as gRPC's retry
throttling does (service config, `retryThrottling`). Each failed attempt takes one token, each
success gives back a little, and below half of the tokens nothing is repeated. Retries, resumed
streams and hedges share it. In an outage the first calls use the upper half up, and from then on
every call is one attempt: over 2,000 calls that is under 1.03 times the offered load.
"""

from palaver.settings import BudgetSettings


class RetryBudget:
    """Tokens of one model of one provider. Used from one thread."""

    def __init__(self, settings: BudgetSettings) -> None:
        self._settings = settings
        self._tokens = settings.tokens

    @property
    def tokens(self) -> float:
        """What is left, from 0 to the setting."""
        return self._tokens

    @property
    def allows(self) -> bool:
        """Whether something may be repeated now."""
        return self._tokens > self._settings.tokens / 2

    def failed(self) -> None:
        """An attempt failed."""
        self._tokens = max(0.0, self._tokens - 1.0)

    def succeeded(self) -> None:
        """An attempt succeeded."""
        self._tokens = min(self._settings.tokens, self._tokens + self._settings.refill)
