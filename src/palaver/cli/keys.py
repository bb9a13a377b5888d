"""Keys of the server, from the command line: in the database, whether a server runs or not."""

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from palaver.cli import exits
from palaver.cli.inspection import print_json, put
from palaver.cli.interrupts import run
from palaver.cli.opening import Wanted, prepared
from palaver.cli.tables import age, table, terminal_width
from palaver.domain.access import KeyLimits, Permission
from palaver.domain.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from palaver.store.access import AccessStore, ApiKey

ACTOR = "command line"
"""Who did it, in the audit log."""


class Asked(msgspec.Struct, frozen=True):
    """What options say about a new key. `expires_s`: seconds from now."""

    name: str
    tenant: str
    scopes: tuple[str, ...]
    expires_s: float | None
    limits: Mapping[str, Any]


def create_key(db: str | None, asked: Asked, *, plain: bool, as_json: bool) -> int:
    """Make a key and show it, once."""
    from palaver.service.access import new_key
    from palaver.store.access import AuditEntry

    async def work(store: "AccessStore") -> int:
        limits = {name: value for name, value in asked.limits.items() if value is not None}
        made = new_key(
            asked.name,
            tenant=asked.tenant,
            scopes=cast("tuple[Permission, ...]", asked.scopes),
            expires_at=None if asked.expires_s is None else time.time() + asked.expires_s,
            limits=KeyLimits(**limits) if limits else None,
        )
        is_first = not await store.keys()
        key = await store.add_key(made.key, made.digest)
        told = f"{key.name}: {', '.join(key.scopes)}"
        await store.audit(AuditEntry(key.tenant, ACTOR, "key.created", key.id, detail=told))
        if as_json:
            print_json({**msgspec.to_builtins(key), "text": made.text})
        elif plain:
            put(made.text)
        else:
            put(made.text)
            exits.say(
                f"key {key.id} of tenant {key.tenant}, {_ends(key)}; it may {', '.join(key.scopes)}"
            )
            exits.say("it is shown this once; send it as `Authorization: Bearer KEY`")
            if is_first:
                exits.say("it is the first one: from now on the server wants a key of every caller")
        return exits.OK

    return _with_store(db, work)


def list_keys(db: str | None, tenant: str | None, *, as_json: bool) -> int:
    """Print the keys."""

    async def work(store: "AccessStore") -> int:
        found = await store.keys(tenant)
        if as_json:
            print_json(found)
        elif not found:
            exits.say("there are no keys; `palaver keys create --name NAME` makes one")
        else:
            now = time.time()
            rows = [
                (k.id, k.tenant, _state(k, now), _used(k, now), ",".join(k.scopes), k.name)
                for k in found
            ]
            head = ("id", "tenant", "state", "last used", "scopes", "name")
            put(table(head, rows, width=terminal_width()))
        return exits.OK

    return _with_store(db, work, makes=False)


def revoke_key(db: str | None, id: str) -> int:
    """Revoke a key."""
    from palaver.store.access import AuditEntry

    async def work(store: "AccessStore") -> int:
        key = await store.revoke_key(id)
        await store.audit(AuditEntry(key.tenant, ACTOR, "key.revoked", key.id, detail=key.name))
        exits.say(f"{key.id} ({key.name}) opens nothing any more")
        return exits.OK

    return _with_store(db, work, makes=False)


def _with_store(
    db: str | None, work: "Callable[[AccessStore], Awaitable[int]]", *, makes: bool = True
) -> int:
    if db == ":memory:":
        raise InvalidInput("keys in memory would be gone at once", hint="Name a file.")
    if not makes and db and not Path(db).exists():
        raise NotFound(f"there is no database {db}")

    async def program(_: object) -> int:
        async with _opened(db) as store:
            return await work(store)

    return run(program)


@asynccontextmanager
async def _opened(db: str | None) -> "AsyncIterator[AccessStore]":
    from palaver import wiring
    from palaver.store.access import KeepsAccess

    environment = prepared(Wanted(db=db))
    # No model is asked anything, so none has to be there.
    async with wiring.parts(db, model="offline", fallbacks=(), environment=environment) as parts:
        if not isinstance(parts.store, KeepsAccess):
            raise InvalidInput("this store keeps no keys")
        yield parts.store.access


def _ends(key: "ApiKey") -> str:
    if key.expires_at is None:
        return "which does not expire"
    return f"until {datetime.fromtimestamp(key.expires_at, UTC):%Y-%m-%d %H:%M} UTC"


def _state(key: "ApiKey", now: float) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if not key.is_valid(now):
        return "expired"
    return "valid" if key.expires_at is None else f"valid, {_left(key.expires_at - now)}"


def _left(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds > length:
            return f"{math.ceil(seconds / length)} {unit}"
    return "1 min"


def _used(key: "ApiKey", now: float) -> str:
    return "never" if key.last_used_at is None else age(now - key.last_used_at)
