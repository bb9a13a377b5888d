"""What is written to the SQLite file: each function runs within one transaction of the writer.

None of them looks at more rows than it writes, so a long conversation costs what a short one costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import apsw
import msgspec

from palaver import codec
from palaver.domain.errors import Conflict, IdempotencyMismatch, InvalidInput, StaleWriter
from palaver.domain.events import Event, MessageAdded, TurnOpened
from palaver.domain.ids import ConversationId, OwnerId, TurnId
from palaver.domain.messages import Message
from palaver.domain.snapshot import Snapshot
from palaver.domain.values import Scope, SessionMetadata
from palaver.store.base import Accepted, Appended, RunRow, TurnRecord
from palaver.store.projection import (
    Change,
    Fact,
    check_rows,
    encode_facts,
    missing,
    same_message,
    summarise,
)

_metadata_encoder = msgspec.json.Encoder()
NUMBER_BITS = 32
"""Of a row id; what is above is the key of the conversation or turn."""
NUMBERS = (1 << NUMBER_BITS) - 1


@dataclass(frozen=True)
class Batch:
    """Facts ready to be written, and what they change in the listing."""

    facts: list[Fact]
    change: Change

    @classmethod
    def of(cls, events: Sequence[Event]) -> "Batch":
        """Raises InvalidInput for text that cannot be encoded."""
        return cls(encode_facts(events), summarise(events))


@dataclass(frozen=True)
class Log:
    """Where a conversation's log stands, as its row says."""

    key: int
    seq: int
    updated_ms: int


class Kinds:
    """The small numbers that stand for event types in the file."""

    def __init__(self) -> None:
        self._keys: dict[str, int] = {}
        self._names: dict[int, str] = {}

    def key(self, connection: apsw.Connection, name: str) -> int:
        """The number of a type. The migration has entered all types of this version."""
        if name not in self._keys:
            self._load(connection)
        if name not in self._keys:
            # Not remembered before it is read back: the transaction may still be rolled back.
            connection.execute("INSERT INTO kinds (name) VALUES (?)", (name,))
            return connection.last_insert_rowid()
        return self._keys[name]

    def name(self, connection: apsw.Connection, key: int) -> str:
        """The type of a number."""
        if key not in self._names:
            self._load(connection)
        return self._names[key]

    def _load(self, connection: apsw.Connection) -> None:
        for key, name in connection.execute("SELECT key, name FROM kinds"):
            self._keys[str(name)] = int(key)
            self._names[int(key)] = str(name)


def find_log(connection: apsw.Connection, scope: Scope, conversation: ConversationId) -> Log:
    """The conversation's row. Raises NotFound."""
    row = connection.execute(
        "SELECT key, seq, updated_at FROM conversations WHERE tenant_id = ? AND id = ?",
        (scope.tenant, conversation),
    ).fetchone()
    if row is None:
        raise missing("conversation", conversation)
    return Log(*row)


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
    _check_expected(log, expected)
    appended = write_facts(connection, kinds, log, batch, now_ms)
    try:
        connection.execute(
            "INSERT INTO turns (tenant_id, actor, id, conversation, message, owner, open, epoch,"
            " started_at, has_run, idempotency_key) VALUES (?, ?, ?, ?, ?, ?, 1, 0, ?, 0, ?)",
            (
                scope.tenant,
                scope.actor,
                turn,
                log.key,
                appended.last,
                owner,
                round(appended.at * 1000),
                idempotency_key,
            ),
        )
    except apsw.ConstraintError:
        raise Conflict(f"turn {turn!r} exists already") from None
    return Accepted(turn, message.id, appended)


def turn_facts(message: Message, turn: TurnId) -> tuple[TurnOpened, MessageAdded]:
    """The two facts that accepting a message writes."""
    return TurnOpened(turn), MessageAdded(message, turn)


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
    # The log never changes, so the message itself is compared and no hash of it is kept.
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
    keep_runs: int,
    now_ms: int,
) -> Appended:
    """See `ConversationStore.append`."""
    log = find_log(connection, scope, conversation)
    _check_expected(log, expected)
    appended = write_facts(connection, kinds, log, batch, now_ms)
    if run is not None:
        append_run(connection, scope, *run, conversation=log.key)
    for turn in batch.change.closed:
        _close_turn(connection, log, turn)
    if batch.change.closed:
        _prune_runs(connection, log, keep_runs)
    if snapshot is not None:
        if snapshot.seq > appended.last:
            raise InvalidInput("the snapshot is ahead of the log")
        connection.execute(
            "INSERT OR REPLACE INTO snapshots (conversation, version, seq, body)"
            " VALUES (?, ?, ?, ?)",
            (log.key, snapshot.version, snapshot.seq, snapshot.body),
        )
    return appended


def write_facts(
    connection: apsw.Connection, kinds: Kinds, log: Log, batch: Batch, now_ms: int
) -> Appended:
    """The facts behind the log's end, their search terms, and the conversation's new row."""
    # A clock that was set back must not put a later fact before an earlier one.
    at_ms = max(now_ms, log.updated_ms)
    first = (log.key << NUMBER_BITS) + log.seq + 1
    for i, fact in enumerate(batch.facts):
        connection.execute(
            "INSERT INTO events (id, kind, version, at, body) VALUES (?, ?, ?, ?, ?)",
            (first + i, kinds.key(connection, fact.kind), fact.version, at_ms, fact.body),
        )
        if fact.terms:
            connection.execute("INSERT INTO search_events (event) VALUES (?)", (first + i,))
            connection.execute(
                "INSERT INTO search (rowid, terms) VALUES (?, ?)",
                (connection.last_insert_rowid(), " ".join(fact.terms)),
            )
    last = log.seq + len(batch.facts)
    change = batch.change
    connection.execute(
        "UPDATE conversations SET seq = ?, updated_at = ?, messages = messages + ?,"
        " preview = coalesce(?, preview) WHERE key = ?",
        (last, at_ms, change.messages, change.preview, log.key),
    )
    if change.metadata is not None:
        _write_metadata(connection, log, change.metadata)
    return Appended(log.seq + 1, last, at_ms / 1000)


def _write_metadata(connection: apsw.Connection, log: Log, metadata: SessionMetadata) -> None:
    connection.execute(
        "UPDATE conversations SET metadata = ?, archived = ? WHERE key = ?",
        (_metadata_encoder.encode(metadata), metadata.archived, log.key),
    )


def _check_expected(log: Log, expected: int) -> None:
    if expected != log.seq:
        raise StaleWriter(expected=expected, actual=log.seq)


def append_run(
    connection: apsw.Connection,
    scope: Scope,
    turn: TurnId,
    rows: Sequence[RunRow],
    *,
    conversation: int | None = None,
) -> None:
    """Rows of a turn's run log. `conversation`: the key that the turn must belong to."""
    found = connection.execute(
        "SELECT t.key, t.conversation, t.epoch, t.has_run, coalesce((SELECT last FROM runs"
        " WHERE id BETWEEN t.key << 32 AND (t.key << 32) + ? ORDER BY id DESC LIMIT 1), 0)"
        " FROM turns t WHERE t.tenant_id = ? AND t.id = ?",
        (NUMBERS, scope.tenant, turn),
    ).fetchone()
    if found is None or conversation not in (None, found[1]):
        raise missing("turn", turn)
    key, _, epoch, has_run, last = found
    check_rows(rows, epoch=epoch, last=last)
    for row in rows:
        connection.execute(
            "INSERT INTO runs (id, last, epoch, body) VALUES (?, ?, ?, ?)",
            ((key << NUMBER_BITS) + row.first, row.last, row.epoch, row.body),
        )
    if rows and not has_run:
        connection.execute("UPDATE turns SET has_run = 1 WHERE key = ?", (key,))


def _close_turn(connection: apsw.Connection, log: Log, turn: TurnId) -> None:
    connection.execute(
        "UPDATE turns SET open = 0 WHERE conversation = ? AND id = ? AND open = 1", (log.key, turn)
    )


def _prune_runs(connection: apsw.Connection, log: Log, keep: int) -> None:
    pruned: list[Any] = connection.execute(
        "SELECT key, open FROM turns WHERE conversation = ? AND has_run = 1"
        " ORDER BY key DESC LIMIT -1 OFFSET ?",
        (log.key, keep),
    ).fetchall()
    for key in (key for key, is_open in pruned if not is_open):
        _delete_rows(connection, "runs", key)
        connection.execute("UPDATE turns SET has_run = 0 WHERE key = ?", (key,))


def delete(connection: apsw.Connection, scope: Scope, conversation: ConversationId) -> None:
    """See `ConversationStore.delete`. What is erased is overwritten with zeros."""
    key = find_log(connection, scope, conversation).key
    connection.execute("PRAGMA secure_delete = ON")
    try:
        turns: list[Any] = connection.execute(
            "SELECT key FROM turns WHERE conversation = ?", (key,)
        ).fetchall()
        for (turn,) in turns:
            _delete_rows(connection, "runs", turn)
        connection.execute("DELETE FROM turns WHERE conversation = ?", (key,))
        connection.execute("DELETE FROM snapshots WHERE conversation = ?", (key,))
        events = (key << NUMBER_BITS, (key << NUMBER_BITS) + NUMBERS)
        connection.execute(
            "DELETE FROM search WHERE rowid IN"
            " (SELECT id FROM search_events WHERE event BETWEEN ? AND ?)",
            events,
        )
        connection.execute("DELETE FROM search_events WHERE event BETWEEN ? AND ?", events)
        _delete_rows(connection, "events", key)
        connection.execute("DELETE FROM conversations WHERE key = ?", (key,))
    finally:
        connection.execute("PRAGMA secure_delete = FAST")


def _delete_rows(connection: apsw.Connection, table: str, key: int) -> None:
    start = key << NUMBER_BITS
    connection.execute(
        f"DELETE FROM {table} WHERE id BETWEEN ? AND ?",  # noqa: S608 - our own table names
        (start, start + NUMBERS),
    )


def merge_index(connection: apsw.Connection, pages: int) -> bool:
    """Rewrite up to `pages` pages of the index without deleted words; returns whether more is left.

    A negative number begins such a round over the whole index, positive ones continue it.
    """
    before = connection.total_changes()
    connection.execute("INSERT INTO search (search, rank) VALUES ('merge', ?)", (pages,))
    return connection.total_changes() - before >= 2  # FTS5's own sign of having done something


def adopt(
    connection: apsw.Connection, owner: OwnerId, dead: Sequence[OwnerId]
) -> tuple[TurnRecord, ...]:
    """Make `owner` the owner of the open turns of all `dead` ones, with the next epoch."""
    adopted: list[int] = []
    for name in dead:
        rows: list[Any] = connection.execute(
            "UPDATE turns SET owner = ?, epoch = epoch + 1 WHERE owner = ? AND open = 1"
            " RETURNING key",
            (owner, name),
        ).fetchall()
        adopted.extend(key for (key,) in rows)
    found = (
        connection.execute(f"{TURN_COLUMNS} WHERE t.key = ?", (key,)).fetchone() for key in adopted
    )
    return tuple(turn_record(row) for row in found if row is not None)


TURN_COLUMNS = (
    "SELECT t.id, c.id, t.owner, t.open, t.epoch, t.started_at, t.tenant_id, t.actor"
    " FROM turns t JOIN conversations c ON c.key = t.conversation"
)


def turn_record(row: tuple[Any, ...]) -> TurnRecord:
    """A row of `TURN_COLUMNS` as a value."""
    turn, conversation, owner, is_open, epoch, started_ms, tenant, actor = row
    return TurnRecord(
        TurnId(str(turn)),
        ConversationId(str(conversation)),
        OwnerId(str(owner)),
        bool(is_open),
        int(str(epoch)),
        int(str(started_ms)) / 1000,
        Scope(str(tenant), str(actor)),
    )
