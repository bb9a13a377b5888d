"""What a client is shown while a turn runs, in the order in which it happens.

    TurnStarted
      ( ModelSwitched?  ServiceDegraded?
        CompactionStarted?  ContextCompacted?  CompactionSkipped?  HistoryAdapted?
        AttemptStarted
          ( TextDelta | ReasoningDelta | ToolRequested | ToolArgumentsDelta
          | ToolStarted | ToolProgress | ToolFinished )*
          ServiceRestored?  MessageCompleted?  UsageReported?  BlockReset*  RetryScheduled?
          ( ToolStarted | ToolProgress | ToolFinished )*       of calls that waited for the message
        TurnSuspended? )*
    TurnCompleted | TurnFailed | TurnCancelled | TurnInterrupted

These events are numbered in the turn's run log; they never enter the conversation log. The text of
a message is the concatenation of its `TextDelta`s, also where its stream broke and was continued;
`MessageCompleted` repeats it whole. There is exactly one terminal event, and it is the last.
"""

from typing import Literal, TypeAlias

import msgspec

from palaver.domain.degradation import DegradationLevel, Feature
from palaver.domain.ids import CallId, CompactionId, ConversationId, MessageId, TurnId
from palaver.domain.messages import Message, StopReason, ToolCall, ToolResult
from palaver.domain.values import ErrorInfo, SuspendReason, Usage


class _Shown(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", gc=False):
    pass


class TurnStarted(_Shown, frozen=True, gc=False, tag="turn.started"):
    """The message is stored and the turn runs."""

    turn: TurnId
    conversation: ConversationId
    message: MessageId
    """The user message that the turn answers."""


class AttemptStarted(_Shown, frozen=True, gc=False, tag="attempt.started"):
    """A request goes out to a model. `number` counts from 1 within the turn. `continues`: what it
    says goes on where the attempt before it broke."""

    number: int
    model: str
    continues: bool = False


class RetryScheduled(_Shown, frozen=True, gc=False, tag="attempt.retrying"):
    """The attempt failed; the next one follows in `wait_s` seconds. `continues`: the answer broke
    in the middle and goes on where it broke; otherwise nothing of it was shown that counts."""

    number: int
    wait_s: float
    error: ErrorInfo
    continues: bool = False


class BlockReset(_Shown, frozen=True, gc=False, tag="block.reset"):
    """What was shown of this block does not count: the stream broke before the message was
    complete, and the block is made anew. Text is never reset. `call_id` names a tool call."""

    kind: Literal["reasoning", "tool_call"]
    call_id: CallId | None = None


class ModelSwitched(_Shown, frozen=True, gc=False, tag="model.switched"):
    """Another model of the chain goes on; `error` says why the one before it does not."""

    previous: str
    model: str
    error: ErrorInfo


class HistoryAdapted(_Shown, frozen=True, gc=False, tag="history.adapted"):
    """The conversation goes on with another provider, which is not sent these blocks of the others:
    `reasoning`, which only its maker can read, and `foreign` ones, which only its maker knows."""

    model: str
    reasoning: int = 0
    foreign: int = 0


class ServiceDegraded(_Shown, frozen=True, gc=False, tag="service.degraded"):
    """From here on there is less than the whole service, or another part of it. Shown when the
    level changes, not with every attempt. It is tried again by itself after `retry_after_s`
    seconds; 0: with the next message."""

    level: DegradationLevel
    available: tuple[Feature, ...]
    unavailable: tuple[Feature, ...]
    error: ErrorInfo
    retry_after_s: float = 0.0


class ServiceRestored(_Shown, frozen=True, gc=False, tag="service.restored"):
    """All of the service is there again."""

    previous: DegradationLevel


class CompactionStarted(_Shown, frozen=True, gc=False, tag="context.compacting"):
    """The window is made smaller before the next request. `is_prepared`: no model is waited for."""

    tokens: int
    """In the window now."""
    reason: str = "auto"
    is_prepared: bool = False


class ContextCompacted(_Shown, frozen=True, gc=False, tag="context.compacted"):
    """The window is smaller; nothing was lost from the record. Tokens are of the messages."""

    compaction: CompactionId
    strategy: str
    tiers: tuple[str, ...]
    tokens_before: int
    tokens_after: int
    reason: str = "auto"
    model: str = ""
    """Who wrote the summary; empty when no model did."""


class CompactionSkipped(_Shown, frozen=True, gc=False, tag="context.compaction_skipped"):
    """An automatic compaction changed nothing. `has_stopped`: no more are made by themselves until
    one is asked for."""

    reason: str
    tokens: int = 0
    has_stopped: bool = False


class TextDelta(_Shown, frozen=True, gc=False, tag="text.delta"):
    """The answer grew by `text`."""

    text: str


class ReasoningDelta(_Shown, frozen=True, gc=False, tag="reasoning.delta"):
    """The model's visible thinking grew by `text`."""

    text: str


class ToolRequested(_Shown, frozen=True, gc=False, tag="tool.requested"):
    """The model begins a tool call; its arguments are still coming."""

    call_id: CallId
    name: str


class ToolArgumentsDelta(_Shown, frozen=True, gc=False, tag="tool.arguments"):
    """The arguments (JSON text) of the call grew by `text`."""

    call_id: CallId
    text: str


class ToolStarted(_Shown, frozen=True, gc=False, tag="tool.started"):
    """The tool runs. `early`: the model is still speaking."""

    call_id: CallId
    name: str
    arguments: str
    early: bool = False


class ToolProgress(_Shown, frozen=True, gc=False, tag="tool.progress"):
    """The running tool reports something. `fraction` is 0 to 1, or None where unknown."""

    call_id: CallId
    text: str = ""
    fraction: float | None = None


class ToolFinished(_Shown, frozen=True, gc=False, tag="tool.finished"):
    """The call has its result."""

    call_id: CallId
    name: str
    result: ToolResult
    duration_s: float = 0.0


class MessageCompleted(_Shown, frozen=True, gc=False, tag="message.completed"):
    """A message is stored: an assistant message, also a partial one (see its flags)."""

    message: Message


class UsageReported(_Shown, frozen=True, gc=False, tag="usage"):
    """What the attempt used. `cost_usd` is None where the price is not known."""

    usage: Usage
    model: str
    cost_usd: float | None = None


class TurnSuspended(_Shown, frozen=True, gc=False, tag="turn.suspended"):
    """The turn waits, durably, for an answer about these calls."""

    reason: SuspendReason
    calls: tuple[ToolCall, ...]


class TurnCompleted(_Shown, frozen=True, gc=False, tag="turn.completed"):
    """Terminal: the model ended its answer; `stop` says how (a limit or a refusal among them)."""

    turn: TurnId
    stop: StopReason = StopReason.END_TURN
    usage: Usage = Usage()
    cost_usd: float | None = None


class TurnFailed(_Shown, frozen=True, gc=False, tag="turn.failed"):
    """Terminal: the turn ended with an error. What had come is stored as a partial message."""

    turn: TurnId
    error: ErrorInfo
    usage: Usage = Usage()
    kept: MessageId | None = None
    """No model could be reached: the question waits in the outbox under this id, and is no longer
    in the history."""


class TurnCancelled(_Shown, frozen=True, gc=False, tag="turn.cancelled"):
    """Terminal: somebody cancelled the turn. What had come is stored as a partial message."""

    turn: TurnId
    usage: Usage = Usage()


class TurnInterrupted(_Shown, frozen=True, gc=False, tag="turn.interrupted"):
    """Terminal: the process that ran the turn died. Stored history is valid and complete."""

    turn: TurnId


StreamEvent: TypeAlias = (
    TurnStarted
    | AttemptStarted
    | RetryScheduled
    | BlockReset
    | ModelSwitched
    | ServiceDegraded
    | ServiceRestored
    | CompactionStarted
    | ContextCompacted
    | CompactionSkipped
    | HistoryAdapted
    | TextDelta
    | ReasoningDelta
    | ToolRequested
    | ToolArgumentsDelta
    | ToolStarted
    | ToolProgress
    | ToolFinished
    | MessageCompleted
    | UsageReported
    | TurnSuspended
    | TurnCompleted
    | TurnFailed
    | TurnCancelled
    | TurnInterrupted
)

Terminal: TypeAlias = TurnCompleted | TurnFailed | TurnCancelled | TurnInterrupted
TERMINAL = (TurnCompleted, TurnFailed, TurnCancelled, TurnInterrupted)
"""For `isinstance`."""
