"""Keys over HTTP, for those who may `admin`: of one's own tenant, and never more than one has."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta
from starlette.responses import Response

from palaver.domain.access import KeyLimits, Permission
from palaver.domain.errors import InvalidInput
from palaver.server.audit import where
from palaver.server.core import Admin, Caller
from palaver.server.schema import STORED, answers, body, read, reply
from palaver.service.access import new_key
from palaver.store.access import ApiKey

router = APIRouter(tags=["keys"])
Count = Annotated[int, Meta(ge=1, le=2**53)]
_YEAR_S = 366 * 86_400.0


class NewLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much the key allows. What is not said is as for the key that makes it."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    concurrent_turns: Count | None = None
    usd_per_day: Annotated[float, Meta(gt=0, le=1e9)] | None = None


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked for."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    scopes: Annotated[tuple[Permission, ...], Meta(min_length=1, max_length=4)] = ("read", "write")
    expires_in_s: Annotated[float, Meta(gt=0, le=10 * _YEAR_S)] | None = None
    limits: NewLimits | None = None


class MadeKey(msgspec.Struct, frozen=True):
    """The key and its secret, which is told here and never again."""

    key: ApiKey
    secret: str


class Keys(msgspec.Struct, frozen=True):
    """A tenant's keys, the revoked ones too, in the order in which they were made."""

    keys: tuple[ApiKey, ...]


@router.get("/keys", responses=answers(200, Keys), response_model=None)
async def list_keys(caller: Admin) -> Response:
    """The keys of one's own tenant, without their secrets."""
    return reply(Keys(await caller.server.access.keys(caller.principal.tenant)))


@router.post(
    "/keys",
    status_code=201,
    openapi_extra=body(NewKey, example={"name": "phone", "scopes": ["read", "write"]}),
    responses=answers(201, MadeKey, "The only time that the secret is shown.", errors=STORED),
    response_model=None,
)
async def create_key(request: Request, caller: Admin) -> Response:
    """A new key of one's own tenant, which may do nothing that the caller may not, and for which
    the caller's limits hold at least."""
    wanted = await read(request, NewKey)
    for scope in wanted.scopes:
        caller.principal.require(scope)
    now = caller.server.parts.clock.now()
    expires_at = None if wanted.expires_in_s is None else now + wanted.expires_in_s
    made = new_key(
        wanted.name,
        tenant=caller.principal.tenant,
        scopes=wanted.scopes,
        expires_at=await _no_longer(caller, expires_at),
        limits=_no_more(wanted.limits, caller.principal.limits),
    )
    key = await caller.server.access.add_key(made.key, made.digest)
    await _note(request, caller, "key.created", key, f"{key.name}: {', '.join(key.scopes)}")
    return reply(MadeKey(key, made.text), 201)


@router.delete(
    "/keys/{key}", responses=answers(200, ApiKey, errors=(404, *STORED)), response_model=None
)
async def revoke_key(request: Request, caller: Admin, key: str) -> Response:
    """Have a key open nothing any more, at once. One that is revoked stays as it is."""
    keys = caller.server.authenticator.keys
    revoked = await keys.revoke(key, tenant=caller.principal.tenant)
    await _note(request, caller, "key.revoked", revoked, revoked.name)
    return reply(revoked)


async def _no_longer(caller: Caller, expires_at: float | None) -> float | None:
    """When the new key ends: with the key that makes it at the latest."""
    own = await caller.server.access.key_by_id(caller.principal.key_id)
    ends = None if own is None else own[0].expires_at
    if ends is None or (expires_at is not None and expires_at <= ends):
        return expires_at
    return ends


def _no_more(wanted: NewLimits | None, own: KeyLimits | None) -> KeyLimits | None:
    """What was asked for, and the maker's own where nothing was. Raises InvalidInput where it
    would be more than that."""
    if wanted is None:
        return own
    limits: dict[str, float | None] = {}
    for name in wanted.__struct_fields__:
        asked, has = getattr(wanted, name), None if own is None else getattr(own, name)
        if asked is not None and has is not None and asked > has:
            raise InvalidInput(
                f"limits.{name}: {asked:g} is more than your own key allows ({has:g})"
            )
        limits[name] = has if asked is None else asked
    return msgspec.convert(limits, KeyLimits)


async def _note(request: Request, caller: Caller, action: str, key: ApiKey, detail: str) -> None:
    await caller.server.audit.record(
        caller.principal,
        action,
        target=key.id,
        detail=detail,
        **where(request.scope),
    )
