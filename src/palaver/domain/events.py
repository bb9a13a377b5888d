"""Facts: what has happened to a conversation, in the past tense.

Facts alone feed the reducer. They carry neither number nor time: the store gives those
(`Recorded`). Every type has a version; when a shape changes, the codec upcasts the old one. What
clients are shown while a turn runs is another family, in `stream`, and cannot get in here by
mistake.
"""

from typing import ClassVar, Literal, TypeAlias

import msgspec

from palaver.domain.compaction import Compaction
from palaver.domain.ids import CallId, CompactionId, ConversationId, MessageId, TurnId
from palaver.domain.messages import Block, Message, StopReason, ToolResult
from palaver.domain.outbox import QueuedPrompt
from palaver.domain.values import (
    ClientTool,
    Effect,
    ErrorInfo,
    OutputSchema,
    SessionMetadata,
    SuspendReason,
    TurnOutcome,
    Usage,
    UserPreferences,
)


class _Event(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="type"):
    version: ClassVar[int] = 1


class ConversationCreated(_Event, frozen=True, tag="conversation.created"):
    """A conversation began."""

    preferences: UserPreferences = UserPreferences()
    metadata: SessionMetadata = SessionMetadata()


class PreferencesChanged(_Event, frozen=True, tag="preferences.changed"):
    """A person changed what the conversation runs with. Holds the whole new value."""

    preferences: UserPreferences


class MetadataChanged(_Event, frozen=True, tag="metadata.changed"):
    """Title, tags or custom fields changed. Holds the whole new value."""

    metadata: SessionMetadata


class TurnOpened(_Event, frozen=True, tag="turn.opened"):
    """A turn was accepted. Its message follows in the same transaction."""

    turn: TurnId
    output: OutputSchema | None = None
    """The shape that was asked for; it holds for the whole turn, suspensions included."""
    tools: tuple[ClientTool, ...] = ()
    """Tools that the client runs. One of them hides the tool of ours with its name."""
    own_tools: bool = True
    """False: of our own tools the model gets only those that read what a compaction left out."""


class MessageAdded(_Event, frozen=True, tag="message.added"):
    """A message joined the conversation behind its parent."""

    message: Message
    turn: TurnId | None = None


class ToolClaimed(_Event, frozen=True, tag="tool.claimed"):
    """A tool with an effect is about to run. A claim without a result means: outcome unknown."""

    turn: TurnId
    call_id: CallId
    name: str
    effect: Effect


class ToolResolved(_Event, frozen=True, tag="tool.resolved"):
    """A call has its one result. The reducer gathers results into one message, in call order."""

    turn: TurnId
    result: ToolResult
    duration_s: float = 0.0


class TurnHeld(_Event, frozen=True, tag="turn.held"):
    """The turn waits for a person or a client about these calls."""

    turn: TurnId
    reason: SuspendReason
    calls: tuple[CallId, ...]


class CallDecided(_Event, frozen=True, tag="call.decided"):
    """A person allowed or refused one call of a held turn."""

    turn: TurnId
    call_id: CallId
    approved: bool
    note: str = ""


class AttemptMade(_Event, frozen=True, tag="attempt.made"):
    """One request to a provider ended, well or not. One row of the cost ledger."""

    turn: TurnId
    number: int
    model: str
    usage: Usage
    stop: StopReason | None = None
    error: ErrorInfo | None = None
    request_id: str = ""
    first_token_s: float | None = None
    duration_s: float = 0.0


class TurnClosed(_Event, frozen=True, tag="turn.closed"):
    """The turn ended. Every call of it has a result by now."""

    turn: TurnId
    outcome: TurnOutcome
    error: ErrorInfo | None = None


class HeadMoved(_Event, frozen=True, tag="head.moved"):
    """The conversation goes on behind another message: undo, redo, edit, a switch of branches.

    `head` is the new last message, None for an empty path. What lay behind stays as a branch.
    """

    head: MessageId | None
    reason: Literal["undo", "redo", "switch", "edit"] = "switch"


class MessagePinned(_Event, frozen=True, tag="message.pinned"):
    """A person marked a message as important, or no longer."""

    message: MessageId
    pinned: bool = True


class MessageRedacted(_Event, frozen=True, tag="message.redacted"):
    """A message's content was erased everywhere; the fact that held it was rewritten."""

    message: MessageId
    note: str = ""


class Compacted(_Event, frozen=True, tag="context.compacted"):
    """The window became smaller; the messages stay in the log."""

    compaction: Compaction


class CompactionUndone(_Event, frozen=True, tag="context.compaction_undone"):
    """A person took the newest compaction of the path back: the window is what it was before it,
    and is not made smaller again until it has to be."""

    compaction: CompactionId


class CompactionFailed(_Event, frozen=True, tag="context.compaction_failed"):
    """An automatic compaction changed nothing: it would have gained too little, or gone wrong.

    After `INEFFECTIVE_LIMIT` of them in a row no more are made by themselves."""

    reason: str
    tokens: int = 0
    """Of the window as it stayed."""


class SideRequestMade(_Event, frozen=True, tag="side_request.made"):
    """A request to a model beside any turn ended: a summary, also a wasted one, or a title. One row
    of the cost ledger."""

    purpose: Literal["summary", "title"]
    model: str
    usage: Usage
    error: ErrorInfo | None = None
    is_used: bool = True
    """False: it gave nothing that could be used. Whether a summary was used is told by the usage in
    `Compacted`."""
    duration_s: float = 0.0


class ConversationForked(_Event, frozen=True, tag="conversation.forked"):
    """This conversation begins as another one's: it shares all facts up to number `seq`."""

    origin: ConversationId
    seq: int = msgspec.field(name="until")
    """Written as `until`: in a line of a log `seq` is the number of the fact itself."""


class PromptQueued(_Event, frozen=True, tag="prompt.queued"):
    """A prompt was accepted and waits until a model can be reached."""

    prompt: QueuedPrompt
    is_first: bool = False
    """Before those that wait: it was tried already."""


class PromptEdited(_Event, frozen=True, tag="prompt.edited"):
    """A person changed what a waiting prompt says."""

    prompt: MessageId
    content: tuple[Block, ...]


class PromptWithdrawn(_Event, frozen=True, tag="prompt.withdrawn"):
    """A person took a waiting prompt back; it is never sent."""

    prompt: MessageId


class PromptSent(_Event, frozen=True, tag="prompt.sent"):
    """A waiting prompt became a message. Its turn is opened in the same transaction."""

    prompt: MessageId
    turn: TurnId


class UnknownEvent(msgspec.Struct, frozen=True):
    """An event of a newer Palaver: it is kept and makes the conversation read-only."""

    type: str
    version: int
    raw: bytes


Event: TypeAlias = (
    ConversationCreated
    | PreferencesChanged
    | MetadataChanged
    | TurnOpened
    | MessageAdded
    | ToolClaimed
    | ToolResolved
    | TurnHeld
    | CallDecided
    | AttemptMade
    | TurnClosed
    | HeadMoved
    | MessagePinned
    | MessageRedacted
    | Compacted
    | CompactionUndone
    | CompactionFailed
    | SideRequestMade
    | ConversationForked
    | PromptQueued
    | PromptEdited
    | PromptWithdrawn
    | PromptSent
)


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """A fact with what the store gave it: its number in the conversation (from 1) and its time."""

    seq: int
    at: float
    """Seconds since 1970 (UTC)."""
    event: Event | UnknownEvent
