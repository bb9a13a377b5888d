"""Commands: what somebody wants to happen to a conversation. `decide` turns them into facts."""

from typing import Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from palaver.domain.errors import ConversationBusy, InvalidInput
from palaver.domain.events import (
    CallDecided,
    Event,
    HeadMoved,
    MessageAdded,
    MessagePinned,
    MetadataChanged,
    PreferencesChanged,
    TurnOpened,
)
from palaver.domain.ids import CallId, MessageId, TurnId
from palaver.domain.messages import Message
from palaver.domain.state import ConversationState
from palaver.domain.values import SessionMetadata, UserPreferences


class SendMessage(msgspec.Struct, frozen=True):
    """Say something behind the last message: opens a turn. The same `idempotency_key` never opens a
    second one."""

    turn: TurnId
    message: Message
    idempotency_key: str | None = None


class SetPreferences(msgspec.Struct, frozen=True):
    """Change what the conversation runs with."""

    preferences: UserPreferences


class SetMetadata(msgspec.Struct, frozen=True):
    """Change title, tags or custom fields."""

    metadata: SessionMetadata


class NameConversation(msgspec.Struct, frozen=True):
    """Give it a title that was taken from what was said. Nothing happens when the first message is
    no longer `read`: it may have been redacted meanwhile, and its title with it."""

    title: str
    read: Message


class DecideCall(msgspec.Struct, frozen=True):
    """Allow or refuse a call that waits for approval; `note` is told to the model."""

    call_id: CallId
    approved: bool
    note: str = ""


MoveReason: TypeAlias = Literal["undo", "redo", "switch", "edit"]


class MoveHead(msgspec.Struct, frozen=True):
    """Go on behind another message; None: from the beginning."""

    head: MessageId | None
    reason: MoveReason = "switch"


class EditMessage(msgspec.Struct, frozen=True):
    """Say `message` behind `parent`, in a branch beside what was said there: opens a turn."""

    turn: TurnId
    message: Message
    parent: MessageId | None


class AnswerAgain(msgspec.Struct, frozen=True):
    """Answer a user message again: opens a turn."""

    turn: TurnId
    question: MessageId


class PinMessage(msgspec.Struct, frozen=True):
    """Mark a message as important, or no longer."""

    message: MessageId
    pinned: bool = True


class RecordFacts(msgspec.Struct, frozen=True):
    """What a running turn found to be so. No middleware sees it: facts are not negotiable."""

    facts: tuple[Event, ...]


StateAction: TypeAlias = (
    SendMessage
    | EditMessage
    | AnswerAgain
    | MoveHead
    | PinMessage
    | SetPreferences
    | SetMetadata
    | NameConversation
    | DecideCall
    | RecordFacts
)
OPENING = (EditMessage, AnswerAgain)
"""Actions that open a turn by an append; SendMessage has `accept`, which knows idempotency keys."""


def decide(state: ConversationState, action: StateAction) -> tuple[Event, ...]:
    """The facts that carrying out `action` on `state` makes. Pure.

    Raises InvalidInput where the action does not fit the state.
    """
    match action:
        case SendMessage(turn=turn, message=message):
            parent = None if state.last is None else state.last.id
            return (TurnOpened(turn), MessageAdded(replace(message, parent=parent), turn))
        case EditMessage(turn=turn, message=message, parent=parent):
            said = MessageAdded(replace(message, parent=parent), turn)
            return (*_moved(state, parent, "edit"), TurnOpened(turn), said)
        case AnswerAgain(turn=turn, question=question):
            return (*_moved(state, question, "edit"), TurnOpened(turn))
        case MoveHead(head=head, reason=reason):
            return _moved(state, head, reason)
        case PinMessage(message=message_id, pinned=pinned):
            known = (message_id in state.pins) == pinned
            return () if known else (MessagePinned(message_id, pinned),)
        case SetPreferences(preferences=preferences):
            return () if preferences == state.preferences else (PreferencesChanged(preferences),)
        case SetMetadata(metadata=metadata):
            return () if metadata == state.metadata else (MetadataChanged(metadata),)
        case NameConversation(title=title, read=read):
            metadata = replace(state.metadata, title=title)
            is_stale = not state.messages or state.messages[0] != read
            return () if is_stale or not title else (MetadataChanged(metadata),)
        case DecideCall(call_id=call_id, approved=approved, note=note):
            if state.turn is None or call_id not in state.turn.waiting:
                raise InvalidInput(
                    f"no call {call_id!r} waits for a decision",
                    hint="The conversation's open turn lists the calls that wait.",
                )
            return (CallDecided(state.turn.id, call_id, approved, note),)
        case RecordFacts(facts=facts):
            return facts


def _moved(
    state: ConversationState, head: MessageId | None, reason: MoveReason
) -> tuple[Event, ...]:
    if state.turn is not None:
        raise ConversationBusy("a turn of this conversation is still open")
    here = None if state.last is None else state.last.id
    return () if head == here else (HeadMoved(head, reason),)
