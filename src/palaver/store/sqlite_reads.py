"""What is read from the SQLite file: each function sees one unchanging view of it."""

from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

from palaver.domain.events import Event, MessageAdded, Recorded, UnknownEvent
from palaver.domain.ids import BlobId, ConversationId, MessageId, OwnerId, TurnId
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
from palaver.store.projection import (
    BLOB_PREFIX,
    blobs_in,
    encode_cursor,
    missing,
    result_message,
    searchable,
)
from palaver.store.search_text import Phrase, fts_expression, snippet
from palaver.store.sqlite_rows import (
    NUMBER_BITS,
    NUMBERS,
    Kinds,
    Part,
    decode,
    find_log,
    parts,
)
from palaver.store.sqlite_turns import TURN_COLUMNS, turn_record

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
    log = find_log(connection, scope, conversation)
    first = min(max(after, 0), NUMBERS - 1) + 1
    last = NUMBERS if until is None else min(max(until, 0), NUMBERS)
    chosen: list[int] = []
    sql = "SELECT id, at, kind, version, body FROM events WHERE id BETWEEN ? AND ?"
    if wanted is not None:
        chosen = [kinds.known(connection, name) for name in wanted]
        sql += f" AND kind IN ({','.join('?' * len(chosen))})"
    found: list[Recorded] = []
    for part in parts(connection, log.key):
        here = part.within(first, last)
        room = -1 if limit is None else max(limit, 0) - len(found)
        rows = connection.execute(f"{sql} ORDER BY id LIMIT ?", (*here.ids, *chosen, room))
        found += [
            Recorded(id_ & NUMBERS, at / 1000, decode(connection, kinds, conversation, id_, *fact))
            for id_, at, *fact in rows
        ]
    return found


def snapshot(
    connection: apsw.Connection, scope: Scope, conversation: ConversationId, *, until: int | None
) -> Snapshot | None:
    """See `ConversationStore.snapshot`."""
    log = find_log(connection, scope, conversation)
    for part in reversed(parts(connection, log.key)):
        last = part.last if until is None else min(part.last, until)
        row = connection.execute(
            "SELECT seq, version, body FROM snapshots"
            " WHERE conversation = ? AND version = ? AND seq <= ? ORDER BY seq DESC LIMIT 1",
            (part.key, SNAPSHOT_VERSION, last),
        ).fetchone()
        if row is not None:
            return Snapshot(*row)
    return None


def outboxes(connection: apsw.Connection, scope: Scope) -> tuple[ConversationId, ...]:
    """See `ConversationStore.outboxes`."""
    rows = connection.execute(
        "SELECT id FROM conversations WHERE tenant_id = ? AND outbox > 0 ORDER BY updated_at",
        (scope.tenant,),
    )
    return tuple(ConversationId(row[0]) for row in rows)


def tenants(connection: apsw.Connection) -> tuple[str, ...]:
    """See `ConversationStore.tenants`."""
    rows = connection.execute(
        "SELECT tenant_id FROM turns WHERE open = 1"
        " UNION SELECT tenant_id FROM conversations WHERE outbox > 0 ORDER BY 1"
    )
    return tuple(str(tenant) for (tenant,) in rows)


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
    # Open turns are few, whatever else there is.
    opened = connection.execute(
        "SELECT conversation FROM turns INDEXED BY turns_open WHERE open = 1"
    )
    unfinished = {key for (key,) in opened}
    items = tuple(
        ConversationSummary(
            id_,
            _metadata_decoder.decode(metadata),
            messages,
            created / 1000,
            updated / 1000,
            preview,
            key in unfinished,
        )
        for id_, metadata, messages, created, updated, preview, key in rows[:size]
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
    places = [Part(0, 0, (1 << 63) - 1).ids]
    if conversation is not None:
        log = find_log(connection, scope, conversation)
        places = [part.ids for part in parts(connection, log.key)]
    if not phrases:
        return ()
    rows: list[Any] = connection.execute(
        _SEARCH.format(places=",".join(f"({first},{last})" for first, last in places)),
        (fts_expression(phrases), scope.tenant, size + _RANKED, conversation, scope.tenant, size),
    ).fetchall()
    return tuple(_hit(connection, kinds, row, phrases) for row in rows)


# In this order: the index first, then what each row id in it stands for. Hits in shared facts name
# the fork that is searched; otherwise the conversation that wrote them.
_SEARCH = """
WITH place (first, last) AS (VALUES {places}),
found AS (
  SELECT s.event AS id, rank AS score FROM search CROSS JOIN search_events s ON s.id = search.rowid
  WHERE search MATCH ? AND s.event >> 32 IN (SELECT key FROM conversations WHERE tenant_id = ?)
    AND EXISTS (SELECT 1 FROM place WHERE s.event BETWEEN first AND last)
  ORDER BY rank, s.event DESC LIMIT ?
)
SELECT e.id, e.at, e.kind, e.version, e.body, c.id, c.metadata FROM found f
JOIN events e ON e.id = f.id
JOIN conversations c ON c.key =
  coalesce((SELECT key FROM conversations WHERE id = ? AND tenant_id = ?), f.id >> 32)
ORDER BY f.score, e.at DESC, e.id DESC LIMIT ?
"""


def _hit(
    connection: apsw.Connection, kinds: Kinds, row: tuple[Any, ...], phrases: tuple[Phrase, ...]
) -> SearchHit:
    id_, at, *fact, conversation, metadata = row
    event = decode(connection, kinds, conversation, id_, *fact)
    message, role = _said_by(connection, kinds, conversation, id_, event)
    shown, spans = snippet(searchable(event), phrases)
    return SearchHit(
        ConversationId(conversation),
        message,
        role,
        id_ & NUMBERS,
        at / 1000,
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
    last = _last_message(connection, kinds, conversation, id_)
    return (MessageId("") if last is None else result_message(last.message)), "tool"


def _last_message(
    connection: apsw.Connection, kinds: Kinds, conversation: str, id_: int
) -> MessageAdded | None:
    """The message before a fact, which may lie in another part of its log."""
    for part in reversed(parts(connection, id_ >> NUMBER_BITS)):
        first, last = part.within(1, id_ & NUMBERS).ids
        row = connection.execute(
            "SELECT id, kind, version, body FROM events WHERE id BETWEEN ? AND ? AND kind = ?"
            " ORDER BY id DESC LIMIT 1",
            (first, last, kinds.known(connection, _MESSAGE)),
        ).fetchone()
        if row is not None:
            event = decode(connection, kinds, conversation, *row)
            return event if isinstance(event, MessageAdded) else None
    return None


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


def open_owners(connection: apsw.Connection) -> list[OwnerId]:
    """Everyone who owns an open turn."""
    rows = connection.execute("SELECT DISTINCT owner FROM turns WHERE open = 1")
    return [OwnerId(str(owner)) for (owner,) in rows]


def blob_references(connection: apsw.Connection, scope: Scope) -> frozenset[BlobId]:
    """See `ConversationStore.blob_references`."""
    rows = connection.execute(
        "SELECT e.body FROM conversations c"
        " CROSS JOIN events e ON e.id BETWEEN c.key << 32 AND (c.key << 32) + ?"
        " WHERE c.tenant_id = ? AND instr(e.body, ?)",
        (NUMBERS, scope.tenant, BLOB_PREFIX),
    )
    return frozenset(blob for (body,) in rows for blob in blobs_in(body))


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
