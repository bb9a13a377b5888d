"""What every reader gives: messages that any provider takes, and what had to be mended for that."""

from enum import StrEnum

import msgspec

from palaver.domain.ids import BlobId, MessageId
from palaver.domain.messages import Message


class RepairKind(StrEnum):
    """What was mended. Each kind has one sentence in `docs/reference/import.md`."""

    UNANSWERED_CALL = "unanswered_call"
    """A tool call had no result; one was written that says so."""
    ORPHANED_RESULT = "orphaned_result"
    """A result had no call before it; it was kept as text of a user message."""
    REUSED_ID = "reused_id"
    """Two calls had the same id; the later one got a new one, in call and result."""
    DOUBLE_RESULT = "double_result"
    """A call had a second result; the first one stays."""
    ABORTED_TURN = "aborted_turn"
    """The source marks the turn as aborted or failed; its message is flagged as partial."""
    JOINED_MESSAGE = "joined_message"
    """One message was split over several records."""
    MERGED_MESSAGES = "merged_messages"
    """Messages of one speaker followed each other where providers want one."""
    SIDECHAIN = "sidechain"
    """Records of a sub-agent stood between; they were left out."""
    EMPTY_MESSAGE = "empty_message"
    """A message without content was left out."""
    INVALID_ARGUMENTS = "invalid_arguments"
    """A call's arguments were no JSON object; they were wrapped."""
    SANITISED_TEXT = "sanitised_text"
    """Characters that cannot be stored became U+FFFD."""
    UNKNOWN_RECORD = "unknown_record"
    """A record of a kind that has no place in a conversation was left out."""
    DROPPED_REASONING = "dropped_reasoning"
    """Reasoning without proof, or behind which nothing came, was left out."""
    MISSING_USER = "missing_user"
    """The assistant spoke first; a user message that says so was put before it."""
    MISPLACED = "misplaced"
    """Something stood where providers refuse it; it was moved, or kept as text."""
    INVALID_NAME = "invalid_name"
    """A call's id or a tool's name has a form that providers refuse; it got another one."""


class Repair(msgspec.Struct, frozen=True):
    """One thing that was mended, at position `record` of the source (from 0)."""

    kind: RepairKind
    record: int
    detail: str = ""


class Imported(msgspec.Struct, frozen=True):
    """A conversation read from elsewhere.

    `messages`: every message of every branch, parents before children, each with an id and its
    `parent`; the path that ends at `head` is valid history. Without branches each message is the
    parent of the next. `blobs`: the bytes that Image and File blocks refer to.
    """

    format: str
    messages: tuple[Message, ...]
    head: MessageId | None
    title: str = ""
    created_at: float | None = None
    """Seconds since 1970 (UTC), where the source says."""
    model: str = ""
    system: str = ""
    custom: dict[str, str] = {}
    """What else identifies it at its source (session id, working folder)."""
    blobs: dict[BlobId, bytes] = {}
    repairs: tuple[Repair, ...] = ()
