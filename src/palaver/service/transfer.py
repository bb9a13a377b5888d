"""Conversations in and out: facts from what a reader gave, text from what the log holds."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import msgspec

from palaver.domain.errors import InvalidInput
from palaver.domain.events import ConversationCreated, Event, HeadMoved, MessageAdded, Recorded
from palaver.domain.ids import BlobId, ConversationId, MessageId
from palaver.domain.reducer import apply
from palaver.domain.state import ConversationState
from palaver.domain.values import SessionMetadata, TurnOutcome, UserPreferences
from palaver.engine.closing import close_turn
from palaver.service.branching import everywhere
from palaver.service.redaction import blobs_of
from palaver.travel.base import Imported, Repair

ExportFormat: TypeAlias = Literal["markdown", "jsonl", "openai", "html"]
IMPORTED = "This call did not finish before the conversation was exported."


class ImportReport(msgspec.Struct, frozen=True):
    """What came in: where it is now, what it was, and what had to be mended."""

    conversation: ConversationId
    format: str
    title: str
    messages: int
    content_hash: str
    repairs: tuple[Repair, ...] = ()


def facts_of(imported: Imported) -> tuple[Event, ...]:
    """The facts of a conversation that was read from elsewhere, branches included."""
    preferences = UserPreferences(system=imported.system)
    custom = {**imported.custom, "imported_from": imported.format}
    if imported.created_at is not None:
        custom["began_at"] = datetime.fromtimestamp(imported.created_at, UTC).isoformat()
    metadata = SessionMetadata(imported.title, custom=custom)
    facts: list[Event] = [ConversationCreated(preferences, metadata)]
    head: MessageId | None = None
    for message in imported.messages:
        if message.parent != head:
            facts.append(HeadMoved(message.parent))
        facts.append(MessageAdded(message))
        head = message.id
    if imported.head != head:
        facts.append(HeadMoved(imported.head))
    return tuple(facts)


def copied(records: Sequence[Recorded]) -> tuple[Event, ...]:
    """The facts of an exported log, to be written again; a turn that was open is ended.

    Raises InvalidInput for a log that this version cannot continue, InvalidTransition for one that
    makes no sense.
    """
    state = ConversationState(ConversationId("import"))
    facts: list[Event] = []
    for recorded in records:
        if not isinstance(recorded.event, Event):
            raise InvalidInput(
                f"fact {recorded.seq} is of a newer Palaver ({recorded.event.type})",
                hint="Upgrade Palaver, then import again.",
            )
        facts.append(recorded.event)
        state = apply(state, recorded.event)
    if state.turn is not None:
        facts += close_turn(state, state.turn.id, TurnOutcome.INTERRUPTED, why=IMPORTED)
    return tuple(facts)


def blobs_in(state: ConversationState) -> frozenset[BlobId]:
    """Every blob that a message of any branch refers to."""
    return frozenset(b for m in everywhere(state) for b in blobs_of(m.content))


def folded(facts: Iterable[Event]) -> ConversationState:
    """What these facts make of an empty conversation."""
    state = ConversationState(ConversationId("import"))
    for fact in facts:
        state = apply(state, fact)
    return state
