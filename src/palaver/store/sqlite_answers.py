"""Where earlier answers stand, by the keys of their requests, in the SQLite file.

A row names a fact and repeats nothing of it. It goes with the conversation, and when anything in
that, or in what it shares, is redacted: its key was made of what was said.
"""

from collections.abc import Iterable

import apsw

from palaver.domain.events import MessageAdded
from palaver.domain.ids import ConversationId
from palaver.domain.messages import Flag, Message
from palaver.domain.values import Scope
from palaver.store.sqlite_rows import NUMBER_BITS, NUMBERS, Kinds, decode, find_log

_SWEEP = 64
"""Between looks at how many there are: each is a walk over all that are kept."""


def note(
    connection: apsw.Connection,
    scope: Scope,
    conversation: ConversationId,
    number: int,
    key: bytes,
    *,
    keep: int,
    now_ms: int,
) -> None:
    """See `AnswerStore.note_answer`."""
    log = find_log(connection, scope, conversation)
    event = (log.key << NUMBER_BITS) + number
    connection.execute(
        "DELETE FROM answers WHERE tenant_id = ? AND request = ?", (scope.tenant, key)
    )
    connection.execute(
        "INSERT INTO answers (tenant_id, request, event, at) VALUES (?, ?, ?, ?)",
        (scope.tenant, key, event, now_ms),
    )
    if connection.last_insert_rowid() % _SWEEP == 0:
        connection.execute(
            "DELETE FROM answers WHERE tenant_id = ?1 AND id <= (SELECT id FROM answers"
            " WHERE tenant_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            (scope.tenant, keep),
        )


def find(
    connection: apsw.Connection, kinds: Kinds, scope: Scope, key: bytes, *, since_ms: int
) -> Message | None:
    """See `AnswerStore.find_answer`."""
    row = connection.execute(
        "SELECT e.id, e.kind, e.version, e.body FROM answers a JOIN events e ON e.id = a.event"
        " WHERE a.tenant_id = ? AND a.request = ? AND a.at >= ?",
        (scope.tenant, key, since_ms),
    ).fetchone()
    if row is None:
        return None
    fact = decode(connection, kinds, "an earlier conversation", *row)
    if not isinstance(fact, MessageAdded) or Flag.REDACTED in fact.message.flags:
        return None
    return fact.message


def forget(connection: apsw.Connection, conversations: Iterable[int]) -> None:
    """Forget the answers of these conversations, by their keys."""
    for key in conversations:
        start = key << NUMBER_BITS
        connection.execute(
            "DELETE FROM answers WHERE event BETWEEN ? AND ?", (start, start + NUMBERS)
        )
