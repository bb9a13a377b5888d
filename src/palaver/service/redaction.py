"""Erasing one message from the facts that hold it."""

from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from palaver.domain.compaction import erased
from palaver.domain.events import (
    Compacted,
    Event,
    MessageAdded,
    MessageRedacted,
    MetadataChanged,
    PromptEdited,
    PromptQueued,
    PromptSent,
    Recorded,
    ToolResolved,
)
from palaver.domain.ids import BlobId, MessageId, TurnId
from palaver.domain.messages import Block, File, Image, Message, Role, ToolResult
from palaver.domain.redaction import redacted, redacted_result
from palaver.domain.state import ConversationState, tool_message_id


class RedactionReceipt(msgspec.Struct, frozen=True):
    """What was erased: `facts` rewritten in the log, `run_logs` deleted, `blobs` deleted because
    nothing else refers to them. Index and snapshots hold nothing of it any more."""

    message: MessageId
    facts: tuple[int, ...]
    run_logs: tuple[TurnId, ...]
    blobs: tuple[BlobId, ...]
    at: float


class Redaction(msgspec.Struct, frozen=True):
    """What has to be rewritten."""

    replaced: tuple[tuple[int, Event], ...]
    turns: tuple[TurnId, ...]
    blobs: frozenset[BlobId]
    titles: frozenset[str] = frozenset()
    """Titles that were taken from the message."""
    said_at: int | None = None
    """The number of the first fact that holds the message; None where there is none."""


def plan(records: Sequence[Recorded], message: MessageId) -> Redaction:
    """The facts that hold `message`, rewritten; empty when none does."""
    replaced: list[tuple[int, Event]] = []
    turns: dict[TurnId, None] = {}
    blobs: set[BlobId] = set()
    titles: set[str] = set()
    answered, said = MessageId(""), ""
    said_at: int | None = None
    prompts = _prompts_of(records, message)
    for recorded in records:
        event = recorded.event
        if isinstance(event, PromptQueued | PromptEdited) and _prompt_of(event) in prompts:
            said_at = said_at or recorded.seq
            replaced.append((recorded.seq, _without_words(event)))
        if isinstance(event, MessageAdded):
            if event.message.role is Role.ASSISTANT:
                answered = tool_message_id(event.message.id)
            if event.message.id == message:
                said = " ".join(event.message.text.split())
                said_at = said_at or recorded.seq
                replaced.append((recorded.seq, replace(event, message=redacted(event.message))))
                blobs |= blobs_of(event.message.content)
                turns |= {} if event.turn is None else {event.turn: None}
        elif isinstance(event, ToolResolved) and answered == message:
            said_at = said_at or recorded.seq
            replaced.append((recorded.seq, replace(event, result=redacted_result(event.result))))
            blobs |= blobs_of((event.result,))
            turns[event.turn] = None
        elif isinstance(event, MetadataChanged) and _is_from(event.metadata.title, said):
            titles.add(event.metadata.title)
            untitled = replace(event.metadata, title="")
            replaced.append((recorded.seq, MetadataChanged(untitled)))
    replaced += quotes(records)
    return Redaction(tuple(replaced), tuple(turns), frozenset(blobs), frozenset(titles), said_at)


def _prompts_of(records: Sequence[Recorded], message: MessageId) -> set[MessageId]:
    """The names under which the message waited in the outbox."""
    names, taken = {message}, dict[TurnId, MessageId]()
    for event in (recorded.event for recorded in records):
        if isinstance(event, PromptSent):
            taken[event.turn] = event.prompt
        elif isinstance(event, MessageAdded) and event.message.id == message and event.turn:
            names |= {taken[event.turn]} if event.turn in taken else set()
    return names


def _prompt_of(event: PromptQueued | PromptEdited) -> MessageId:
    return event.prompt if isinstance(event, PromptEdited) else event.prompt.id


def _without_words(event: PromptQueued | PromptEdited) -> Event:
    if isinstance(event, PromptEdited):
        return replace(event, content=redacted(Message(Role.USER, event.content)).content)
    return replace(event, prompt=replace(event.prompt, message=redacted(event.prompt.message)))


def quotes(records: Iterable[Recorded]) -> list[tuple[int, Event]]:
    """The compactions of a log without what they wrote: a summary may say again what a message
    said. Those that say nothing any more are left out."""
    made = ((r.seq, r.event.compaction) for r in records if isinstance(r.event, Compacted))
    return [(seq, Compacted(erased(c))) for seq, c in made if erased(c) != c]


def _is_from(title: str, said: str) -> bool:
    return bool(title and said) and title.rstrip("…") in said


def after_redaction(
    state: ConversationState, planned: Redaction, message: MessageId, note: str
) -> tuple[Event, ...]:
    """The facts to append: the redaction, and no title where it was taken from the message."""
    redacted_fact = MessageRedacted(message, note)
    if state.metadata.title not in planned.titles:
        return (redacted_fact,)
    return (redacted_fact, MetadataChanged(replace(state.metadata, title="")))


def blobs_of(content: Iterable[Block]) -> set[BlobId]:
    """The blobs that blocks refer to."""
    found: set[BlobId] = set()
    for block in content:
        if isinstance(block, Image | File) and block.blob is not None:
            found.add(block.blob)
        elif isinstance(block, ToolResult):
            found |= blobs_of(block.content)
            if block.full is not None:
                found.add(block.full)
    return found
