"""What a model that writes summaries is asked, and what it may answer: the port to it."""

from enum import StrEnum
from typing import Protocol

import msgspec

from palaver.domain.messages import StopReason
from palaver.domain.values import ErrorInfo, Usage


class Purpose(StrEnum):
    """Which round of the work a request belongs to."""

    WHOLE = "whole"
    PART = "part"
    """Notes on a part of a history that is too long for one request."""
    MERGE = "merge"
    """One summary of all the notes."""
    REPAIR = "repair"
    """The same again, without what was wrong with it."""


class Limits(msgspec.Struct, frozen=True):
    """Of the model that writes, in tokens; None where unknown."""

    window: int | None = None
    max_output: int | None = None


class SummaryRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request: a system prompt and one message of the user. No tools are offered."""

    system: str
    prompt: str
    max_tokens: int
    """Of the answer, reasoning included."""
    purpose: Purpose
    limits: Limits = Limits()
    """What the request was made to fit."""


class SummaryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back. An error is a value here: nothing that a summariser does ends a turn."""

    text: str = ""
    stop: StopReason = StopReason.END_TURN
    usage: Usage = Usage()
    model: str = ""
    error: ErrorInfo | None = None
    has_reasoned: bool = False
    """Whether there was reasoning beside the text, which may have taken all of `max_tokens`."""


class Summariser(Protocol):
    """A model that writes summaries. Makes its own retries; raises nothing but CancelledError."""

    async def __call__(self, request: SummaryRequest) -> SummaryAnswer:
        """The answer to `request`, good or bad."""
        ...
