"""What stores derive from facts while they write them, in one place, so that all derive the same.

A store keeps the facts; beside them it keeps what a listing shows and what a search finds. Only
message texts and the texts of tool results are searchable, not reasoning and not tool arguments.
"""

import binascii
import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Sequence

import msgspec

from palaver import codec
from palaver.domain.errors import InvalidInput, NotFound, StaleWriter
from palaver.domain.events import (
    ConversationCreated,
    Event,
    MessageAdded,
    MetadataChanged,
    PromptQueued,
    PromptSent,
    PromptWithdrawn,
    ToolResolved,
    TurnClosed,
    UnknownEvent,
)
from palaver.domain.ids import BlobId, MessageId, TurnId, is_id
from palaver.domain.messages import Flag, Message, Role
from palaver.domain.state import tool_message_id
from palaver.domain.values import Scope, SessionMetadata
from palaver.store.base import RunRow
from palaver.store.search_text import terms

PREVIEW_CHARS = 200
SEARCHABLE_CHARS = 100_000
"""Of one message."""
SEARCHABLE_RESULT_CHARS = 10_000
"""Of one tool result: the rest of a long output is data, not conversation."""
TENANT_CHARS = 255
KEY_CHARS = 255
PAGE_LIMIT = 1000
SNAPSHOT_BLOCK = 1024
"""Facts; of the snapshots of each such block the newest is kept, for forks that begin behind it."""
BLOB_PREFIX = b"sha256:"
_BLOB = re.compile(BLOB_PREFIX + b"[0-9a-f]{64}")


class Fact(msgspec.Struct, frozen=True, gc=False):
    """A fact ready to be stored. `terms` are what it is found by, in order."""

    kind: str
    version: int
    body: bytes
    terms: tuple[str, ...]


class Change(msgspec.Struct, frozen=True):
    """What a run of facts changes in the conversation's line of a listing; None: unchanged."""

    messages: int
    preview: str | None
    metadata: SessionMetadata | None
    closed: tuple[TurnId, ...]
    outbox: int = 0
    """How many more prompts wait to be sent, or fewer."""


def encode_facts(events: Sequence[Event]) -> list[Fact]:
    """`events` ready to be stored. Raises InvalidInput for text that has no UTF-8 form."""
    if not events:
        raise InvalidInput("there is nothing to append")
    try:
        return [
            Fact(
                codec.kind(event),
                codec.version(event),
                codec.encode_event(event),
                tuple(terms(searchable(event))),
            )
            for event in events
        ]
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"text at position {error.start} is half of a character (a lone surrogate)",
            hint="Pass text through palaver.domain.text.clean first.",
        ) from error


def summarise(events: Sequence[Event]) -> Change:
    """What `events` change in the listing."""
    messages, outbox, preview, metadata = 0, 0, None, None
    closed: list[TurnId] = []
    for event in events:
        match event:
            case MessageAdded(message=message):
                messages += 1
                if message.role is Role.USER:
                    preview = preview_of(message)
            case ConversationCreated(metadata=changed) | MetadataChanged(metadata=changed):
                metadata = changed
            case TurnClosed(turn=turn):
                closed.append(turn)
            case PromptQueued():
                outbox += 1
            case PromptSent() | PromptWithdrawn():
                outbox -= 1
            case _:
                pass
    return Change(messages, preview, metadata, tuple(closed), outbox)


def preview_of(message: Message) -> str:
    """The beginning of a message on one line, at most `PREVIEW_CHARS` characters."""
    beginning = message.text[: PREVIEW_CHARS * 4].replace("\x00", " ")
    return " ".join(beginning.split())[:PREVIEW_CHARS]


def searchable(event: Event | UnknownEvent) -> str:
    """The text by which a fact is found; empty for facts that say nothing."""
    match event:
        case MessageAdded(message=message):
            results = (r.text[:SEARCHABLE_RESULT_CHARS] for r in message.tool_results)
            texts = (message.text[:SEARCHABLE_CHARS], *results)
            return "\n".join(text for text in texts if text)
        case ToolResolved(result=result):
            return result.text[:SEARCHABLE_RESULT_CHARS]
        case _:
            return ""


def same_message(known: Message, other: Message) -> bool:
    """Whether both say the same, whatever their ids: what an idempotency key compares.

    Nobody knows any more what a redacted message said, so it is taken to be the same.
    """
    if Flag.REDACTED in known.flags:
        return True
    return known.role is other.role and known.content == other.content


def snapshot_block(seq: int) -> int:
    """The first number of the block in which a snapshot at `seq` takes the place of older ones."""
    return seq // SNAPSHOT_BLOCK * SNAPSHOT_BLOCK


def blobs_in(body: bytes) -> Iterator[BlobId]:
    """Every blob that an encoded fact names."""
    return (BlobId(name.decode()) for name in _BLOB.findall(body))


def result_message(last: Message) -> MessageId:
    """The message that a result belongs to, when `last` is the last message added before it."""
    return last.id if last.role is Role.TOOL else tool_message_id(last.id)


def encode_cursor(updated_ms: int, key: int) -> str:
    """An opaque position in a listing."""
    body = struct.pack(">BQQ", 1, updated_ms, key)
    return urlsafe_b64encode(body + _checksum(body)).decode()


def decode_cursor(cursor: str) -> tuple[int, int]:
    """The inverse of `encode_cursor`. Raises InvalidInput for anything that it did not write."""
    try:
        raw = urlsafe_b64decode(cursor.encode())
        body, checksum = raw[:-4], raw[-4:]
        version, updated_ms, key = struct.unpack(">BQQ", body)
    except (ValueError, struct.error) as error:  # bad Base64 and Unicode errors are ValueErrors
        raise InvalidInput("this is no cursor of a listing") from error
    if version != 1 or checksum != _checksum(body) or max(updated_ms, key) >= 1 << 63:
        raise InvalidInput("this is no cursor of a listing")
    return updated_ms, key


def _checksum(body: bytes) -> bytes:
    return struct.pack(">L", binascii.crc32(body))


def page_size(limit: int) -> int:
    """`limit` within bounds. Raises InvalidInput below 1."""
    if limit < 1:
        raise InvalidInput("a limit is at least 1")
    return min(limit, PAGE_LIMIT)


def check_new(scope: Scope, **ids: str) -> None:
    """Raises InvalidInput unless the names may be stored."""
    if not 1 <= len(scope.tenant) <= TENANT_CHARS or not _is_text(scope.tenant):
        raise InvalidInput(f"a tenant's name has 1 to {TENANT_CHARS} characters")
    for name, value in ids.items():
        if not is_id(value):
            raise InvalidInput(f"this cannot be the id of a {name}: {value[:140]!r}")


def check_known(scope: Scope, kind: str, name: str) -> None:
    """Raises NotFound for names that nothing can have."""
    if not is_id(name) or not _is_text(scope.tenant):
        raise missing(kind, name)


def check_key(key: str | None) -> None:
    """Raises InvalidInput for an idempotency key that cannot be stored."""
    if key is not None and (not 1 <= len(key) <= KEY_CHARS or not _is_text(key)):
        raise InvalidInput(f"an idempotency key has 1 to {KEY_CHARS} characters")


def check_rows(rows: Sequence[RunRow], *, epoch: int, last: int) -> None:
    """Raises StaleWriter unless `rows` are of this epoch and follow `last` in order."""
    for row in rows:
        if row.epoch != epoch:
            raise StaleWriter(expected=row.epoch, actual=epoch)
        if row.first <= last:
            raise StaleWriter(expected=row.first - 1, actual=last)
        if row.last < row.first:
            raise InvalidInput("a row of a run log ends before it begins")
        last = row.last


def check_number(conversation: str, number: int, seq: int) -> None:
    """Raises InvalidInput unless a log that ends at `seq` has this number."""
    if not 1 <= number <= seq:
        raise InvalidInput(f"{conversation!r} has no event {number}; it ends at {seq}")


def check_same_type(number: int, kind: str, there: str) -> None:
    """Raises InvalidInput unless the fact that stands at `number` has the type of its successor."""
    if kind != there:
        raise InvalidInput(f"event {number} is {there!r} and cannot become {kind!r}")


def missing(kind: str, name: str) -> NotFound:
    """The error for something that does not exist for this tenant."""
    return NotFound(f"there is no {kind} {name[:140]!r}")


def _is_text(text: str) -> bool:
    if "\x00" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
