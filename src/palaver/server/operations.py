"""What whoever runs the server reads: the audit log, and figures for Prometheus."""

import asyncio
import hmac
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from palaver.domain.errors import PalaverError, PermissionRefused
from palaver.domain.values import Scope
from palaver.server.auth import LOCAL, principal_of, token_in
from palaver.server.core import Admin, Server, server_of
from palaver.server.metrics import Standing
from palaver.server.schema import answers, problems, reply
from palaver.store.access import AuditEntry

audit_router = APIRouter(tags=["server"])
"""Below `/api`."""
metrics_router = APIRouter(tags=["server"])
"""At the root."""
TEXT = "text/plain; version=0.0.4; charset=utf-8"
PAGE = 100
_LONGEST_PAGE = 1_000
_OUTBOX_TENANTS = 100


class AuditPage(msgspec.Struct, frozen=True):
    """Entries in the order in which they were written."""

    entries: tuple[AuditEntry, ...]
    cursor: int
    """`after` for the next page; also for what has not happened yet."""
    has_more: bool


@audit_router.get("/audit", responses=answers(200, AuditPage), response_model=None)
async def read_audit(
    caller: Admin,
    after: Annotated[int, Query(ge=0, le=2**53, description="A page's `cursor`.")] = 0,
    limit: Annotated[int, Query(ge=1, le=_LONGEST_PAGE)] = PAGE,
) -> Response:
    """What was done in one's own tenant, and what was refused: keys, erasing, exports, approvals.

    The oldest first; who asks again with the last `cursor` gets what is new.
    """
    store = caller.server.access
    wanted = min(limit, _LONGEST_PAGE)
    entries = await store.audit_entries(caller.principal.tenant, after=after, limit=wanted)
    cursor = entries[-1].number if entries else after
    more = await store.audit_entries(caller.principal.tenant, after=cursor, limit=1)
    return reply(AuditPage(entries, cursor, bool(entries and more)))


_FIGURES = {
    200: {"description": "Figures.", "content": {"text/plain": {"schema": {"type": "string"}}}}
} | problems(401, 403, 421, 429, 431, 500, 503)


@metrics_router.get("/metrics", responses=_FIGURES, response_model=None)
async def metrics(request: Request) -> Response:
    """Figures for Prometheus: of the whole server, without anybody's names.

    For `server.metrics_token`, or for a key of the tenant `local` that may `admin`. A server
    without keys, which listens on a loopback address only, gives them to everybody.
    """
    server = server_of(request)
    await _check_reader(server, request)
    text = server.metrics.text(await standing(server))
    return Response(text, media_type=TEXT)


async def _check_reader(server: Server, request: Request) -> None:
    token = server.settings.metrics_token
    if token and await server.asks_for_keys():
        sent = token_in(request.headers)
        if hmac.compare_digest(sent.encode(), token.encode()):
            return
    principal = await principal_of(server, request)
    principal.require("admin")
    if principal.tenant != LOCAL.tenant:
        raise PermissionRefused("admin")


async def standing(server: Server) -> Standing:
    """What is at the moment."""
    managers = server.tenants.open_managers()
    return Standing(
        turns=sum(manager.streams.running for manager in managers),
        streams=len(server.streams),
        sockets=len(server.sockets),
        tenants=len(managers),
        outbox=await _waiting(server),
        charges=server.spending.waiting,
        is_draining=server.is_draining,
        breakers=server.parts.recovery.readings(),
    )


async def _waiting(server: Server) -> int:
    names = server.tenants.names()[:_OUTBOX_TENANTS]
    try:
        found = await asyncio.gather(
            *(server.parts.store.outboxes(Scope(tenant=name, actor="")) for name in names)
        )
    except PalaverError:
        return 0  # a store that fails is told of elsewhere; the other figures are wanted then
    return sum(map(len, found))
