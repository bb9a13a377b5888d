"""What can be read of a damaged database's keys, spend and audit log.

Where a row is found twice, as it may be behind a lost directory of pages, the one that allows less
counts: a key that was revoked stays revoked, and money that was spent stays spent.
"""

from collections.abc import Mapping
from typing import Any

import apsw
import msgspec

from palaver.domain.access import PERMISSIONS, KeyLimits
from palaver.domain.ids import is_id
from palaver.store.access import DIGEST_BYTES, AuditEntry
from palaver.store.pages import Value
from palaver.store.sqlite_access import ADD_KEY, ADD_SPENT

_KEY_COLUMNS, _USAGE_COLUMNS = 11, 14


class SalvagedAccess:
    """Rows as they were found."""

    def __init__(self) -> None:
        self.keys: dict[str, tuple[Any, ...]] = {}
        self._used: dict[tuple[str, ...], tuple[int, ...]] = {}
        self._audit: dict[int, tuple[str, int, bytes]] = {}

    def take(self, id: int, values: tuple[Value, ...]) -> None:
        """Keep a row, if it is one of these."""
        match values:
            case (None, str(), str(name), str(), str(), bytes(), int(), *_) if len(
                values
            ) == _KEY_COLUMNS and is_id(name):
                self._key(name, values[1:])
            case (None, str(tenant), str(key), str(day), str(model), *counts) if len(
                values
            ) == _USAGE_COLUMNS and all(isinstance(n, int) for n in counts):
                self._usage((tenant, key, day, model), counts)
            case (None, str(tenant), int(at), bytes(entry)) if _is_entry(entry):
                self._audit.setdefault(id, (tenant, at, entry))
            case _:
                pass

    def write(self, connection: apsw.Connection) -> None:
        """Into a new file."""
        connection.executemany(ADD_KEY, list(self.keys.values()))
        connection.executemany(ADD_SPENT, [(*at, *n) for at, n in self._used.items()])
        connection.executemany(
            "INSERT INTO audit (number, tenant_id, at, entry) VALUES (?, ?, ?, ?)",
            [(number, *entry) for number, entry in sorted(self._audit.items())],
        )

    def _key(self, name: str, row: tuple[Any, ...]) -> None:
        *_, scopes, digest, _made, expires, revoked, used, limits = row
        is_whole = (
            len(digest) == DIGEST_BYTES
            and set(scopes.split()) <= set(PERMISSIONS)
            and all(each is None or isinstance(each, int) for each in (expires, revoked, used))
            and _is_limit(limits)
        )
        if not is_whole:
            return
        before = self.keys.get(name)
        if before is None or (before[7] is None and revoked is not None):
            self.keys[name] = row

    def _usage(self, at: tuple[str, ...], counts: Any) -> None:
        before = self._used.get(at, (0,) * len(counts))
        self._used[at] = tuple(map(max, before, counts))


def _is_limit(limits: object) -> bool:
    if not isinstance(limits, bytes):
        return limits is None
    try:
        msgspec.json.decode(limits, type=KeyLimits)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return True


def _is_entry(entry: bytes) -> bool:
    try:
        decoded: Mapping[str, Any] = msgspec.json.decode(entry)
        msgspec.convert(decoded, AuditEntry)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return True
