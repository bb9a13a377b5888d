"""What is written to the SQLite file: each function runs within one transaction of the writer.

None of them looks at more rows than it writes, so a long conversation costs what a short one costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import apsw
import msgspec

from palaver import codec
from palaver.domain.errors import Conflict, IdempotencyMismatch, InvalidInput, StaleWriter
from palaver.domain.events import Event, MessageAdded, PromptSent, TurnOpened
from palaver.domain.ids import ConversationId, MessageId, OwnerId, TurnId
from palaver.domain.messages import Message
from palaver.domain.snapshot import Snapshot
from palaver.domain.values import Scope, SessionMetadata
from palaver.store.base import Accepted, Appended, RunRow
from palaver.store.projection import (
    Change,
    Fact,
    encode_facts,
    same_message,
    snapshot_block,
    summarise,
)
from palaver.store.sqlite_rows import NUMBER_BITS, Kinds, Log, find_log
from palaver.store.sqlite_turns import append_run, close_turns, open_turn

_metadata_encoder = msgspec.json.Encoder()
MARK_EVERY = 128
"""Facts between two marks: what a fork reads at most to learn what it begins with."""


@dataclass(frozen=True)
class Piece:
    """Some facts, and what they change in the listing."""

    facts: list[Fact]
    change: Change


@dataclass(frozen=True)
class Batch:
    """Facts ready to be written, in pieces of at most `MARK_EVERY`."""

    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, events: Sequence[Event]) -> "Batch":
        """Raises InvalidInput for no events and for text that cannot be encoded."""
        facts = encode_facts(events)
        starts = range(0, len(events), MARK_EVERY)
        cuts = [slice(start, start + MARK_EVERY) for start in starts]
        return cls(tuple(Piece(facts[cut], summarise(events[cut])) for cut in cuts))

    @property
    def closed(self) -> list[TurnId]:
        """Turns that the facts close."""
        return [turn for piece in self.pieces for turn in piece.change.closed]


def create(
    connection: apsw.Connection,
    kinds: Kinds,
    scope: Scope,
    conversation: ConversationId,
    batch: Batch,
    now_ms: int,
) -> Appended:
    """See `ConversationStore.create`."""
    try:
        connection.execute(
            "INSERT INTO conversations (tenant_id, id, seq, created_at, updated_at, messages,"
            " archived, preview, metadata) VALUES (?, ?, 0, ?, ?, 0, 0, '', '{}')",
            (scope.tenant, conversation, now_ms, now_ms),
        )
    except apsw.ConstraintError:
        raise Conflict(f"conversation {conversation!r} exists already") from None
    log = Log(connection.last_insert_rowid(), 0, now_ms)
    return write_facts(connection, kinds, log, batch, now_ms)


def accept(
    connection: apsw.Connection,
    kinds: Kinds,
    scope: Scope,
    conversation: ConversationId,
    message: Message,
    batch: Batch,
    *,
    turn: TurnId,
    owner: OwnerId,
    expected: int,
    idempotency_key: str | None,
    now_ms: int,
) -> Accepted:
    """See `ConversationStore.accept`. `batch` holds TurnOpened and MessageAdded."""
    log = find_log(connection, scope, conversation)
    if idempotency_key is not None:
        replayed = _replay(connection, log, message, idempotency_key)
        if replayed is not None:
            return replayed
    check_expected(log, expected)
    appended = write_facts(connection, kinds, log, batch, now_ms)
    open_turn(
        connection,
        scope,
        log,
        turn,
        owner=owner,
        message=appended.last,
        appended=appended,
        idempotency_key=idempotency_key,
    )
    return Accepted(turn, message.id, appended)


def turn_facts(
    message: Message, opened: TurnOpened, sent: MessageId | None = None
) -> tuple[Event, ...]:
    """The facts that accepting a message writes; `sent` is its name in the outbox."""
    taken = () if sent is None else (PromptSent(sent, opened.turn),)
    return (*taken, opened, MessageAdded(message, opened.turn))


def _replay(
    connection: apsw.Connection, log: Log, message: Message, idempotency_key: str
) -> Accepted | None:
    row = connection.execute(
        "SELECT t.id, e.version, e.body FROM turns t JOIN events e"
        " ON e.id = (t.conversation << 32) + t.message"
        " WHERE t.conversation = ? AND t.idempotency_key = ?",
        (log.key, idempotency_key),
    ).fetchone()
    if row is None:
        return None
    turn, version, body = row
    said = codec.decode_event(body, "message.added", version)
    # The message itself is compared; a hash beside it would outlive its redaction.
    if not isinstance(said, MessageAdded) or not same_message(said.message, message):
        raise IdempotencyMismatch("the idempotency key was used for another message")
    return Accepted(turn, said.message.id, None, replayed=True)


def append(
    connection: apsw.Connection,
    kinds: Kinds,
    scope: Scope,
    conversation: ConversationId,
    batch: Batch,
    *,
    expected: int,
    run: tuple[TurnId, Sequence[RunRow]] | None,
    snapshot: Snapshot | None,
    opens: TurnId | None,
    owner: OwnerId,
    keep_runs: int,
    now_ms: int,
) -> Appended:
    """See `ConversationStore.append`."""
    log = find_log(connection, scope, conversation)
    check_expected(log, expected)
    appended = write_facts(connection, kinds, log, batch, now_ms)
    if opens is not None:
        # No message comes with it, and without an idempotency key nobody looks for one.
        first = appended.first
        open_turn(connection, scope, log, opens, owner=owner, message=first, appended=appended)
    if run is not None:
        append_run(connection, scope, *run, conversation=log.key)
    close_turns(connection, scope, log, batch.closed, keep_runs=keep_runs)
    if snapshot is not None:
        if snapshot.seq > appended.last:
            raise InvalidInput("the snapshot is ahead of the log")
        _write_snapshot(connection, log, snapshot)
    return appended


def _write_snapshot(connection: apsw.Connection, log: Log, snapshot: Snapshot) -> None:
    connection.execute(
        "DELETE FROM snapshots WHERE conversation = ? AND version = ? AND seq BETWEEN ? AND ?",
        (log.key, snapshot.version, snapshot_block(snapshot.seq), snapshot.seq),
    )
    connection.execute(
        "INSERT INTO snapshots (conversation, version, seq, body) VALUES (?, ?, ?, ?)",
        (log.key, snapshot.version, snapshot.seq, snapshot.body),
    )


def write_facts(
    connection: apsw.Connection, kinds: Kinds, log: Log, batch: Batch, now_ms: int
) -> Appended:
    """The facts behind the log's end, their search terms, and the conversation's new row."""
    # A clock that was set back must not put a later fact before an earlier one.
    at_ms = max(now_ms, log.updated_ms)
    last = log.seq
    for piece in batch.pieces:
        first, last = last + 1, last + len(piece.facts)
        for id_, fact in enumerate(piece.facts, (log.key << NUMBER_BITS) + first):
            connection.execute(
                "INSERT INTO events (id, kind, version, at, body) VALUES (?, ?, ?, ?, ?)",
                (id_, kinds.key(connection, fact.kind), fact.version, at_ms, fact.body),
            )
            write_terms(connection, id_, fact)
        _write_change(connection, log, piece.change, last, at_ms)
        if (first - 1) // MARK_EVERY != last // MARK_EVERY:
            write_mark(connection, log.key)
    return Appended(log.seq + 1, last, at_ms / 1000)


def write_terms(connection: apsw.Connection, id_: int, fact: Fact) -> None:
    """What a fact is found by."""
    if fact.terms:
        connection.execute("INSERT INTO search_events (event) VALUES (?)", (id_,))
        connection.execute(
            "INSERT INTO search (rowid, terms) VALUES (?, ?)",
            (connection.last_insert_rowid(), " ".join(fact.terms)),
        )


def _write_change(
    connection: apsw.Connection, log: Log, change: Change, last: int, at_ms: int
) -> None:
    connection.execute(
        "UPDATE conversations SET seq = ?, updated_at = ?, messages = messages + ?,"
        " preview = coalesce(?, preview) WHERE key = ?",
        (last, at_ms, change.messages, change.preview, log.key),
    )
    if change.outbox:
        connection.execute(
            "UPDATE conversations SET outbox = outbox + ? WHERE key = ?", (change.outbox, log.key)
        )
    if change.metadata is not None:
        connection.execute(
            "UPDATE conversations SET metadata = ?, archived = ? WHERE key = ?",
            (encode_metadata(change.metadata), change.metadata.archived, log.key),
        )


def write_mark(connection: apsw.Connection, key: int) -> None:
    """Keep what the listing says of a conversation now, for forks that begin here or later."""
    connection.execute(
        "INSERT OR REPLACE INTO marks (id, messages, preview, metadata)"
        " SELECT (key << 32) + seq, messages, preview, metadata FROM conversations WHERE key = ?",
        (key,),
    )


def encode_metadata(metadata: SessionMetadata) -> bytes:
    """As it lies in the file."""
    return _metadata_encoder.encode(metadata)


def check_expected(log: Log, expected: int) -> None:
    """Raises StaleWriter unless the log ends where its writer believes."""
    if expected != log.seq:
        raise StaleWriter(expected=expected, actual=log.seq)
