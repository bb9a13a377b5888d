"""The turn directory and the run logs in the SQLite file, as far as they are written."""

from collections.abc import Sequence
from typing import Any

import apsw

from palaver.domain.errors import Conflict
from palaver.domain.ids import ConversationId, OwnerId, TurnId
from palaver.domain.values import Scope
from palaver.store.base import Appended, RunRow, TurnRecord
from palaver.store.projection import check_rows, missing
from palaver.store.sqlite_rows import NUMBER_BITS, NUMBERS, Log, delete_rows


def open_turn(
    connection: apsw.Connection,
    scope: Scope,
    log: Log,
    turn: TurnId,
    *,
    owner: OwnerId,
    message: int,
    appended: Appended,
    idempotency_key: str | None = None,
) -> None:
    """The row of a turn; `message` is the number of the user's message. Raises Conflict."""
    try:
        connection.execute(
            "INSERT INTO turns (tenant_id, actor, id, conversation, message, owner, open, epoch,"
            " started_at, has_run, idempotency_key) VALUES (?, ?, ?, ?, ?, ?, 1, 0, ?, 0, ?)",
            (
                scope.tenant,
                scope.actor,
                turn,
                log.key,
                message,
                owner,
                round(appended.at * 1000),
                idempotency_key,
            ),
        )
    except apsw.ConstraintError:
        raise Conflict(f"turn {turn!r} exists already") from None


def close_turns(
    connection: apsw.Connection, scope: Scope, log: Log, turns: Sequence[TurnId], *, keep_runs: int
) -> None:
    """Close these turns of a conversation, and prune its run logs if there are any of them."""
    for turn in turns:
        # By the tenant's index of ids: the one of conversations would be a walk over all its turns.
        connection.execute(
            "UPDATE turns SET open = 0"
            " WHERE tenant_id = ? AND id = ? AND conversation = ? AND open = 1",
            (scope.tenant, turn, log.key),
        )
    if turns:
        _prune_runs(connection, log, keep_runs)


def _prune_runs(connection: apsw.Connection, log: Log, keep: int) -> None:
    pruned: list[Any] = connection.execute(
        "SELECT key, open FROM turns WHERE conversation = ? AND has_run = 1"
        " ORDER BY key DESC LIMIT -1 OFFSET ?",
        (log.key, keep),
    ).fetchall()
    for key in (key for key, is_open in pruned if not is_open):
        _delete_run(connection, key)


def _delete_run(connection: apsw.Connection, key: int) -> None:
    delete_rows(connection, "runs", key)
    connection.execute("UPDATE turns SET has_run = 0 WHERE key = ?", (key,))


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


def forget_runs(connection: apsw.Connection, scope: Scope, turns: Sequence[TurnId]) -> None:
    """Delete the run logs of these turns; those that have no row had no run log."""
    for turn in turns:
        row = connection.execute(
            "SELECT key FROM turns WHERE tenant_id = ? AND id = ?", (scope.tenant, turn)
        ).fetchone()
        if row is not None:
            _delete_run(connection, row[0])


def delete_turns(connection: apsw.Connection, log: Log) -> None:
    """Delete all turns of a conversation with their run logs."""
    turns: list[Any] = connection.execute(
        "SELECT key FROM turns WHERE conversation = ?", (log.key,)
    ).fetchall()
    for (turn,) in turns:
        delete_rows(connection, "runs", turn)
    connection.execute("DELETE FROM turns WHERE conversation = ?", (log.key,))


def take(connection: apsw.Connection, owner: OwnerId, scope: Scope, turn: TurnId) -> TurnRecord:
    """See `ConversationStore.take_turn`."""
    named = (scope.tenant, turn)
    connection.execute(
        "UPDATE turns SET owner = ?, epoch = epoch + 1 WHERE tenant_id = ? AND id = ? AND open = 1",
        (owner, *named),
    )
    row = connection.execute(f"{TURN_COLUMNS} WHERE t.tenant_id = ? AND t.id = ?", named).fetchone()
    if row is None:
        raise missing("turn", turn)
    return turn_record(row)


def adopt(
    connection: apsw.Connection, owner: OwnerId, dead: Sequence[OwnerId], scope: Scope | None
) -> tuple[TurnRecord, ...]:
    """Make `owner` the owner of the open turns of all `dead` ones (of the scope's tenant, if there
    is one), with the next epoch."""
    adopted: list[int] = []
    tenant = None if scope is None else scope.tenant
    for name in dead:
        rows: list[Any] = connection.execute(
            "UPDATE turns SET owner = ?, epoch = epoch + 1 WHERE owner = ? AND open = 1"
            " AND (?3 IS NULL OR tenant_id = ?3) RETURNING key",
            (owner, name, tenant),
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
