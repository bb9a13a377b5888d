"""How asking for a message ends, and what is made of an attempt that is over."""

from typing import TypeAlias

import msgspec

from palaver.domain.errors import PalaverError, ProtocolViolation, ProviderError
from palaver.domain.messages import Message, Reasoning, Role, StopReason, Text
from palaver.engine.attempt import Attempt
from palaver.engine.inbox import Stop
from palaver.engine.resume import Standing
from palaver.providers.base import Finished, ResumableStream


class Answered(msgspec.Struct, frozen=True):
    """The message is there."""

    attempt: Attempt
    finished: Finished


class Stopped(msgspec.Struct, frozen=True):
    """A person, the clock or a failure ended it."""

    cause: Stop | PalaverError
    attempt: Attempt | None = None
    """The one that was under way; what it said is kept."""
    kept: Standing = Standing()
    """What had been said, where no attempt was under way."""


Outcome: TypeAlias = Answered | Stopped


def judged(
    attempt: Attempt, *, last: Message | None, is_prefilled: bool
) -> Finished | ProviderError | Stop:
    """What an attempt's end is worth: an answer of nothing is none, unless it stands behind the
    results of tools. `last`: the newest message; `is_prefilled`: the model was given what it had
    said."""
    outcome = attempt.outcome
    if outcome is None:
        raise RuntimeError("the attempt has not ended")
    if not isinstance(outcome, Finished) or not outcome.stop.is_good:
        return outcome
    if attempt.is_silent and not is_prefilled:  # it was asked to say at least the anchor
        return ProtocolViolation("the model did not go on", request_id=outcome.request_id)
    if not outcome.content and (last is None or last.role is not Role.TOOL):
        return ProtocolViolation("the model answered nothing", request_id=outcome.request_id)
    return outcome


def is_kept(attempt: Attempt) -> bool:
    """Whether its provider goes on with the answer although nobody listens."""
    return isinstance(attempt.stream, ResumableStream) and attempt.stream.can_resume


def abandon(attempt: Attempt) -> None:
    """Nobody comes back for its answer."""
    if isinstance(attempt.stream, ResumableStream):
        attempt.stream.abandon()


def is_worth_keeping(attempt: Attempt, finished: Finished) -> bool:
    """Whether the answer may be given again to the same request: a good end, nothing called,
    nothing joined or mended."""
    is_good = finished.stop in (StopReason.END_TURN, StopReason.STOP_SEQUENCE)
    is_plain = all(isinstance(block, Text | Reasoning) for block in finished.content)
    said = any(isinstance(block, Text) for block in finished.content)
    return is_good and is_plain and said and not (finished.sanitised or attempt.flags)
