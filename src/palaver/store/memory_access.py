"""Keys, spend and the audit log in this process's memory, as the plainest reading of the rules."""

from collections.abc import Callable
from datetime import date

from msgspec.structs import replace

from palaver.domain.clock import Clock
from palaver.domain.errors import Conflict
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


class MemoryAccess:
    """An `AccessStore` in memory. Nothing survives the process."""

    def __init__(self, *, clock: Clock, check_open: Callable[[], None] = lambda: None) -> None:
        self._clock, self._check_open = clock, check_open
        self._keys: dict[str, tuple[ApiKey, bytes]] = {}
        self._used: dict[tuple[str, str, date, str], UsageRow] = {}
        self._audit: list[AuditEntry] = []

    async def add_key(self, key: ApiKey, digest: bytes) -> ApiKey:
        """See `AccessStore.add_key`."""
        self._check_open()
        check_key(key, digest)
        if key.id in self._keys:
            raise Conflict(f"key {key.id!r} exists already")
        made = as_made(key, now=self._clock.now())
        self._keys[key.id] = (made, digest)
        return made

    async def key_by_id(self, id: str) -> tuple[ApiKey, bytes] | None:
        """See `AccessStore.key_by_id`."""
        self._check_open()
        return self._keys.get(id)

    async def keys(self, tenant: str | None = None) -> tuple[ApiKey, ...]:
        """See `AccessStore.keys`."""
        self._check_open()
        return tuple(key for key, _ in self._keys.values() if tenant in (None, key.tenant))

    async def revoke_key(self, id: str, *, tenant: str | None = None) -> ApiKey:
        """See `AccessStore.revoke_key`."""
        self._check_open()
        found = self._keys.get(id)
        if found is None or tenant not in (None, found[0].tenant):
            raise missing("key", id)
        key, digest = found
        if key.revoked_at is None:
            key = replace(key, revoked_at=self._clock.now())
            self._keys[id] = (key, digest)
        return key

    async def touch_key(self, id: str) -> None:
        """See `AccessStore.touch_key`."""
        self._check_open()
        found, now = self._keys.get(id), self._clock.now()
        if found is not None and now - (found[0].last_used_at or 0.0) >= TOUCH_S:
            self._keys[id] = (replace(found[0], last_used_at=now), found[1])

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
        self._check_open()
        for what, text in (("a tenant's name", tenant), ("a key", key), ("a model", model)):
            check_text(what, text)
        check_spent(usage, cost, requests)
        at = (tenant, key, day, model)
        row = self._used.get(at) or UsageRow(tenant, key, day, model, 0, Usage(), 0.0)
        self._used[at] = replace(
            row,
            requests=row.requests + requests,
            usage=row.usage + usage,
            cost=(round(row.cost * NANO) + round((cost or 0.0) * NANO)) / NANO,
            unpriced=row.unpriced + (requests if cost is None else 0),
        )

    async def spent(self, tenant: str, key: str, day: date) -> float:
        """See `AccessStore.spent`."""
        self._check_open()
        mine = (row for at, row in self._used.items() if at[:3] == (tenant, key, day))
        return sum(round(row.cost * NANO) for row in mine) / NANO

    async def usage(
        self, tenant: str, *, since: date, until: date, key: str | None = None
    ) -> tuple[UsageRow, ...]:
        """See `AccessStore.usage`."""
        self._check_open()
        found = [
            row
            for row in self._used.values()
            if row.tenant == tenant and since <= row.day <= until and key in (None, row.key)
        ]
        return tuple(sorted(found, key=lambda row: (row.day, row.key, row.model)))

    async def audit(self, entry: AuditEntry) -> AuditEntry:
        """See `AccessStore.audit`."""
        self._check_open()
        written = storable_entry(entry, number=len(self._audit) + 1, at=self._clock.now())
        self._audit.append(written)
        return written

    async def audit_entries(
        self, tenant: str, *, after: int = 0, limit: int = 100
    ) -> tuple[AuditEntry, ...]:
        """See `AccessStore.audit_entries`."""
        self._check_open()
        found = [e for e in self._audit[max(0, after) :] if e.tenant == tenant]
        return tuple(found[: page_size(limit)])
