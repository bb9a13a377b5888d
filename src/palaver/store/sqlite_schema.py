"""The SQLite file: its schema, its migrations, and how connections to it are opened.

Numbers of facts and of rows of run logs live in the row ids (`conversation key << 32 | number`), so
the log needs no index of its own: reading a conversation is one range scan, and appending to it
touches the same few pages at turn 10 and at turn 5,000.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from palaver import codec
from palaver.domain.errors import StoreError, StoreFull, StoreReadOnly
from palaver.store.sqlite_errors import damaged, not_ours, translate

APPLICATION_ID = 0x50414C56
"""`PALV`."""
BUSY_S = 5.0
WAL_PAGES = 500
"""The write-ahead log is copied into the database whenever it has grown by so much (2 MB)."""
_PAGE_BYTES = 4096
_CACHE_KIB = 256
"""Pages that each connection keeps; SQLite's own 2,000 KiB for two of them are more than a long
conversation. Measured over 3,100 commits: 557 of 159,000 looks at a page missed, with twice as
much 207; loads and searches took the same."""

_FIRST = """
CREATE TABLE conversations (
  key INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused: row ids and the index are made of it
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  created_at INTEGER NOT NULL,  -- all times: milliseconds since 1970
  updated_at INTEGER NOT NULL,
  messages INTEGER NOT NULL,
  archived INTEGER NOT NULL,
  preview TEXT NOT NULL,
  metadata BLOB NOT NULL,
  UNIQUE (tenant_id, id)
);
CREATE INDEX conversations_by_change ON conversations (tenant_id, archived, updated_at, key);
CREATE TABLE kinds (key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE events (
  id INTEGER PRIMARY KEY,  -- conversation key << 32 | seq
  kind INTEGER NOT NULL,
  version INTEGER NOT NULL,
  at INTEGER NOT NULL,
  body BLOB NOT NULL
);
CREATE TABLE snapshots (
  conversation INTEGER NOT NULL,
  version INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (conversation, version)
) WITHOUT ROWID;
CREATE TABLE turns (
  key INTEGER PRIMARY KEY,
  tenant_id TEXT NOT NULL,
  actor TEXT NOT NULL,
  id TEXT NOT NULL,
  conversation INTEGER NOT NULL,
  message INTEGER NOT NULL,  -- number of the user message's fact
  owner TEXT NOT NULL,
  open INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  has_run INTEGER NOT NULL,
  idempotency_key TEXT,
  UNIQUE (tenant_id, id)
);
CREATE INDEX turns_open ON turns (owner) WHERE open = 1;
CREATE INDEX turns_of_conversation ON turns (conversation);
CREATE INDEX turns_with_run ON turns (conversation) WHERE has_run = 1;
CREATE UNIQUE INDEX turns_by_idempotency_key ON turns (conversation, idempotency_key)
  WHERE idempotency_key IS NOT NULL;
CREATE TABLE runs (
  id INTEGER PRIMARY KEY,  -- turn key << 32 | first
  last INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  body BLOB NOT NULL
);
CREATE VIRTUAL TABLE search USING fts5 (
  terms,  -- as search_text cuts them
  content = '', contentless_delete = 1, tokenize = 'ascii'
);
CREATE TABLE search_events (
  id INTEGER PRIMARY KEY,  -- row id in search; small and dense, for every posting holds one
  event INTEGER NOT NULL
);
CREATE UNIQUE INDEX search_events_by_event ON search_events (event);
"""

_SECOND = """
-- A fork shares the facts 1 to origin_seq, which lie under origin_key or under that one's origin.
ALTER TABLE conversations ADD COLUMN origin_key INTEGER;
ALTER TABLE conversations ADD COLUMN origin_seq INTEGER NOT NULL DEFAULT 0;
CREATE INDEX conversations_by_origin ON conversations (origin_key, origin_seq)
  WHERE origin_key IS NOT NULL;
CREATE TABLE marks (
  id INTEGER PRIMARY KEY,  -- conversation key << 32 | seq; what the listing said at that number
  messages INTEGER NOT NULL,
  preview TEXT NOT NULL,
  metadata BLOB NOT NULL
);
DROP TABLE snapshots;  -- those of the older version serve nobody any more
CREATE TABLE snapshots (
  conversation INTEGER NOT NULL,
  version INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (conversation, version, seq)
) WITHOUT ROWID;
"""

_THIRD = """
CREATE TABLE erasures (id INTEGER PRIMARY KEY);  -- done, but the index may still hold their words
"""

_FOURTH = """
ALTER TABLE conversations ADD COLUMN outbox INTEGER NOT NULL DEFAULT 0;  -- prompts that wait
CREATE INDEX conversations_with_outbox ON conversations (tenant_id, updated_at) WHERE outbox > 0;
"""

_FIFTH = """
CREATE TABLE access_keys (
  key INTEGER PRIMARY KEY,
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  scopes TEXT NOT NULL,  -- with a space between them
  digest BLOB NOT NULL,  -- SHA-256 of the whole key, which itself is nowhere
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER,
  last_used_at INTEGER,
  limits BLOB  -- JSON
);
CREATE INDEX access_keys_of_tenant ON access_keys (tenant_id);
CREATE TABLE access_usage (
  id INTEGER PRIMARY KEY,
  tenant_id TEXT NOT NULL,
  key_id TEXT NOT NULL,
  day TEXT NOT NULL,  -- of UTC, such as 2026-11-22
  model TEXT NOT NULL,
  requests INTEGER NOT NULL,
  unpriced INTEGER NOT NULL,
  nano_usd INTEGER NOT NULL,  -- whole numbers: sums of small prices stay exact
  input INTEGER NOT NULL,
  output INTEGER NOT NULL,
  cache_read INTEGER NOT NULL,
  cache_creation INTEGER NOT NULL,
  reasoning INTEGER NOT NULL,
  estimated INTEGER NOT NULL,
  UNIQUE (tenant_id, key_id, day, model)
);
CREATE INDEX access_usage_by_day ON access_usage (tenant_id, day);
CREATE TABLE audit (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant_id TEXT NOT NULL,
  at INTEGER NOT NULL,
  entry BLOB NOT NULL  -- JSON
);
CREATE INDEX audit_of_tenant ON audit (tenant_id, number);
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit log is only appended to'); END;
CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit log is only appended to'); END;
"""

_SIXTH = """
CREATE TABLE answers (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant_id TEXT NOT NULL,
  request BLOB NOT NULL,  -- a hash
  event INTEGER NOT NULL,  -- the fact that adds the answer
  at INTEGER NOT NULL
);
CREATE UNIQUE INDEX answers_by_request ON answers (tenant_id, request);
CREATE INDEX answers_by_event ON answers (event);
"""

MIGRATIONS = (_FIRST, _SECOND, _THIRD, _FOURTH, _FIFTH, _SIXTH)
"""Each brings the file from the version that is its position to the next one. Never edited."""


def connect_writer(path: Path) -> apsw.Connection:
    """A connection that may write, to a file that has the present schema when this returns."""
    try:
        connection = apsw.Connection(str(path))
    except apsw.Error as error:
        raise _cannot_open(path, error) from error
    try:
        with translated(connection, path):
            _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path, *, alone: bool = False) -> apsw.Connection:
    """A connection that only reads. `alone`: and lets no other in, because the index of the
    write-ahead log is in its memory."""
    try:
        connection = apsw.Connection(str(path))
    except apsw.Error as error:
        raise _cannot_open(path, error) from error
    try:
        with translated(connection, path):
            connection.set_busy_timeout(round(BUSY_S * 1000))
            if alone:  # before anything is read
                connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
            connection.execute(f"PRAGMA query_only = ON; PRAGMA cache_size = -{_CACHE_KIB}")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_on_full_disk(path: Path) -> apsw.Connection:
    """A connection that only reads, and for which no file has to be made or to grow.

    Where another process works with the file, its index of the write-ahead log serves; else there
    is no room for one. Raises StoreError, also for a file with the schema of another version.
    """
    try:
        connection = connect_reader(path)
    except StoreFull:
        connection = connect_reader(path, alone=True)
    return _checked_reader(connection, path)


def connect_read_only(path: Path) -> apsw.Connection:
    """A connection to a file, or in a folder, that cannot be written.

    Raises StoreError also for a file of which a part is only in a write-ahead log that nobody has
    open: SQLite needs to write beside it to read that.
    """
    wal = path.with_name(path.name + "-wal")
    is_whole = not wal.exists() or not wal.stat().st_size
    try:
        connection = apsw.Connection(
            f"{path.resolve().as_uri()}?mode=ro{'&immutable=1' if is_whole else ''}",
            flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI,
        )
    except apsw.Error as error:
        raise _cannot_open(path, error) from error
    with translated(connection, path):
        connection.set_busy_timeout(round(BUSY_S * 1000))
        connection.execute(f"PRAGMA query_only = ON; PRAGMA cache_size = -{_CACHE_KIB}")
    return _checked_reader(connection, path)


def _checked_reader(connection: apsw.Connection, path: Path) -> apsw.Connection:
    try:
        with translated(connection, path):
            if _pragma(connection, "application_id") != APPLICATION_ID:
                raise not_ours(path)
            if _pragma(connection, "user_version") != len(MIGRATIONS):
                raise StoreError(f"{path} cannot be brought up to date")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def translated(connection: apsw.Connection, path: Path) -> Iterator[None]:
    """SQLite's errors become ours on the way out."""
    try:
        yield
    except apsw.Error as error:
        raise translate(error, path, system_error=connection.system_errno) from error


def check(connection: apsw.Connection, path: Path) -> None:
    """Raises StoreCorrupt unless the whole file reads well. Takes about 1 s per GB."""
    with translated(connection, path):
        found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(5)")]
    if found != ["ok"]:
        raise damaged(path, "; ".join(found))


def _prepare(connection: apsw.Connection, path: Path) -> None:
    connection.set_busy_timeout(round(BUSY_S * 1000))
    if _pragma(connection, "schema_version") == 0:
        # These only take effect before the first table; 4 KB packs rows of 0.2 to 2 KB best.
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}; PRAGMA auto_vacuum = INCREMENTAL")
    elif _pragma(connection, "application_id") != APPLICATION_ID:
        raise not_ours(path)
    _enter_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {2 * WAL_PAGES * _PAGE_BYTES}")
    connection.execute("PRAGMA secure_delete = FAST")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    _migrate(connection, path)


def _enter_wal(connection: apsw.Connection) -> None:
    # The change of journal mode does not wait by itself when another process does it just now.
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            return
        except apsw.BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _migrate(connection: apsw.Connection, path: Path) -> None:
    if _pragma(connection, "user_version") < len(MIGRATIONS):
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Read again: another process may have migrated while this one waited for the lock.
            version = _pragma(connection, "user_version")
            for migration in MIGRATIONS[version:]:
                connection.execute(migration)
            if version < len(MIGRATIONS):
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            names = [(name,) for name in codec.VERSIONS]
            connection.executemany("INSERT OR IGNORE INTO kinds (name) VALUES (?)", names)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    if _pragma(connection, "user_version") > len(MIGRATIONS):
        raise StoreError(
            f"{path} was written by a newer Palaver", hint="Upgrade Palaver to open this file."
        )


def _pragma(connection: apsw.Connection, name: str) -> int:
    value = connection.pragma(name)
    assert isinstance(value, int)
    return value


def _cannot_open(path: Path, error: apsw.Error) -> StoreError:
    if path.is_dir():
        return StoreError(f"{path} is a folder", hint="Name a file for the database.")
    if isinstance(error, apsw.CantOpenError):
        return StoreReadOnly(f"{path} cannot be opened for writing")
    return translate(error, path)
