"""Tickets for sockets of browsers, which cannot send a key: good once, for a moment, for one.

A page asks for one with its key and opens the socket with `?ticket=…`. What proxies write down of
addresses so opens nothing any more.
"""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta
from starlette.responses import Response

from palaver.server.auth import principal_of, token_in
from palaver.server.core import server_of
from palaver.server.credentials import Credential
from palaver.server.limits import admit
from palaver.server.schema import answers, reply

router = APIRouter(tags=["turns"])


class Ticket(msgspec.Struct, frozen=True):
    """For `/api/ws?ticket=…`."""

    ticket: str
    good_s: Annotated[float, Meta(gt=0)]
    """Seconds in which it must be used."""


@router.post(
    "/ws-ticket",
    status_code=201,
    responses=answers(
        201, Ticket, "A ticket.", example={"ticket": "c29tZSBieXRlcw", "good_s": 30.0}
    ),
    response_model=None,
)
async def make_ticket(request: Request) -> Response:
    """A ticket for a browser's socket, good once. Whoever has it may do what the caller may."""
    server = server_of(request)
    principal = await principal_of(server, request)
    await admit(server, principal, request.scope, spends=False)
    token = token_in(request.headers) if await server.asks_for_keys() else ""
    account = (principal.tenant, principal.account)
    ticket = server.tickets.give(Credential(account, token))
    headers = {"cache-control": "no-store"}
    return reply(Ticket(ticket, server.settings.ticket_s), 201, headers=headers)
