"""How facts lie in the SQLite file: row ids, types as small numbers, and the parts of a log.

A fork has no copy of what it shares: its log consists of parts, the oldest in the conversation
where it was written. A fork of shared facts points to that conversation and not to another fork, so
there are only as many parts as conversations that wrote some of them.
"""

from typing import NamedTuple

import apsw
import msgspec

from palaver import codec
from palaver.domain.errors import StoreCorrupt
from palaver.domain.events import Event, UnknownEvent
from palaver.domain.ids import ConversationId
from palaver.domain.values import Scope
from palaver.store.projection import missing

NUMBER_BITS = 32
"""Of a row id; what is above is the key of the conversation or turn."""
NUMBERS = (1 << NUMBER_BITS) - 1


class Log(NamedTuple):
    """Where a conversation's log stands, as its row says."""

    key: int
    seq: int
    updated_ms: int


class Part(NamedTuple):
    """The facts `first` to `last` of a log lie under `key`; the last part is open-ended."""

    key: int
    first: int
    last: int

    @property
    def ids(self) -> tuple[int, int]:
        """The first and the last row id."""
        base = self.key << NUMBER_BITS
        return base + self.first, base + self.last

    def within(self, first: int, last: int) -> "Part":
        """What of it lies between these numbers; `first` is above `last` where nothing does."""
        return Part(self.key, max(self.first, first), min(self.last, last))


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

    def known(self, connection: apsw.Connection, name: str) -> int:
        """The number of a type, -1 where no fact of the file can have it. Writes nothing."""
        if name not in self._keys:
            self._load(connection)
        return self._keys.get(name, -1)

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


_PARTS = """
WITH RECURSIVE part (depth, key, origin, before, last) AS (
  SELECT 0, key, origin_key, origin_seq, ? FROM conversations WHERE key = ?
  UNION ALL
  SELECT depth + 1, c.key, c.origin_key, c.origin_seq, part.before
  FROM part JOIN conversations c ON c.key = part.origin
)
SELECT key, before + 1, last FROM part ORDER BY depth DESC
"""


def parts(connection: apsw.Connection, key: int) -> list[Part]:
    """Where the log of a conversation lies, the oldest part first."""
    return [Part(*row) for row in connection.execute(_PARTS, (NUMBERS, key))]


def part_with(found: list[Part], number: int) -> Part:
    """The part that holds a number from 1 on."""
    return next(part for part in found if part.first <= number <= part.last)


def decode(
    connection: apsw.Connection,
    kinds: Kinds,
    conversation: str,
    id_: int,
    kind: int,
    version: int,
    body: bytes,
) -> Event | UnknownEvent:
    """The fact of a row. Raises StoreCorrupt with its number where it cannot be read."""
    try:
        return codec.decode_event(body, kinds.name(connection, kind), version)
    except (msgspec.DecodeError, KeyError) as error:
        number = id_ & NUMBERS
        raise StoreCorrupt(f"event {number} of {conversation!r} is damaged: {error}") from error


def delete_rows(connection: apsw.Connection, table: str, key: int) -> None:
    """Delete the rows of one conversation or turn."""
    start = key << NUMBER_BITS
    connection.execute(
        f"DELETE FROM {table} WHERE id BETWEEN ? AND ?",  # noqa: S608 - our own table names
        (start, start + NUMBERS),
    )
