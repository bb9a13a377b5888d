"""What follows a failed attempt: a pure decision, which one loop carries out.

    failed before its first content                failed in mid-answer
      too long for the window  → Compact, once       may be continued  → Resume, at most twice
      may pass by itself       → Wait                otherwise         → GiveUp: what was shown
      else, or too often       → SwitchModel                             cannot be taken back
      nobody left              → Degrade
      nothing helps            → GiveUp

A provider's word (`Retry-After`, `x-should-retry`) comes before our tables. Whatever is repeated is
paid from one budget per model, so that an outage is not made worse from here.
"""

from typing import TypeAlias

import msgspec

from palaver.domain.errors import ProviderError
from palaver.recovery.classification import ErrorClassification, classify, traits
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
    """The next model of the chain that is not left alone by its breaker."""
    can_compact: bool = False
    """The window has not been made smaller for this request yet."""
    can_resume: bool = False
    """What was shown can be continued: there is text, and no shape was asked for."""
    resumes: int = 0
    """Streams continued in this turn so far."""
    can_degrade: bool = False
    """Whoever asks can answer with less. Turns cannot yet, and leave it False."""

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
    return Degrade() if context.can_degrade and traits(kind).elsewhere else GiveUp()


def _in_stream(context: ErrorContext, settings: RetrySettings) -> Decision:
    can = context.can_resume and context.resumes < settings.resumes and context.has_budget
    if not can or not traits(context.kind).passes or context.failure.should_retry is False:
        return GiveUp()
    seconds = policy_for(context, settings).backoff(1, jitter=context.jitter)
    seconds = max(seconds, context.failure.retry_after_s or 0.0)
    return GiveUp() if seconds >= context.remaining_s else Resume(seconds)


def _waiting(context: ErrorContext, settings: RetrySettings) -> float | None:
    """Seconds until the same may be tried again, or None where it may not."""
    failure = context.failure
    policy = policy_for(context, settings)
    if context.attempt >= policy.attempts or not context.has_budget:
        return None
    seconds = policy.backoff(context.attempt, jitter=context.jitter)
    if failure.retry_after_s is not None:
        seconds = max(failure.retry_after_s, 0.0) + context.jitter * 0.25
    # Rather ask another model than let a person wait for this one.
    longest = settings.patience_s if context.fallback else context.remaining_s
    return None if seconds >= min(longest, context.remaining_s) else seconds


def policy_for(context: ErrorContext, settings: RetrySettings) -> RetryPolicy:
    """The bounds for this failure: fewer attempts where another model stands by."""
    policy = create_adaptive_policy(context.failure, settings)
    if not context.fallback:
        return policy
    return msgspec.structs.replace(policy, attempts=min(policy.attempts, _PATIENCE_WITH_FALLBACK))
