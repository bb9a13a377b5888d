"""The protocol of keys, spend and the audit log: what a server has to remember about its callers.

Rules that every adapter keeps (`palaver.testing.store_contract` checks them):

* The secret of a key is nowhere. Its digest goes in and comes out beside the key, never in it, so
  that a listing cannot show it.
* When a call returns, what it wrote is durable; `touch_key` alone may be lost by a power cut.
* The store gives times, and numbers of audit entries. Whatever a caller writes about a key, a
  tenant or a target is looked for as it is: no text can be read as anything but text.
* A key's id says whose it is, so `key_by_id` takes no tenant; everything else is of one tenant,
  and what belongs to another one is not there.
"""

from datetime import date
from typing import Protocol, runtime_checkable

import msgspec
from msgspec.structs import replace

from palaver.domain.access import KeyLimits, Permission
from palaver.domain.errors import InvalidInput
from palaver.domain.ids import is_id
from palaver.domain.values import Usage

TOUCH_S = 60.0
"""A key's last use is written at most so often."""
DIGEST_BYTES = 32
TEXT_CHARS = 255
"""Of a name, a tenant, a model."""
DETAIL_CHARS = 2_000
NANO = 1_000_000_000
"""Money is added up in whole billionths of a USD: a million small prices give their exact sum."""


class ApiKey(msgspec.Struct, frozen=True):
    """A key without its secret. Times are seconds since 1970 (UTC)."""

    id: str
    name: str
    tenant: str
    scopes: tuple[Permission, ...]
    created_at: float = 0.0
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None
    """To the minute."""
    limits: KeyLimits | None = None

    def is_valid(self, now: float) -> bool:
        """Whether it still opens anything."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class UsageRow(msgspec.Struct, frozen=True):
    """What one key has used of one model on one day of UTC."""

    tenant: str
    key: str
    day: date
    model: str
    requests: int
    usage: Usage
    cost: float
    """USD."""
    unpriced: int = 0
    """Requests among them whose price nobody knows; they count nothing."""


class AuditEntry(msgspec.Struct, frozen=True):
    """Something that somebody did, or was refused."""

    tenant: str
    actor: str
    action: str
    """Such as `key.created`, `conversation.deleted`, `access.refused`."""
    target: str = ""
    outcome: str = "done"
    detail: str = ""
    request_id: str = ""
    address: str = ""
    """Where it came from."""
    number: int = 0
    """Given by the store, rising; as `at`, which is seconds since 1970 (UTC)."""
    at: float = 0.0


class AccessStore(Protocol):
    """Keys, spend and the audit log."""

    async def add_key(self, key: ApiKey, digest: bytes) -> ApiKey:
        """Store a key as made now, unrevoked and unused. `digest`: SHA-256 of its whole text.

        Raises Conflict for an id that is there, InvalidInput for what cannot be stored.
        """
        ...

    async def key_by_id(self, id: str) -> tuple[ApiKey, bytes] | None:
        """The key and its digest, revoked or expired as it may be. Any text may be asked for."""
        ...

    async def keys(self, tenant: str | None = None) -> tuple[ApiKey, ...]:
        """A tenant's keys, or everybody's, in the order in which they were made."""
        ...

    async def revoke_key(self, id: str, *, tenant: str | None = None) -> ApiKey:
        """The key opens nothing from now on. One that is revoked stays as it is.

        Raises NotFound; with `tenant` also for a key of another one.
        """
        ...

    async def touch_key(self, id: str) -> None:
        """Note that the key is used. Writes once in `TOUCH_S` at most; unknown ids are ignored."""
        ...

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
        """Count what was used. `cost`: USD, None where nobody knows the price."""
        ...

    async def spent(self, tenant: str, key: str, day: date) -> float:
        """USD that the key has cost on that day."""
        ...

    async def usage(
        self, tenant: str, *, since: date, until: date, key: str | None = None
    ) -> tuple[UsageRow, ...]:
        """What a tenant has used, both days included, ordered by day, key and model."""
        ...

    async def audit(self, entry: AuditEntry) -> AuditEntry:
        """Append to the audit log; the entry with its number and time. Nothing changes one later.

        Longer texts than fit are cut: an entry is never refused for its length.
        """
        ...

    async def audit_entries(
        self, tenant: str, *, after: int = 0, limit: int = 100
    ) -> tuple[AuditEntry, ...]:
        """A tenant's entries with a number above `after`, in order. Raises InvalidInput for a limit
        below 1; at most 1,000 come."""
        ...


@runtime_checkable
class KeepsAccess(Protocol):
    """A conversation store that has an access store in the same place."""

    @property
    def access(self) -> AccessStore:
        """Keys, spend and the audit log, open as long as the store is."""
        ...


def as_made(key: ApiKey, *, now: float) -> ApiKey:
    """A key as every store keeps it: unused, with times in whole milliseconds."""
    expires = None if key.expires_at is None else round(key.expires_at * 1000) / 1000
    made = round(now * 1000) / 1000
    return replace(key, created_at=made, expires_at=expires, revoked_at=None, last_used_at=None)


def check_key(key: ApiKey, digest: bytes) -> None:
    """Raises InvalidInput unless the key may be stored."""
    if not is_id(key.id):
        raise InvalidInput(f"this cannot be the id of a key: {key.id[:140]!r}")
    if len(digest) != DIGEST_BYTES:
        raise InvalidInput(f"a digest has {DIGEST_BYTES} bytes")
    check_text("a key's name", key.name)
    check_text("a tenant's name", key.tenant)


def check_text(what: str, text: str) -> None:
    """Raises InvalidInput unless it may be stored as a name."""
    if not 1 <= len(text) <= TEXT_CHARS or text != storable(text, TEXT_CHARS):
        raise InvalidInput(f"{what} has 1 to {TEXT_CHARS} characters, none of them NUL")


def check_spent(usage: Usage, cost: float | None, requests: int) -> None:
    """Raises InvalidInput for what would give money back."""
    counts = (usage.input, usage.output, usage.cache_read, usage.cache_creation, usage.reasoning)
    if min(*counts, requests) < 0 or not (cost is None or 0 <= cost < 1e9):
        raise InvalidInput("what is spent is counted from 0 up")


def storable_entry(entry: AuditEntry, *, number: int, at: float) -> AuditEntry:
    """The entry as it is kept."""
    texts = {
        name: storable(getattr(entry, name), DETAIL_CHARS if name == "detail" else TEXT_CHARS)
        for name in ("actor", "action", "target", "outcome", "detail", "request_id", "address")
    }
    check_text("a tenant's name", entry.tenant)
    return AuditEntry(tenant=entry.tenant, **texts, number=number, at=at)


def storable(text: str, limit: int) -> str:
    """The beginning of a text, as something that any store takes."""
    return text[:limit].replace("\x00", "�").encode("utf-8", "replace").decode("utf-8")
