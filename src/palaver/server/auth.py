"""Whose request it is: the one place that takes a token out of a request, for every transport."""

from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from palaver.domain.errors import NotAuthenticated
from palaver.server.audit import PRINCIPAL
from palaver.service.access import Principal

if TYPE_CHECKING:
    from palaver.server.core import Server

LOCAL = Principal(tenant="local", actor="local", scopes=("read", "write", "approve", "admin"))
"""Everybody who reaches a server without keys, which listens on a loopback address only: the
conversations are those of the command line."""

KEY_HEADERS = ("x-api-key", "api-key")
"""Beside `Authorization: Bearer`, for clients of Anthropic's and Azure's APIs."""


async def principal_of(server: "Server", connection: HTTPConnection) -> Principal:
    """Who sent this request. Raises NotAuthenticated."""
    principal = LOCAL
    if await server.asks_for_keys():
        principal = await server.authenticator.authenticate(token_in(connection.headers))
    connection.scope[PRINCIPAL] = principal
    return principal


def token_in(headers: Headers) -> str:
    """The one token of a request. Raises NotAuthenticated where there is none, or two that differ:
    no two readers of a request may take it for different people's."""
    found = {
        value.partition(" ")[2].strip()
        for value in headers.getlist("authorization")
        if value.partition(" ")[0].lower() == "bearer"
    }
    for name in KEY_HEADERS:
        found.update(value.strip() for value in headers.getlist(name))
    found.discard("")
    if len(found) != 1:
        why = "there is no key in the request" if not found else "the request has several keys"
        raise NotAuthenticated(why, hint="Send it as `Authorization: Bearer <key>`.")
    return found.pop()
