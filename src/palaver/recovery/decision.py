"""What follows a failed attempt: a pure decision, which one loop carries out.

    failed before its first content                failed in mid-answer, at most twice
      too long for the window  → Compact, once       may be continued   → Resume
      may pass by itself       → Wait                not by this model  → SwitchModel
      else, or too often       → SwitchModel         otherwise          → GiveUp: what was shown
      nobody can be reached    → Degrade                                  cannot be taken back
      nothing helps            → GiveUp

A provider's word (`Retry-After`, `x-should-retry`) comes before our tables. Whatever is repeated is
paid from one budget per model, so that an outage is not made worse from here.
"""

from typing import TypeAlias

import msgspec

from palaver.domain.errors import ProviderError
from palaver.recovery.classification import (
    ErrorClassification,
    classify,
    is_unreachable,
    traits,
)
from palaver.recovery.policy import RetryPolicy, create_adaptive_policy
from palaver.settings import RetrySettings


class Wait(msgspec.Struct, frozen=True):
    """Try the same again after `seconds`."""

    seconds: float


class Compact(msgspec.Struct, frozen=True):
    """Make the window smaller, then try again."""


class SwitchModel(msgspec.Struct, frozen=True):
    """Go on with another model of the chain."""

    model: str


class Resume(msgspec.Struct, frozen=True):
    """Continue the answer where it broke, after `seconds`."""

    seconds: float


class Degrade(msgspec.Struct, frozen=True):
    """No model can be reached: answer with less, as the settings allow."""


class GiveUp(msgspec.Struct, frozen=True):
    """Say so at once."""


Decision: TypeAlias = Wait | Compact | SwitchModel | Resume | Degrade | GiveUp


class ErrorContext(msgspec.Struct, frozen=True, kw_only=True):
    """A failed attempt and what is left to do about it."""

    failure: ProviderError
    attempt: int
    """Its number among the attempts of this request with this model, from 1."""
    remaining_s: float
    """Until the turn's deadline."""
    jitter: float
    """A chance from 0 to 1."""
    has_budget: bool = True
    """Whether the model's retry budget allows anything to be repeated."""
    fallback: str = ""
    """The next model of the chain that is not left alone by its breaker; in mid-answer, one that
    can go on with what was said."""
    can_compact: bool = False
    """The window has not been made smaller for this request yet."""
    can_resume: bool = False
    """What was shown can be continued: there is text, and no shape was asked for."""
    resumes: int = 0
    """Streams continued in this turn so far."""
    can_degrade: bool = False
    """Whoever asks can answer with less."""
    are_others_away: bool = False
    """Another model of the chain could not be reached."""

    @property
    def kind(self) -> ErrorClassification:
        """The class of the failure."""
        return classify(self.failure)


_PATIENCE_WITH_FALLBACK = 2
"""Attempts before another model is asked, where there is one: a person waits."""


def decide(context: ErrorContext, settings: RetrySettings) -> Decision:
    """What follows. Never Wait or Resume behind the deadline or without budget."""
    if context.failure.in_stream:
        return _in_stream(context, settings)
    kind = context.kind
    if kind is ErrorClassification.CONTEXT_OVERFLOW:
        return Compact() if context.can_compact else GiveUp()
    waiting = _waiting(context, settings)
    if waiting is not None:
        return Wait(waiting)
    if context.fallback and traits(kind).elsewhere:
        return SwitchModel(context.fallback)
    return Degrade() if context.can_degrade and _is_nobody_there(context) else GiveUp()


def _is_nobody_there(context: ErrorContext) -> bool:
    """Not of a wrong key or a bad request: those are said, unless another model is away."""
    are_others = context.are_others_away and traits(context.kind).elsewhere
    return are_others or is_unreachable(context.failure)


def _in_stream(context: ErrorContext, settings: RetrySettings) -> Decision:
    if not context.can_resume or context.resumes >= settings.resumes:
        return GiveUp()
    waiting = _waiting_in_stream(context, settings)
    if waiting is not None:
        return Resume(waiting)
    can_go_on = context.fallback and traits(context.kind).elsewhere and context.remaining_s > 0
    return SwitchModel(context.fallback) if can_go_on else GiveUp()


def _waiting_in_stream(context: ErrorContext, settings: RetrySettings) -> float | None:
    """Seconds until the model itself may be asked for the rest, or None where it may not."""
    failure = context.failure
    if not context.has_budget or not traits(context.kind).passes or failure.should_retry is False:
        return None
    seconds = policy_for(context, settings).backoff(1, jitter=context.jitter)
    return _unless_too_long(max(seconds, failure.retry_after_s or 0.0), context, settings)


def _waiting(context: ErrorContext, settings: RetrySettings) -> float | None:
    """Seconds until the same may be tried again, or None where it may not."""
    failure = context.failure
    policy = policy_for(context, settings)
    if context.attempt >= policy.attempts or not context.has_budget:
        return None
    seconds = policy.backoff(context.attempt, jitter=context.jitter)
    if failure.retry_after_s is not None:
        seconds = max(failure.retry_after_s, 0.0) + context.jitter * 0.25
    return _unless_too_long(seconds, context, settings)


def _unless_too_long(
    seconds: float, context: ErrorContext, settings: RetrySettings
) -> float | None:
    # Rather ask another model than let a person wait for this one.
    longest = settings.patience_s if context.fallback else context.remaining_s
    return None if seconds >= min(longest, context.remaining_s) else seconds


def policy_for(context: ErrorContext, settings: RetrySettings) -> RetryPolicy:
    """The bounds for this failure: fewer attempts where another model stands by."""
    policy = create_adaptive_policy(context.failure, settings)
    if not context.fallback:
        return policy
    return msgspec.structs.replace(policy, attempts=min(policy.attempts, _PATIENCE_WITH_FALLBACK))
