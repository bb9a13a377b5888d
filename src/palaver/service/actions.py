"""Commands: what somebody wants to happen to a conversation. `decide` turns them into facts."""

from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from palaver.domain.errors import InvalidInput
from palaver.domain.events import (
    CallDecided,
    Event,
    MessageAdded,
    MetadataChanged,
    PreferencesChanged,
    TurnOpened,
)
from palaver.domain.ids import CallId, TurnId
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


class DecideCall(msgspec.Struct, frozen=True):
    """Allow or refuse a call that waits for approval; `note` is told to the model."""

    call_id: CallId
    approved: bool
    note: str = ""


class RecordFacts(msgspec.Struct, frozen=True):
    """What a running turn found to be so. No middleware sees it: facts are not negotiable."""

    facts: tuple[Event, ...]


StateAction: TypeAlias = SendMessage | SetPreferences | SetMetadata | DecideCall | RecordFacts


def decide(state: ConversationState, action: StateAction) -> tuple[Event, ...]:
    """The facts that carrying out `action` on `state` makes. Pure.

    Raises InvalidInput where the action does not fit the state.
    """
    match action:
        case SendMessage(turn=turn, message=message):
            parent = None if state.last is None else state.last.id
            return (TurnOpened(turn), MessageAdded(replace(message, parent=parent), turn))
        case SetPreferences(preferences=preferences):
            return () if preferences == state.preferences else (PreferencesChanged(preferences),)
        case SetMetadata(metadata=metadata):
            return () if metadata == state.metadata else (MetadataChanged(metadata),)
        case DecideCall(call_id=call_id, approved=approved, note=note):
            if state.turn is None or call_id not in state.turn.waiting:
                raise InvalidInput(
                    f"no call {call_id!r} waits for a decision",
                    hint="The conversation's open turn lists the calls that wait.",
                )
            return (CallDecided(state.turn.id, call_id, approved, note),)
        case RecordFacts(facts=facts):
            return facts
