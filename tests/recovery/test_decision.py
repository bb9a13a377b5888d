"""What follows a failed attempt is a pure decision, and a table says which."""

from typing import Any

import pytest
from hypothesis import given, strategies as st

from palaver.domain.errors import (
    AuthenticationFailed,
    CircuitBreakerOpenError,
    ConnectionFailed,
    ContentBlocked,
    ContextOverflow,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    ProtocolViolation,
    ProviderError,
    ProviderTimeout,
    QuotaExhausted,
    RateLimited,
    RequestTooLarge,
    ServerFailure,
    StreamTruncated,
)
from palaver.recovery.decision import (
    Compact,
    Decision,
    Degrade,
    ErrorContext,
    GiveUp,
    Resume,
    SwitchModel,
    Wait,
    decide,
)
from palaver.settings import RetrySettings

SETTINGS = RetrySettings()
PASSING: tuple[ProviderError, ...] = (
    ConnectionFailed("x"),
    ProviderTimeout("x", clock="first_token"),
    RateLimited("x"),
    Overloaded("x"),
    ServerFailure("x"),
    StreamTruncated("x"),
    ProtocolViolation("x"),
)
FOREVER: tuple[ProviderError, ...] = (
    InvalidRequest("x"),
    RequestTooLarge("x"),
    ContentBlocked("x"),
    AuthenticationFailed("x"),
    PermissionDenied("x"),
    ModelNotFound("x"),
    QuotaExhausted("x"),
    CircuitBreakerOpenError("m", retry_after_s=9),
)
ELSEWHERE = FOREVER[3:]


def after(failure: ProviderError, **given: Any) -> Decision:
    context = {"attempt": 1, "remaining_s": 600.0, "jitter": 0.5, **given}
    return decide(ErrorContext(failure=failure, **context), SETTINGS)


def name(error: object) -> str:
    return type(error).__name__


@pytest.mark.parametrize("failure", PASSING, ids=name)
def test_what_may_pass_is_tried_again(failure: ProviderError) -> None:
    """After a wait within the bounds of its class."""
    decision = after(failure)
    assert isinstance(decision, Wait)
    assert 0 < decision.seconds <= 10


@pytest.mark.parametrize("failure", FOREVER, ids=name)
def test_what_cannot_pass_is_said_at_once(failure: ProviderError) -> None:
    """400, 401, 403, 404, 413, quota, refusal and open breakers are never repeated."""
    assert after(failure) == GiveUp()


@pytest.mark.parametrize("failure", [*PASSING, *FOREVER], ids=name)
def test_the_providers_no_is_obeyed(failure: ProviderError) -> None:
    """`x-should-retry: false` wins over the class."""
    failure = type(failure).__new__(type(failure))
    ProviderError.__init__(failure, "x", should_retry=False)
    assert after(failure) == GiveUp()


@pytest.mark.parametrize("failure", ELSEWHERE, ids=name)
def test_another_model_is_asked_where_that_helps(failure: ProviderError) -> None:
    """A key, a quota, a missing model or an open breaker is this model's affair."""
    assert after(failure, fallback="b:2") == SwitchModel("b:2")


@pytest.mark.parametrize("failure", FOREVER[:3], ids=name)
def test_what_any_model_would_refuse_is_not_taken_to_another(failure: ProviderError) -> None:
    """A bad request or a refusal stays what it is."""
    assert after(failure, fallback="b:2", can_degrade=True) == GiveUp()


def test_with_another_model_nobody_waits_long() -> None:
    """Two attempts at most, and no wait beyond the patience."""
    assert isinstance(after(Overloaded("x"), fallback="b"), Wait)
    assert after(Overloaded("x"), fallback="b", attempt=2) == SwitchModel("b")
    assert after(RateLimited("x", retry_after_s=20), fallback="b") == SwitchModel("b")


def test_a_wait_behind_the_deadline_is_not_begun() -> None:
    """Retry-After of an hour in a turn of ten minutes: said at once, or taken elsewhere."""
    limited = RateLimited("x", retry_after_s=3600)
    assert after(limited) == GiveUp()
    assert after(limited, fallback="b") == SwitchModel("b")
    assert after(limited, can_degrade=True) == Degrade()


def test_retry_after_is_obeyed() -> None:
    """Not a moment earlier, whatever the backoff says."""
    decision = after(RateLimited("x", retry_after_s=42), jitter=0.0)
    assert decision == Wait(42.0)


def test_an_overflow_is_compacted_once() -> None:
    """Then it is an error: waiting or another try changes nothing."""
    assert after(ContextOverflow("x"), can_compact=True) == Compact()
    assert after(ContextOverflow("x")) == GiveUp()


def test_attempts_are_bounded_by_class() -> None:
    """Five for the network, three for rate limits."""
    assert isinstance(after(ConnectionFailed("x"), attempt=4), Wait)
    assert after(ConnectionFailed("x"), attempt=5) == GiveUp()
    assert isinstance(after(RateLimited("x"), attempt=2), Wait)
    assert after(RateLimited("x"), attempt=3) == GiveUp()


def test_without_budget_nothing_is_repeated() -> None:
    """Neither before the first word nor in the middle."""
    assert after(Overloaded("x"), has_budget=False) == GiveUp()
    cut = StreamTruncated("x", in_stream=True)
    assert after(cut, can_resume=True, has_budget=False) == GiveUp()


def test_a_broken_answer_is_continued_twice_at_most() -> None:
    """And only where there is something that can be continued."""
    cut = StreamTruncated("x", in_stream=True)
    assert isinstance(after(cut, can_resume=True), Resume)
    assert isinstance(after(cut, can_resume=True, resumes=1), Resume)
    assert after(cut, can_resume=True, resumes=2) == GiveUp()
    assert after(cut) == GiveUp()


def test_a_broken_answer_is_finished_by_another_model() -> None:
    """Where its own may not be asked for the rest: no budget, an open breaker, its own no, a wait
    that is too long. What cannot be continued is continued by nobody."""
    cut = StreamTruncated("x", in_stream=True)
    assert isinstance(after(cut, can_resume=True, fallback="b:2"), Resume)
    other = SwitchModel("b:2")
    assert after(cut, can_resume=True, fallback="b:2", has_budget=False) == other
    limited = RateLimited("x", in_stream=True, retry_after_s=60)
    assert after(limited, can_resume=True, fallback="b:2") == other
    assert isinstance(after(limited, can_resume=True), Resume)
    refused = Overloaded("x", in_stream=True, should_retry=False)
    assert after(refused, can_resume=True, fallback="b:2") == other
    assert after(cut, fallback="b:2", has_budget=False) == GiveUp()
    assert after(cut, can_resume=True, fallback="b:2", resumes=2) == GiveUp()
    late = after(cut, can_resume=True, fallback="b:2", has_budget=False, remaining_s=0.0)
    assert late == GiveUp()


def test_when_nobody_is_left_less_is_offered() -> None:
    """All models down: the answer degrades where the settings allow it."""
    assert after(ConnectionFailed("x"), attempt=5, can_degrade=True) == Degrade()


@pytest.mark.parametrize("failure", [*PASSING[:-1], FOREVER[-1]], ids=name)
def test_less_is_offered_where_nobody_can_be_reached(failure: ProviderError) -> None:
    """Whoever is down, overloaded or left alone by its breaker, but not one that talks nonsense."""
    assert after(failure, attempt=9, can_degrade=True) == Degrade()
    assert after(failure, attempt=9) == GiveUp()


@pytest.mark.parametrize("failure", [*FOREVER[:-1], PASSING[-1]], ids=name)
def test_what_is_wrong_here_is_not_papered_over(failure: ProviderError) -> None:
    """Keys, quotas, names, requests and refusals are said; so is a breaker that is open for one."""
    assert after(failure, attempt=9, can_degrade=True) == GiveUp()
    behind = CircuitBreakerOpenError("k", retry_after_s=9, cause="provider_auth")
    assert after(behind, can_degrade=True) == GiveUp()
    assert after(behind, can_degrade=True, are_others_away=True) == Degrade()


@given(
    failure=st.sampled_from([*PASSING, *FOREVER, ContextOverflow("x")]),
    attempt=st.integers(1, 10),
    remaining=st.floats(-5, 700),
    jitter=st.floats(0, 1),
    fallback=st.sampled_from(["", "b:2"]),
    retry_after=st.none() | st.floats(0, 10_000),
    budget=st.booleans(),
)
def test_no_decision_waits_beyond_the_deadline(
    failure: ProviderError,
    attempt: int,
    remaining: float,
    jitter: float,
    fallback: str,
    retry_after: float | None,
    budget: bool,
) -> None:
    """Whatever failed, nobody waits longer than the turn may last."""
    failure.retry_after_s = retry_after
    decision = after(
        failure,
        attempt=attempt,
        remaining_s=remaining,
        jitter=jitter,
        fallback=fallback,
        has_budget=budget,
    )
    failure.retry_after_s = None
    if isinstance(decision, Wait | Resume):
        assert budget
        assert 0 <= decision.seconds < remaining
