"""The retry budget bounds what an outage costs."""

from palaver.recovery.budget import RetryBudget
from palaver.settings import BudgetSettings


def offered(calls: int, *, attempts: int, fails: bool) -> int:
    """Requests that reach the provider when each call would like so many attempts."""
    budget, sent = RetryBudget(BudgetSettings()), 0
    for _ in range(calls):
        for attempt in range(attempts):
            if attempt and not budget.allows:
                break
            sent += 1
            if fails:
                budget.failed()
            else:
                budget.succeeded()
                break
    return sent


def test_an_outage_gets_hardly_more_than_was_offered() -> None:
    """2,000 calls that would like five attempts each make at most 1.1 times as many requests."""
    assert offered(2000, attempts=5, fails=True) <= 2200


def test_a_good_provider_never_runs_out() -> None:
    """Successes keep the budget full."""
    assert offered(2000, attempts=5, fails=False) == 2000


def test_it_comes_back_by_successes() -> None:
    """After an outage retries are allowed again once enough calls have succeeded."""
    budget = RetryBudget(BudgetSettings())
    for _ in range(1000):
        budget.failed()
    assert not budget.allows
    for _ in range(600):
        budget.succeeded()
    assert budget.allows
