"""A turn's stream, collected."""

from typing import Any

import msgspec

from palaver.domain.ids import MessageId, TurnId
from palaver.domain.messages import Message, Role, StopReason, ToolCall
from palaver.domain.stream import (
    AttemptStarted,
    MessageCompleted,
    RetryScheduled,
    StreamEvent,
    TextDelta,
    ToolFinished,
    TurnCancelled,
    TurnCompleted,
    TurnFailed,
    TurnInterrupted,
    TurnSuspended,
    UsageReported,
)
from palaver.domain.values import ErrorInfo, TurnOutcome, Usage


class Reply(msgspec.Struct, frozen=True):
    """What a turn said and cost.

    `text`: everything that the model said in this turn. `message`: its last message. `outcome` is
    None while the turn is suspended; then `waiting` holds the calls to decide. `cost`: US dollars,
    None where a price is unknown. `output`: the parsed value, when a shape was asked for.
    """

    turn: TurnId
    text: str = ""
    message: Message | None = None
    outcome: TurnOutcome | None = None
    stop: StopReason | None = None
    usage: Usage = Usage()
    cost: float | None = None
    tools: tuple[ToolFinished, ...] = ()
    waiting: tuple[ToolCall, ...] = ()
    error: ErrorInfo | None = None
    output: Any = None

    @property
    def is_complete(self) -> bool:
        """Whether the model ended its answer as it meant to: no limit, cancel or failure."""
        return self.outcome is TurnOutcome.COMPLETED and self.stop is not None and self.stop.is_good


class Collector:
    """Folds a turn's events into a `Reply`."""

    def __init__(self, turn: TurnId) -> None:
        self._turn = turn
        self._text: list[str] = []
        self._before_attempt = 0
        """Pieces of text that were there when the present answer began."""
        self._tools: list[ToolFinished] = []
        self._message: Message | None = None
        self._usage = Usage()
        self._cost: float | None = 0.0
        self._stop: StopReason | None = None
        self._outcome: TurnOutcome | None = None
        self._waiting: tuple[ToolCall, ...] = ()
        self._error: ErrorInfo | None = None
        self.kept: MessageId | None = None
        """The question's name in the outbox, where nobody could be reached."""

    def add(self, event: StreamEvent) -> None:
        """Take the next event."""
        match event:
            case AttemptStarted(continues=False):
                self._before_attempt = len(self._text)
            case RetryScheduled(continues=False):  # the answer begins anew
                del self._text[self._before_attempt :]
            case TextDelta(text=text):
                self._text.append(text)
            case MessageCompleted(message=message) if message.role is Role.ASSISTANT:
                self._message, self._stop = message, message.stop
            case ToolFinished():
                self._tools.append(event)
            case UsageReported(usage=usage, cost_usd=cost):
                self._usage = self._usage + usage
                known = self._cost is not None and cost is not None
                self._cost = (self._cost or 0.0) + (cost or 0.0) if known else None
            case TurnSuspended(calls=calls):
                self._waiting = calls
            case TurnCompleted(stop=stop):
                self._outcome, self._stop = TurnOutcome.COMPLETED, stop
            case TurnFailed(error=error, kept=kept):
                self._outcome, self._error, self.kept = TurnOutcome.FAILED, error, kept
            case TurnCancelled():
                self._outcome = TurnOutcome.CANCELLED
            case TurnInterrupted():
                self._outcome = TurnOutcome.INTERRUPTED
            case _:
                pass

    def reply(self) -> Reply:
        """What has been collected."""
        return Reply(
            turn=self._turn,
            text="".join(self._text),
            message=self._message,
            outcome=self._outcome,
            stop=self._stop,
            usage=self._usage,
            cost=self._cost,
            tools=tuple(self._tools),
            waiting=() if self._outcome else self._waiting,
            error=self._error,
        )
