"""Repairing a damaged database: what can be read goes into a new file, which takes its place.

    refuse while another process works with it  →  copy the damaged files aside, where they stay
    →  read what can be read (`pages`, `salvage`)  →  write it anew, index and all
    →  check the new file whole  →  put it in the place of the old one, in one step

Of each conversation the longest beginning without gap is kept whose facts make sense one after
another: a conversation that ends early is one that can be gone on with. Nothing is invented, and
what is missing is said.
"""

import os
import shutil
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import apsw
import msgspec

from palaver.domain import snapshot as snapshots
from palaver.domain.errors import StoreBusy, StoreCorrupt, StoreError
from palaver.domain.events import ConversationForked, Event, Recorded
from palaver.domain.state import ConversationState
from palaver.domain.values import Scope
from palaver.store.os_errors import translate_os
from palaver.store.owners import Owners
from palaver.store.pages import Pages
from palaver.store.projection import encode_facts, summarise
from palaver.store.salvage import Found, Salvage, TurnRow, sorted_out
from palaver.store.sqlite_rows import NUMBER_BITS, Kinds
from palaver.store.sqlite_schema import check, connect_writer, translated
from palaver.store.sqlite_writes import MARK_EVERY, encode_metadata, write_mark, write_terms
from palaver.system import new_id

_SIDES = ("-wal", "-shm", "-journal")


class Shortened(msgspec.Struct, frozen=True):
    """A conversation of which something is missing. `lost`: facts behind the ones that were kept;
    None where nobody knows how many there were."""

    id: str
    title: str
    kept: int
    lost: int | None
    messages: int
    is_renamed: bool = False
    """Its row was lost, and its id with it; this is a new one."""


class RepairReport(msgspec.Struct, frozen=True):
    """What a repair did."""

    file: Path
    kept: tuple[Path, ...]
    """Copies of the damaged files, as they were."""
    bad_pages: int
    whole: int
    """Conversations that are complete."""
    shortened: tuple[Shortened, ...]
    lost: tuple[str, ...]
    """Ids of conversations of which nothing could be read."""
    messages: int
    open_turns: int
    """Turns that were under way; they are ended, or run on, at the next start."""
    keys: int = 0
    """Of the server's, revoked ones included. Those that are missing open nothing any more."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing that is known to have been there."""
        return not self.shortened and not self.lost


def repair(path: Path) -> RepairReport:
    """Repair the database at `path`. Blocks; takes about a minute for 100 MB.

    Raises StoreBusy while another process works with it, StoreCorrupt where nothing can be saved,
    StoreFull, StoreError. Unless it returns, the file is as it was.
    """
    if not path.is_file():
        raise StoreError(f"there is no database {path}")
    try:
        return _repair(path)
    except OSError as error:
        raise translate_os(error, path) from error


def _repair(path: Path) -> RepairReport:
    owners = Owners(path)
    _check_alone(owners, path)
    before = _stamp(path)
    kept = _copied_aside(path)
    new = path.with_name(path.name + ".repaired")
    _remove(new)
    try:
        report = _rebuilt(path, kept, new)
        _check_alone(owners, path)
        if _stamp(path) != before:
            raise StoreBusy(f"another program has changed {path} meanwhile")
        _put_in_place(new, path)
    except BaseException:
        _remove(new)
        raise
    return report


def _check_alone(owners: Owners, path: Path) -> None:
    if owners.living():
        raise StoreBusy(
            f"another process works with {path}",
            hint="Close every program that uses it, then repair it.",
        )


def _stamp(path: Path) -> tuple[object, ...]:
    files = (path, path.with_name(path.name + "-wal"))
    return tuple((f.stat().st_size, f.stat().st_mtime_ns) if f.exists() else None for f in files)


def _copied_aside(path: Path) -> tuple[Path, ...]:
    """Copies of the file and its write-ahead log, named so that SQLite takes them for a pair."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{stamp}-{number}")
    kept: list[Path] = []
    for side in ("", *_SIDES):
        source = path.with_name(path.name + side)
        if source.exists() and side != "-shm":
            target = aside.with_name(aside.name + side)
            shutil.copy2(source, target)
            _sync(target)
            kept.append(target)
    return tuple(kept)


def _rebuilt(path: Path, kept: tuple[Path, ...], new: Path) -> RepairReport:
    pages = Pages(kept[0])
    try:
        salvage = sorted_out(pages.rows())
        bad = pages.bad
    finally:
        pages.close()
    if not any(found.facts for found in salvage.found.values()) and not salvage.access.keys:
        raise StoreCorrupt(
            f"nothing can be saved of {path}",
            hint=f"Restore a backup. Copies of the damaged files: {kept[0]}",
        )
    connection = connect_writer(new)
    try:
        with translated(connection, new):
            connection.execute("BEGIN IMMEDIATE")
            writer = _Rebuilder(connection, salvage)
            report = writer.write(path, kept, bad)
            connection.execute("COMMIT")
            check(connection, new)
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    finally:
        connection.close()
    _sync(new)
    return report


class _Rebuilder:
    """Writes what was saved, under the keys that it had."""

    def __init__(self, connection: apsw.Connection, salvage: Salvage) -> None:
        self._connection, self._salvage = connection, salvage
        self._kinds = Kinds()
        tenants = Counter(f.tenant for f in salvage.found.values() if f.tenant)
        self._tenant = tenants.most_common(1)[0][0] if tenants else Scope().tenant
        self._open_turns = 0

    def write(self, path: Path, kept: tuple[Path, ...], bad: int) -> RepairReport:
        whole, messages = 0, 0
        shortened: list[Shortened] = []
        lost: list[str] = []
        for key in sorted(self._salvage.found):
            found = self._salvage.found[key]
            records, state = self._salvage.history(key)
            if not records:
                lost.append(found.id or f"(number {key})")
                continue
            is_renamed = found.id is None
            end = self._conversation(found, records, state)
            messages += end
            last = max((found.seq, *found.facts), default=0)
            if is_renamed or len(records) < last:
                missing = None if is_renamed else last - len(records)
                title = state.metadata.title
                short = Shortened(found.id or "", title, len(records), missing, end, is_renamed)
                shortened.append(short)
            else:
                whole += 1
        access = self._salvage.access
        access.write(self._connection)
        opened, keys = self._open_turns, len(access.keys)
        return RepairReport(
            path, kept, bad, whole, tuple(shortened), tuple(lost), messages, opened, keys
        )

    def _conversation(self, found: Found, records: list[Recorded], state: ConversationState) -> int:
        """Write one; returns how many messages it has."""
        found.id = found.id or new_id("conv")
        found.tenant = found.tenant or self._tenant
        has_origin = found.origin in self._salvage.found and found.origin_seq > 0
        own_from = found.origin_seq if has_origin else 0
        self._connection.execute(
            "INSERT INTO conversations (key, tenant_id, id, seq, created_at, updated_at, messages,"
            " archived, preview, metadata, origin_key, origin_seq)"
            " VALUES (?, ?, ?, 0, ?, ?, 0, 0, '', '{}', ?, ?)",
            (
                found.key,
                found.tenant,
                found.id,
                found.created_ms or round(records[0].at * 1000),
                round(records[-1].at * 1000),
                found.origin if own_from else None,
                min(own_from, len(records)),
            ),
        )
        listed = _Listed(self._connection, found.key)
        for recorded in records:
            if recorded.seq > own_from:
                self._fact(found, recorded)
            listed.take(recorded, has_mark=recorded.seq > own_from)
        listed.write()
        self._snapshot(found, state)
        self._turns(found, records, state)
        return listed.messages

    def _fact(self, found: Found, recorded: Recorded) -> None:
        (fact,) = encode_facts([_as_event(recorded)])
        row = found.facts[recorded.seq]
        id_ = (found.key << NUMBER_BITS) + recorded.seq
        self._connection.execute(
            "INSERT INTO events (id, kind, version, at, body) VALUES (?, ?, ?, ?, ?)",
            (id_, self._kinds.key(self._connection, fact.kind), row.version, row.at_ms, row.body),
        )
        write_terms(self._connection, id_, fact)

    def _snapshot(self, found: Found, state: ConversationState) -> None:
        taken = snapshots.take(state)
        self._connection.execute(
            "INSERT INTO snapshots (conversation, version, seq, body) VALUES (?, ?, ?, ?)",
            (found.key, taken.version, taken.seq, taken.body),
        )

    def _turns(self, found: Found, records: list[Recorded], state: ConversationState) -> None:
        opened = None if state.turn is None else state.turn.id
        seen: set[str] = set()
        keys: set[str] = set()
        for turn in found.turns:
            is_double = turn.id in seen or turn.idempotency_key in keys
            if turn.message > len(records) or is_double:
                continue
            seen.add(turn.id)
            keys |= {turn.idempotency_key} - {None}  # type: ignore[arg-type]
            self._turn(found, turn, is_open=turn.id == opened)
        if opened is not None:
            self._open_turns += 1
            if opened not in seen:
                now_ms = round(records[-1].at * 1000)
                owner = new_id("owner")  # of nobody, so the next start decides about the turn
                scope = Scope()
                tenant = found.tenant or self._tenant
                made = TurnRow(0, tenant, scope.actor, opened, 1, owner, 0, now_ms, None)
                self._turn(found, made, is_open=True)

    def _turn(self, found: Found, turn: TurnRow, *, is_open: bool) -> None:
        runs = self._salvage.runs.get(turn.key, []) if is_open and turn.key else []
        rows: list[tuple[int, int, int, bytes]] = []
        for row in sorted(runs):  # up to the first gap
            if row[0] != (rows[-1][1] + 1 if rows else 1) or row[2] > turn.epoch:
                break
            rows.append(row)
        self._connection.execute(
            "INSERT INTO turns (key, tenant_id, actor, id, conversation, message, owner, open,"
            " epoch, started_at, has_run, idempotency_key)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                turn.key or None,
                found.tenant,
                turn.actor,
                turn.id,
                found.key,
                turn.message,
                turn.owner,
                is_open,
                turn.epoch,
                turn.started_ms,
                bool(rows),
                turn.idempotency_key,
            ),
        )
        key = self._connection.last_insert_rowid()
        self._connection.executemany(
            "INSERT INTO runs (id, last, epoch, body) VALUES (?, ?, ?, ?)",
            [
                ((key << NUMBER_BITS) + first, last, epoch, body)
                for first, last, epoch, body in rows
            ],
        )


class _Listed:
    """What a listing shows of a conversation, and the marks that forks begin from."""

    def __init__(self, connection: apsw.Connection, key: int) -> None:
        self._connection, self._key = connection, key
        self.messages, self._outbox, self._last = 0, 0, 0
        self._metadata: tuple[bytes, bool] = (b"{}", False)
        self._preview = ""

    def take(self, recorded: Recorded, *, has_mark: bool) -> None:
        change = summarise([_as_event(recorded)])
        self.messages += change.messages
        self._outbox += change.outbox
        if isinstance(recorded.event, ConversationForked):
            self._outbox = 0  # what waits is sent there
        self._last = recorded.seq
        if change.preview is not None:
            self._preview = change.preview
        if change.metadata is not None:
            self._metadata = encode_metadata(change.metadata), change.metadata.archived
        if has_mark and recorded.seq % MARK_EVERY == 0:
            self.write()
            write_mark(self._connection, self._key)

    def write(self) -> None:
        metadata, archived = self._metadata
        self._connection.execute(
            "UPDATE conversations SET seq = ?, messages = ?, preview = ?, metadata = ?,"
            " archived = ?, outbox = ? WHERE key = ?",
            (
                *(self._last, self.messages, self._preview, metadata),
                *(archived, max(self._outbox, 0), self._key),
            ),
        )


def _as_event(recorded: Recorded) -> Event:
    return recorded.event  # type: ignore[return-value]  # unknown ones are written as they are


def _put_in_place(new: Path, path: Path) -> None:
    """The copies aside are whole, so nothing is lost whatever happens in between."""
    for side in _SIDES:
        _remove(path.with_name(path.name + side))
    shutil.copymode(path, new)
    new.replace(path)
    _sync(path.parent)


def _remove(path: Path) -> None:
    for side in ("", *_SIDES):
        with suppress(FileNotFoundError):
            path.with_name(path.name + side).unlink()


def _sync(path: Path) -> None:
    if os.name != "nt" or path.is_file():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
