"""Erasing from the SQLite file: deletion of a conversation, redaction of facts.

What is erased is overwritten with zeros. Two places keep words for a while after the transaction:
the search index until its pages are merged (`merge_index`), and the write-ahead log until it is
emptied. That this is still to do is written down with the erasure itself, so a crash between the
two leaves it for whoever opens the file next.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import apsw

from palaver.domain.events import Event
from palaver.domain.ids import ConversationId, TurnId
from palaver.domain.values import Scope
from palaver.store import sqlite_answers as answers
from palaver.store.base import Appended
from palaver.store.projection import Fact, check_number, check_same_type, encode_facts, summarise
from palaver.store.sqlite_forks import Sharer, Standing, give_to_heir, sharers, standing
from palaver.store.sqlite_rows import (
    NUMBER_BITS,
    NUMBERS,
    Kinds,
    Part,
    delete_rows,
    find_log,
    part_with,
    parts,
)
from palaver.store.sqlite_turns import delete_turns, forget_runs
from palaver.store.sqlite_writes import Batch, check_expected, write_facts, write_terms


@contextmanager
def _overwriting(connection: apsw.Connection) -> Iterator[None]:
    """What is deleted within the block is overwritten also where that costs more writing."""
    connection.execute("PRAGMA secure_delete = ON")
    try:
        yield
    finally:
        connection.execute("PRAGMA secure_delete = FAST")


def last_erasure(connection: apsw.Connection) -> int:
    """The number of the newest erasure of which words may be left; 0 if there is none."""
    row = connection.execute("SELECT coalesce(max(id), 0) FROM erasures").fetchone()
    assert row is not None
    return int(row[0])


def note_cleared(connection: apsw.Connection, until: int) -> None:
    """Nothing is left of the erasures up to that one."""
    connection.execute("DELETE FROM erasures WHERE id <= ?", (until,))


def delete(connection: apsw.Connection, scope: Scope, conversation: ConversationId) -> None:
    """See `ConversationStore.delete`."""
    log = find_log(connection, scope, conversation)
    connection.execute("INSERT INTO erasures DEFAULT VALUES")
    with _overwriting(connection):
        give_to_heir(connection, log.key)
        delete_turns(connection, log)
        answers.forget(connection, [log.key])
        connection.execute("DELETE FROM snapshots WHERE conversation = ?", (log.key,))
        ids = Part(log.key, 0, NUMBERS).ids
        connection.execute(
            "DELETE FROM search WHERE rowid IN"
            " (SELECT id FROM search_events WHERE event BETWEEN ? AND ?)",
            ids,
        )
        connection.execute("DELETE FROM search_events WHERE event BETWEEN ? AND ?", ids)
        delete_rows(connection, "marks", log.key)
        delete_rows(connection, "events", log.key)
        connection.execute("DELETE FROM conversations WHERE key = ?", (log.key,))


class Replacement(NamedTuple):
    """What is to stand at a number from now on. `listed`: it may change a listing."""

    number: int
    fact: Fact
    listed: bool


def replacements(replaced: Sequence[tuple[int, Event]]) -> list[Replacement]:
    """Raises InvalidInput for text that cannot be encoded."""
    if not replaced:
        return []
    facts = encode_facts([event for _, event in replaced])
    changes = [summarise([event]) for _, event in replaced]
    return [
        Replacement(number, fact, change.preview is not None or change.metadata is not None)
        for (number, _), fact, change in zip(replaced, facts, changes, strict=True)
    ]


def rewrite(
    connection: apsw.Connection,
    kinds: Kinds,
    scope: Scope,
    conversation: ConversationId,
    replaced: Sequence[Replacement],
    batch: Batch,
    *,
    expected: int,
    runs: Sequence[TurnId],
    now_ms: int,
) -> Appended:
    """See `ConversationStore.rewrite`. The index may hold old words until it has been merged."""
    log = find_log(connection, scope, conversation)
    check_expected(log, expected)
    found = parts(connection, log.key)
    for new in replaced:
        check_number(conversation, new.number, log.seq)
    connection.execute("INSERT INTO erasures DEFAULT VALUES")
    with _overwriting(connection):
        for part in found:
            here = [new for new in replaced if part_with(found, new.number) == part]
            if here:
                _replace_here(connection, kinds, part.key, here)
        forget_runs(connection, scope, runs)
        return write_facts(connection, kinds, log, batch, now_ms)


def _replace_here(
    connection: apsw.Connection, kinds: Kinds, key: int, replaced: Sequence[Replacement]
) -> None:
    for new in replaced:
        _replace(connection, kinds, (key << NUMBER_BITS) + new.number, new)
    first = min(new.number for new in replaced)
    sharing = sharers(connection, key, first)
    answers.forget(connection, (key, *(sharer.key for sharer in sharing)))
    for seer in (key, *(sharer.key for sharer in sharing)):
        connection.execute(
            "DELETE FROM snapshots WHERE conversation = ? AND seq >= ?", (seer, first)
        )
    if any(new.listed for new in replaced):
        _list_anew(connection, kinds, key, first, sharing)


def _replace(connection: apsw.Connection, kinds: Kinds, id_: int, new: Replacement) -> None:
    row = connection.execute("SELECT kind FROM events WHERE id = ?", (id_,)).fetchone()
    assert row is not None
    check_same_type(new.number, new.fact.kind, kinds.name(connection, row[0]))
    connection.execute(
        "UPDATE events SET version = ?, body = ? WHERE id = ?",
        (new.fact.version, new.fact.body, id_),
    )
    connection.execute(
        "DELETE FROM search WHERE rowid IN (SELECT id FROM search_events WHERE event = ?)", (id_,)
    )
    connection.execute("DELETE FROM search_events WHERE event = ?", (id_,))
    write_terms(connection, id_, new.fact)


def _list_anew(
    connection: apsw.Connection, kinds: Kinds, key: int, first: int, sharing: Sequence[Sharer]
) -> None:
    """Correct marks and listings from `first` on, in the conversation and in what shares it."""
    own: Any = connection.execute(
        "SELECT key, 0, origin_seq, seq FROM conversations WHERE key = ?", (key,)
    ).fetchone()
    assert own is not None
    # A fork's marks begin from the one of its origin, so that one is corrected before.
    for seer in (Sharer(*own), *sharing):
        ids = Part(seer.key, first if seer.key == key else seer.shared, NUMBERS).ids
        marks: list[Any] = connection.execute(
            "SELECT id & ? FROM marks WHERE id BETWEEN ? AND ? ORDER BY id", (NUMBERS, *ids)
        ).fetchall()
        for (at,) in marks:
            if at == seer.shared:
                now = standing(connection, kinds, seer.origin, at)
            else:
                now = standing(connection, kinds, seer.key, at, mark_until=at - 1)
            _correct_mark(connection, (seer.key << NUMBER_BITS) + at, now)
        _correct_line(connection, seer.key, standing(connection, kinds, seer.key, seer.seq))


def _correct_mark(connection: apsw.Connection, id_: int, now: Standing) -> None:
    connection.execute(
        "UPDATE marks SET messages = ?, preview = ?, metadata = ? WHERE id = ?", (*now, id_)
    )


def _correct_line(connection: apsw.Connection, key: int, now: Standing) -> None:
    connection.execute(
        "UPDATE conversations SET messages = ?, preview = ?, metadata = ?, archived = ?"
        " WHERE key = ?",
        (*now, now.archived, key),
    )


def merge_index(connection: apsw.Connection, pages: int) -> bool:
    """Rewrite up to `pages` pages of the index without deleted words; returns whether more is left.

    A negative number begins such a round over the whole index, positive ones continue it.
    """
    before = connection.total_changes()
    with _overwriting(connection):
        connection.execute("INSERT INTO search (search, rank) VALUES ('merge', ?)", (pages,))
    return connection.total_changes() - before >= 2  # FTS5's own sign of having done something
