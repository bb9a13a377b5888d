"""Forks in the SQLite file: a conversation that begins with another one's facts, uncopied.

What the listing says of a fork must be true of the place where it begins. *Marks* keep that for
every `MARK_EVERY` facts, so a fork reads a few rows however long the conversation is.
"""

from typing import Any, NamedTuple

import apsw
import msgspec

from palaver.domain.errors import Conflict
from palaver.domain.events import UnknownEvent
from palaver.domain.ids import ConversationId
from palaver.domain.values import Scope, SessionMetadata
from palaver.store.base import Appended
from palaver.store.projection import check_number, summarise
from palaver.store.sqlite_rows import (
    NUMBER_BITS,
    Kinds,
    Log,
    Part,
    decode,
    find_log,
    part_with,
    parts,
)
from palaver.store.sqlite_writes import Batch, encode_metadata, write_facts, write_mark

_LISTED = ("message.added", "conversation.created", "metadata.changed")
"""Types of facts that change a conversation's line in a listing."""
_metadata_decoder = msgspec.json.Decoder(SessionMetadata)


class Standing(NamedTuple):
    """What a listing says of a conversation at one number."""

    messages: int
    preview: str
    metadata: bytes

    @property
    def archived(self) -> bool:
        """Whether it is listed among the archived ones."""
        return _metadata_decoder.decode(self.metadata).archived


def fork(
    connection: apsw.Connection,
    kinds: Kinds,
    scope: Scope,
    source: ConversationId,
    conversation: ConversationId,
    batch: Batch,
    *,
    at: int,
    now_ms: int,
) -> Appended:
    """See `ConversationStore.fork`."""
    log = find_log(connection, scope, source)
    check_number(source, at, log.seq)
    shared = part_with(parts(connection, log.key), at)
    standing = _standing_of(connection, kinds, log, shared.key, at)
    (at_ms,) = _row(
        connection, "SELECT at FROM events WHERE id = ?", (shared.key << NUMBER_BITS) + at
    )
    start_ms = max(now_ms, at_ms)
    try:
        connection.execute(
            "INSERT INTO conversations (tenant_id, id, seq, created_at, updated_at, messages,"
            " archived, preview, metadata, origin_key, origin_seq)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                scope.tenant,
                conversation,
                at,
                now_ms,
                start_ms,
                standing.messages,
                standing.archived,
                standing.preview,
                standing.metadata,
                shared.key,
                at,
            ),
        )
    except apsw.ConstraintError:
        raise Conflict(f"conversation {conversation!r} exists already") from None
    forked = Log(connection.last_insert_rowid(), at, start_ms)
    write_mark(connection, forked.key)
    return write_facts(connection, kinds, forked, batch, now_ms)


def _standing_of(
    connection: apsw.Connection, kinds: Kinds, log: Log, writer: int, at: int
) -> Standing:
    if at < log.seq:
        return standing(connection, kinds, writer, at)
    sql = "SELECT messages, preview, metadata FROM conversations WHERE key = ?"
    return Standing(*_row(connection, sql, log.key))


def _row(connection: apsw.Connection, sql: str, key: int) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(sql, (key,)).fetchone()
    assert row is not None
    return row


def standing(
    connection: apsw.Connection, kinds: Kinds, key: int, at: int, *, mark_until: int | None = None
) -> Standing:
    """What is true at number `at`, which was written under `key`: the newest mark up to then (up
    to `mark_until`), and what has changed since."""
    base = key << NUMBER_BITS
    marked = connection.execute(
        "SELECT id - ?1, messages, preview, metadata FROM marks WHERE id BETWEEN ?1 AND ?2"
        " ORDER BY id DESC LIMIT 1",
        (base, base + (at if mark_until is None else mark_until)),
    ).fetchone()
    number, messages, preview, metadata = marked or (0, 0, "", b"{}")
    rows: list[Any] = connection.execute(
        "SELECT id, kind, version, body FROM events WHERE id BETWEEN ? AND ?"
        " AND kind IN (?, ?, ?) ORDER BY id",
        (base + number + 1, base + at, *(kinds.known(connection, name) for name in _LISTED)),
    ).fetchall()
    events = [decode(connection, kinds, str(key), *row) for row in rows]
    change = summarise([e for e in events if not isinstance(e, UnknownEvent)])
    return Standing(
        messages + change.messages,
        preview if change.preview is None else change.preview,
        metadata if change.metadata is None else encode_metadata(change.metadata),
    )


class Sharer(NamedTuple):
    """A conversation that shares facts of another one."""

    key: int
    origin: int
    shared: int
    """It shares the facts up to this number."""
    seq: int


_SHARERS = """
WITH RECURSIVE sharer (key, origin, shared, seq) AS (
  SELECT key, origin_key, origin_seq, seq FROM conversations
  WHERE origin_key = ? AND origin_seq >= ?
  UNION ALL
  SELECT c.key, c.origin_key, c.origin_seq, c.seq
  FROM sharer JOIN conversations c ON c.origin_key = sharer.key
)
SELECT * FROM sharer
"""


def sharers(connection: apsw.Connection, key: int, number: int) -> list[Sharer]:
    """Every fork, and fork of a fork, that sees `number`, which was written under `key`. A fork
    comes before its own forks."""
    return [Sharer(*row) for row in connection.execute(_SHARERS, (key, number))]


def sharing(
    connection: apsw.Connection, scope: Scope, conversation: ConversationId, number: int
) -> tuple[ConversationId, ...]:
    """See `ConversationStore.sharing`."""
    log = find_log(connection, scope, conversation)
    check_number(conversation, number, log.seq)
    writer = part_with(parts(connection, log.key), number).key
    keys = [writer, *(sharer.key for sharer in sharers(connection, writer, number))]
    sql = "SELECT id FROM conversations WHERE key = ?"
    return tuple(_row(connection, sql, key)[0] for key in keys if key != log.key)


def give_to_heir(connection: apsw.Connection, key: int) -> None:
    """Move what forks share of `key` to the one that shares the most; the others share it there.

    Facts, their search terms, marks and snapshots keep their numbers.
    """
    heir = connection.execute(
        "SELECT key, origin_seq FROM conversations WHERE origin_key = ?"
        " ORDER BY origin_seq DESC, key LIMIT 1",
        (key,),
    ).fetchone()
    if heir is None:
        return
    heir_key, shared = heir
    ids = Part(key, 0, shared).ids
    away = (heir_key - key) << NUMBER_BITS
    for move in (
        "UPDATE events SET id = id + ? WHERE id BETWEEN ? AND ?",
        "UPDATE search_events SET event = event + ? WHERE event BETWEEN ? AND ?",
        # Where the heir begins it has a mark of its own, which says the same.
        "UPDATE OR REPLACE marks SET id = id + ? WHERE id BETWEEN ? AND ?",
    ):
        connection.execute(move, (away, *ids))
    connection.execute(
        "UPDATE OR REPLACE snapshots SET conversation = ? WHERE conversation = ? AND seq <= ?",
        (heir_key, key, shared),
    )
    connection.execute(
        "UPDATE conversations SET origin_key = ? WHERE origin_key = ?", (heir_key, key)
    )
    connection.execute(
        "UPDATE conversations SET (origin_key, origin_seq) ="
        " (SELECT origin_key, origin_seq FROM conversations WHERE key = ?) WHERE key = ?",
        (key, heir_key),
    )
