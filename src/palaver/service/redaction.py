"""Erasing one message from the facts that hold it."""

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from palaver.domain.events import Event, MessageAdded, Recorded, ToolResolved
from palaver.domain.ids import BlobId, MessageId, TurnId
from palaver.domain.messages import Block, File, Image, Role, ToolResult
from palaver.domain.redaction import redacted, redacted_result
from palaver.domain.state import tool_message_id


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


def plan(records: Iterable[Recorded], message: MessageId) -> Redaction:
    """The facts that hold `message`, rewritten; empty when none does."""
    replaced: list[tuple[int, Event]] = []
    turns: dict[TurnId, None] = {}
    blobs: set[BlobId] = set()
    answered = MessageId("")
    for recorded in records:
        event = recorded.event
        if isinstance(event, MessageAdded):
            if event.message.role is Role.ASSISTANT:
                answered = tool_message_id(event.message.id)
            if event.message.id == message:
                replaced.append((recorded.seq, replace(event, message=redacted(event.message))))
                blobs |= blobs_of(event.message.content)
                turns |= {} if event.turn is None else {event.turn: None}
        elif isinstance(event, ToolResolved) and answered == message:
            replaced.append((recorded.seq, replace(event, result=redacted_result(event.result))))
            blobs |= blobs_of((event.result,))
            turns[event.turn] = None
    return Redaction(tuple(replaced), tuple(turns), frozenset(blobs))


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
