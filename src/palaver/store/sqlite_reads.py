"""What is read from the SQLite file: each function sees one unchanging view of it."""

from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

from palaver import codec
from palaver.domain.errors import StoreCorrupt
from palaver.domain.events import Event, MessageAdded, Recorded, UnknownEvent
from palaver.domain.ids import ConversationId, MessageId, TurnId
from palaver.domain.snapshot import SNAPSHOT_VERSION, Snapshot
from palaver.domain.values import Scope, SessionMetadata
from palaver.store.base import (
    ConversationSummary,
    Page,
    RunRow,
    SearchHit,
    StoreStatistics,
    TurnRecord,
)
from palaver.store.projection import encode_cursor, missing, result_message, searchable
from palaver.store.search_text import Phrase, fts_expression, snippet
from palaver.store.sqlite_writes import (
    NUMBER_BITS,
    NUMBERS,
    TURN_COLUMNS,
    Kinds,
    find_log,
    turn_record,
)

_metadata_decoder = msgspec.json.Decoder(SessionMetadata)
_RANKED = 500
"""Hits that are ordered by time where their rank is the same."""
_MESSAGE = "message.added"


def read(
    connection: apsw.Connection,
    kinds: Kinds,
    scope: Scope,
    conversation: ConversationId,
    *,
    after: int,
    until: int | None,
    wanted: Sequence[str] | None,
    limit: int | None,
) -> list[Recorded]:
    """See `ConversationStore.read`."""
    base = find_log(connection, scope, conversation).key << NUMBER_BITS
    first = base + min(max(after, 0), NUMBERS - 1) + 1
    last = base + (NUMBERS if until is None else min(max(until, 0), NUMBERS))
    chosen, values = "", [first, last]
    if wanted is not None:
        chosen = f" AND kind IN ({','.join('?' * len(wanted))})"
        values.extend(_key_of(connection, name) for name in wanted)
    values.append(-1 if limit is None else max(limit, 0))
    rows = connection.execute(
        f"SELECT id, kind, version, at, body FROM events WHERE id BETWEEN ? AND ?{chosen}"  # noqa: S608
        " ORDER BY id LIMIT ?",
        values,
    )
    return [
        Recorded(id_ & NUMBERS, at / 1000, _decode(connection, kinds, conversation, id_, *event))
        for id_, *event, at in ((id_, kind, v, body, at) for id_, kind, v, at, body in rows)
    ]


def _key_of(connection: apsw.Connection, name: str) -> int:
    row = connection.execute("SELECT key FROM kinds WHERE name = ?", (name,)).fetchone()
    return -1 if row is None else int(row[0])


def _decode(
    connection: apsw.Connection,
    kinds: Kinds,
    conversation: str,
    id_: int,
    kind: int,
    version: int,
    body: bytes,
) -> Event | UnknownEvent:
    try:
        return codec.decode_event(body, kinds.name(connection, kind), version)
    except (msgspec.DecodeError, KeyError) as error:
        number = id_ & NUMBERS
        raise StoreCorrupt(f"event {number} of {conversation!r} is damaged: {error}") from error


def snapshot(
    connection: apsw.Connection, scope: Scope, conversation: ConversationId
) -> Snapshot | None:
    """See `ConversationStore.snapshot`."""
    row = connection.execute(
        "SELECT seq, version, body FROM snapshots WHERE conversation = ? AND version = ?",
        (find_log(connection, scope, conversation).key, SNAPSHOT_VERSION),
    ).fetchone()
    return None if row is None else Snapshot(*row)


def list_conversations(
    connection: apsw.Connection,
    scope: Scope,
    *,
    size: int,
    before: tuple[int, int],
    archived: bool,
) -> Page:
    """See `ConversationStore.list_conversations`. `before`: (milliseconds, key)."""
    rows: list[Any] = connection.execute(
        "SELECT id, metadata, messages, created_at, updated_at, preview, key FROM conversations"
        " WHERE tenant_id = ? AND archived = ? AND (updated_at, key) < (?, ?)"
        " ORDER BY updated_at DESC, key DESC LIMIT ?",
        (scope.tenant, archived, *before, size + 1),
    ).fetchall()
    items = tuple(
        ConversationSummary(
            id_,
            _metadata_decoder.decode(metadata),
            messages,
            created / 1000,
            updated / 1000,
            preview,
        )
        for id_, metadata, messages, created, updated, preview, _ in rows[:size]
    )
    more = len(rows) > size
    return Page(items, encode_cursor(rows[size - 1][4], rows[size - 1][6]) if more else None)


def search(
    connection: apsw.Connection,
    kinds: Kinds,
    scope: Scope,
    phrases: tuple[Phrase, ...],
    *,
    conversation: ConversationId | None,
    size: int,
) -> tuple[SearchHit, ...]:
    """See `ConversationStore.search`; the best by BM25 first, equal ones by time."""
    first, last = 0, (1 << 63) - 1
    if conversation is not None:
        first = find_log(connection, scope, conversation).key << NUMBER_BITS
        last = first + NUMBERS
    if not phrases:
        return ()
    rows = connection.execute(
        "SELECT f.id, c.id, c.metadata FROM (SELECT s.event AS id, rank AS score FROM search"
        # In this order: the index first, then what each row id in it stands for.
        " CROSS JOIN search_events s ON s.id = search.rowid"
        " WHERE search MATCH ? AND s.event BETWEEN ? AND ? AND s.event >> 32 IN"
        " (SELECT key FROM conversations WHERE tenant_id = ?)"
        " ORDER BY rank, s.event DESC LIMIT ?) f"
        " JOIN events e ON e.id = f.id JOIN conversations c ON c.key = f.id >> 32"
        " ORDER BY f.score, e.at DESC, e.id DESC LIMIT ?",
        (fts_expression(phrases), first, last, scope.tenant, size + _RANKED, size),
    ).fetchall()
    return tuple(_hit(connection, kinds, row, phrases) for row in rows)


def _hit(
    connection: apsw.Connection, kinds: Kinds, row: tuple[Any, ...], phrases: tuple[Phrase, ...]
) -> SearchHit:
    id_, conversation, metadata = row
    record = connection.execute(
        "SELECT kind, version, body, at FROM events WHERE id = ?", (id_,)
    ).fetchone()
    assert record is not None
    event = _decode(connection, kinds, conversation, id_, *record[:3])
    message, role = _said_by(connection, kinds, conversation, id_, event)
    shown, spans = snippet(searchable(event), phrases)
    return SearchHit(
        ConversationId(conversation),
        message,
        role,
        id_ & NUMBERS,
        record[3] / 1000,
        shown,
        spans,
        _metadata_decoder.decode(metadata).title,
    )


def _said_by(
    connection: apsw.Connection,
    kinds: Kinds,
    conversation: str,
    id_: int,
    event: Event | UnknownEvent,
) -> tuple[MessageId, str]:
    if isinstance(event, MessageAdded):
        return event.message.id, event.message.role
    row = connection.execute(
        "SELECT id, kind, version, body FROM events WHERE id < ? AND id > ? AND kind = ?"
        " ORDER BY id DESC LIMIT 1",
        (id_, id_ >> NUMBER_BITS << NUMBER_BITS, _key_of(connection, _MESSAGE)),
    ).fetchone()
    last = _decode(connection, kinds, conversation, *row) if row is not None else None
    return (
        result_message(last.message) if isinstance(last, MessageAdded) else MessageId("")
    ), "tool"


def turn(connection: apsw.Connection, scope: Scope, turn: TurnId) -> TurnRecord:
    """See `ConversationStore.turn`."""
    row = connection.execute(
        f"{TURN_COLUMNS} WHERE t.tenant_id = ? AND t.id = ?", (scope.tenant, turn)
    ).fetchone()
    if row is None:
        raise missing("turn", turn)
    return turn_record(row)


def read_run(
    connection: apsw.Connection, scope: Scope, turn: TurnId, *, after: int
) -> list[RunRow]:
    """See `ConversationStore.read_run`."""
    row = connection.execute(
        "SELECT key FROM turns WHERE tenant_id = ? AND id = ?", (scope.tenant, turn)
    ).fetchone()
    if row is None:
        raise missing("turn", turn)
    base = row[0] << NUMBER_BITS
    after = min(max(after, 0), NUMBERS)
    # The row that holds `after + 1` may begin before it; it is the last that begins by then.
    rows = connection.execute(
        "SELECT id, last, body, epoch FROM runs WHERE id BETWEEN coalesce((SELECT id FROM runs"
        " WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC LIMIT 1), ?1) AND ?3 AND last > ?4"
        " ORDER BY id",
        (base, base + after, base + NUMBERS, after),
    )
    return [RunRow(id_ & NUMBERS, last, body, epoch) for id_, last, body, epoch in rows]


def open_owners(connection: apsw.Connection) -> list[str]:
    """Everyone who owns an open turn."""
    rows = connection.execute("SELECT DISTINCT owner FROM turns WHERE open = 1")
    return [str(owner) for (owner,) in rows]


def statistics(connection: apsw.Connection, file_bytes: int) -> StoreStatistics:
    """See `ConversationStore.statistics`. Reads the whole file."""
    counts = connection.execute(
        "SELECT count(*), coalesce(sum(messages), 0) FROM conversations"
    ).fetchone()
    assert counts is not None
    sizes: dict[str, int] = dict(
        connection.execute("SELECT name, sum(pgsize) FROM dbstat WHERE aggregate = 1 GROUP BY name")
    )
    search_bytes = sum(size for name, size in sizes.items() if name.startswith("search"))
    return StoreStatistics(
        conversations=counts[0],
        messages=counts[1],
        log_bytes=sum(sizes.values()) - search_bytes - sizes.get("runs", 0),
        search_bytes=search_bytes,
        file_bytes=file_bytes,
    )
