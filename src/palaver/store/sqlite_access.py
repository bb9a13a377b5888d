"""Keys, spend and the audit log in the SQLite file, by the threads of the conversation store.

Every text reaches SQL as a bound parameter, in the look-up of a key above all: it is asked with
whatever somebody sends before anybody knows who that is.
"""

from collections.abc import Coroutine
from datetime import date
from typing import Any, Protocol, TypeVar

import apsw
import msgspec
from msgspec.structs import replace

from palaver.domain.access import KeyLimits
from palaver.domain.clock import Clock
from palaver.domain.errors import Conflict
from palaver.domain.ids import is_id
from palaver.domain.values import Usage
from palaver.store.access import (
    NANO,
    TOUCH_S,
    ApiKey,
    AuditEntry,
    UsageRow,
    as_made,
    check_key,
    check_spent,
    check_text,
    storable_entry,
)
from palaver.store.projection import missing, page_size
from palaver.store.sqlite_writer import Work

T = TypeVar("T")


class Reads(Protocol):
    """The thread that reads."""

    def __call__(self, work: Work[T]) -> Coroutine[Any, Any, T]:
        """What `work` returns, from one unchanging view of the file."""
        ...


class Writes(Protocol):
    """The thread that writes."""

    def __call__(self, work: Work[T], *, synced: bool = True) -> Coroutine[Any, Any, T]:
        """What `work` returns, once it is durable."""
        ...


class SqliteAccess:
    """An `AccessStore` in the file of a `SqliteStore`, which opens and closes it."""

    def __init__(self, *, read: Reads, write: Writes, clock: Clock) -> None:
        self._read, self._write, self._clock = read, write, clock
        self._touched: dict[str, int] = {}
        """When each key was last touched here; only keys that exist get in."""

    async def add_key(self, key: ApiKey, digest: bytes) -> ApiKey:
        """See `AccessStore.add_key`."""
        check_key(key, digest)
        made = as_made(key, now=self._clock.now())
        await self._write(lambda c: _add_key(c, made, digest))
        return made

    async def key_by_id(self, id: str) -> tuple[ApiKey, bytes] | None:
        """See `AccessStore.key_by_id`."""
        return await self._read(lambda c: _key_by_id(c, id)) if is_id(id) else None

    async def keys(self, tenant: str | None = None) -> tuple[ApiKey, ...]:
        """See `AccessStore.keys`."""
        return await self._read(lambda c: _keys(c, tenant))

    async def revoke_key(self, id: str, *, tenant: str | None = None) -> ApiKey:
        """See `AccessStore.revoke_key`."""
        if not is_id(id):
            raise missing("key", id)
        now_ms = self._now_ms()
        return await self._write(lambda c: _revoke(c, id, tenant, now_ms))

    async def touch_key(self, id: str) -> None:
        """See `AccessStore.touch_key`."""
        now_ms = self._now_ms()
        before = self._touched.get(id)
        if not is_id(id) or (before is not None and now_ms - before < TOUCH_S * 1000):
            return
        if await self._write(lambda c: _touch(c, id, now_ms), synced=False):
            self._touched[id] = now_ms

    async def add_spent(
        self,
        tenant: str,
        key: str,
        day: date,
        model: str,
        *,
        usage: Usage,
        cost: float | None,
        requests: int = 1,
    ) -> None:
        """See `AccessStore.add_spent`."""
        for what, text in (("a tenant's name", tenant), ("a key", key), ("a model", model)):
            check_text(what, text)
        check_spent(usage, cost, requests)
        counts = (
            *(requests, requests if cost is None else 0, round((cost or 0.0) * NANO)),
            *(usage.input, usage.output, usage.cache_read, usage.cache_creation, usage.reasoning),
            int(usage.estimated),
        )
        values = (tenant, key, day.isoformat(), model, *counts)
        await self._write(lambda c: c.execute(ADD_SPENT, values).fetchall())

    async def spent(self, tenant: str, key: str, day: date) -> float:
        """See `AccessStore.spent`."""
        return await self._read(lambda c: _spent(c, tenant, key, day))

    async def usage(
        self, tenant: str, *, since: date, until: date, key: str | None = None
    ) -> tuple[UsageRow, ...]:
        """See `AccessStore.usage`."""
        return await self._read(lambda c: _usage(c, tenant, since, until, key))

    async def audit(self, entry: AuditEntry) -> AuditEntry:
        """See `AccessStore.audit`."""
        now_ms = self._now_ms()
        kept = storable_entry(entry, number=0, at=now_ms / 1000)
        number = await self._write(lambda c: _audit(c, kept, now_ms))
        return replace(kept, number=number)

    async def audit_entries(
        self, tenant: str, *, after: int = 0, limit: int = 100
    ) -> tuple[AuditEntry, ...]:
        """See `AccessStore.audit_entries`."""
        size = page_size(limit)
        return await self._read(lambda c: _audit_entries(c, tenant, after, size))

    def _now_ms(self) -> int:
        return round(self._clock.now() * 1000)


ADD_KEY = (
    "INSERT INTO access_keys (tenant_id, id, name, scopes, digest, created_at, expires_at,"
    " revoked_at, last_used_at, limits) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_KEY = (
    "SELECT id, name, tenant_id, scopes, created_at, expires_at, revoked_at, last_used_at, limits,"
    " digest FROM access_keys"
)
ADD_SPENT = """
INSERT INTO access_usage (tenant_id, key_id, day, model, requests, unpriced, nano_usd, input,
  output, cache_read, cache_creation, reasoning, estimated)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant_id, key_id, day, model) DO UPDATE SET
  requests = requests + excluded.requests,
  unpriced = unpriced + excluded.unpriced,
  nano_usd = nano_usd + excluded.nano_usd,
  input = input + excluded.input,
  output = output + excluded.output,
  cache_read = cache_read + excluded.cache_read,
  cache_creation = cache_creation + excluded.cache_creation,
  reasoning = reasoning + excluded.reasoning,
  estimated = max(estimated, excluded.estimated)
"""


def _add_key(connection: apsw.Connection, key: ApiKey, digest: bytes) -> None:
    values = (
        *(key.tenant, key.id, key.name, " ".join(key.scopes), digest, _ms(key.created_at)),
        *(_ms(key.expires_at), None, None),
        None if key.limits is None else msgspec.json.encode(key.limits),
    )
    try:
        connection.execute(ADD_KEY, values)
    except apsw.ConstraintError:
        raise Conflict(f"key {key.id!r} exists already") from None


def _key_by_id(connection: apsw.Connection, id: str) -> tuple[ApiKey, bytes] | None:
    row: Any = connection.execute(f"{_KEY} WHERE id = ?", (id,)).fetchone()
    return None if row is None else (_as_key(row), row[-1])


def _keys(connection: apsw.Connection, tenant: str | None) -> tuple[ApiKey, ...]:
    where, values = ("", ()) if tenant is None else (" WHERE tenant_id = ?", (tenant,))
    return tuple(map(_as_key, connection.execute(f"{_KEY}{where} ORDER BY key", values)))


def _revoke(connection: apsw.Connection, id: str, tenant: str | None, now_ms: int) -> ApiKey:
    connection.execute(
        "UPDATE access_keys SET revoked_at = ?"
        " WHERE id = ? AND (?3 IS NULL OR tenant_id = ?3) AND revoked_at IS NULL",
        (now_ms, id, tenant),
    )
    found = _key_by_id(connection, id)
    if found is None or tenant not in (None, found[0].tenant):
        raise missing("key", id)
    return found[0]


def _touch(connection: apsw.Connection, id: str, now_ms: int) -> bool:
    """Whether there is such a key."""
    connection.execute(
        "UPDATE access_keys SET last_used_at = ?1"
        " WHERE id = ?2 AND ?1 - coalesce(last_used_at, 0) >= ?3",
        (now_ms, id, round(TOUCH_S * 1000)),
    )
    return (
        connection.execute("SELECT 1 FROM access_keys WHERE id = ?", (id,)).fetchone() is not None
    )


def _spent(connection: apsw.Connection, tenant: str, key: str, day: date) -> float:
    row: Any = connection.execute(
        "SELECT sum(nano_usd) FROM access_usage WHERE tenant_id = ? AND key_id = ? AND day = ?",
        (tenant, key, day.isoformat()),
    ).fetchone()
    return (row[0] or 0) / NANO


def _usage(
    connection: apsw.Connection, tenant: str, since: date, until: date, key: str | None
) -> tuple[UsageRow, ...]:
    rows: Any = connection.execute(
        "SELECT key_id, day, model, requests, unpriced, nano_usd, input, output, cache_read,"
        " cache_creation, reasoning, estimated FROM access_usage"
        " WHERE tenant_id = ? AND day BETWEEN ? AND ? AND (?4 IS NULL OR key_id = ?4)"
        " ORDER BY day, key_id, model",
        (tenant, since.isoformat(), until.isoformat(), key),
    )
    return tuple(_as_usage(tenant, row) for row in rows)


def _as_usage(tenant: str, row: Any) -> UsageRow:
    key, day, model, requests, unpriced, nano_usd, *counts, estimated = row
    read, written, cache_read, cache_creation, reasoning = counts
    used = Usage(read, written, cache_read, cache_creation, reasoning, bool(estimated))
    return UsageRow(
        tenant, key, date.fromisoformat(day), model, requests, used, nano_usd / NANO, unpriced
    )


def _audit(connection: apsw.Connection, entry: AuditEntry, now_ms: int) -> int:
    connection.execute(
        "INSERT INTO audit (tenant_id, at, entry) VALUES (?, ?, ?)",
        (entry.tenant, now_ms, msgspec.json.encode(entry)),
    )
    return connection.last_insert_rowid()


def _audit_entries(
    connection: apsw.Connection, tenant: str, after: int, size: int
) -> tuple[AuditEntry, ...]:
    rows: Any = connection.execute(
        "SELECT number, entry FROM audit WHERE tenant_id = ? AND number > ?"
        " ORDER BY number LIMIT ?",
        (tenant, after, size),
    )
    decode = msgspec.json.Decoder(AuditEntry).decode
    return tuple(replace(decode(entry), number=number) for number, entry in rows)


def _as_key(row: Any) -> ApiKey:
    id, name, tenant, scopes, created, expires, revoked, used, limits, _ = row
    return ApiKey(
        id,
        name,
        tenant,
        tuple(scopes.split()),
        created / 1000,
        _seconds(expires),
        _seconds(revoked),
        _seconds(used),
        None if limits is None else msgspec.json.decode(limits, type=KeyLimits),
    )


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000
