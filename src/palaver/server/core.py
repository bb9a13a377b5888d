"""What all routes share, and who calls them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, cast, get_type_hints

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from palaver.domain.access import Permission
from palaver.domain.state import ConversationState
from palaver.server.audit import Auditor
from palaver.server.auth import principal_of
from palaver.server.credentials import Tickets
from palaver.server.errors import Draining
from palaver.server.limits import Spending, admit
from palaver.server.metrics import Metrics
from palaver.server.readers import Account, Readers
from palaver.server.tenants import Tenants
from palaver.service.access import Authenticator, Principal, Quotas
from palaver.service.actions import StateAction
from palaver.service.manager import ConversationManager
from palaver.settings import ServerSettings
from palaver.store.access import AccessStore
from palaver.wiring import Parts


class Server:
    """What all routes share."""

    def __init__(
        self,
        parts: Parts,
        *,
        tenants: Tenants,
        access: AccessStore,
        authenticator: Authenticator,
        quotas: Quotas,
    ) -> None:
        self.parts, self.tenants, self.access = parts, tenants, access
        self.authenticator, self.quotas = authenticator, quotas
        self.settings: ServerSettings = parts.settings.server
        self.is_draining = False
        self.draining = asyncio.Event()
        """Set when the server ends: streams say so and let their readers go."""
        self.metrics = Metrics()
        self.audit = Auditor(access, clock=parts.clock)
        self.spending = Spending(quotas, price=parts.price, audit=self.audit, metrics=self.metrics)
        tenants.on_open = self._watch
        settings, every_s = self.settings, min(self.settings.heartbeat_s, self.settings.send_s) / 2
        self.streams = Readers(
            "streams_per_caller",
            clock=parts.clock,
            limit=settings.streams,
            limit_each=settings.streams_per_caller,
            every_s=every_s,
        )
        self.tickets = Tickets(clock=parts.clock, good_s=settings.ticket_s)
        self.sockets = Readers(
            "sockets_per_caller",
            clock=parts.clock,
            limit=settings.sockets,
            limit_each=settings.sockets_per_caller,
            every_s=every_s,
        )

    def _watch(self, manager: ConversationManager, tenant: str) -> None:
        manager.use(self._refuse_when_draining)
        self.spending.watch(manager, tenant)

    async def _refuse_when_draining(
        self, action: StateAction, state: ConversationState
    ) -> StateAction:
        """Whatever way a new turn came by: a server that ends begins none."""
        if self.is_draining and getattr(action, "turn", None) is not None:
            raise Draining("the server is ending")
        return action

    async def asks_for_keys(self) -> bool:
        """Whether callers need a key or a token: as soon as there is one."""
        return await self.authenticator.is_needed()

    async def drain(self) -> None:
        """Take no new turns, let running ones end for `drain_s`, then let go of all readers."""
        self.is_draining = True
        await self.tenants.drain(self.settings.drain_s)
        self.draining.set()
        self.streams.end()
        self.sockets.end()


def server_of(connection: HTTPConnection) -> Server:
    """The server that a request came to."""
    return cast("Server", connection.app.state.server)


class Caller:
    """Who calls, and the conversations that are theirs."""

    def __init__(self, server: Server, principal: Principal, manager: ConversationManager) -> None:
        self.server, self.principal, self.manager = server, principal, manager

    @property
    def account(self) -> Account:
        """By what readers are counted."""
        return (self.principal.tenant, self.principal.account)


@asynccontextmanager
async def calling(
    server: Server, principal: Principal, scope: Mapping[str, Any] | None = None
) -> AsyncIterator[Caller]:
    """The caller, with the tenant's manager open until the end of the block. What begins within it
    is begun, and paid, by this caller. `scope`: of the request, for the audit log."""
    async with (
        server.spending.calling(principal, scope or {}),
        server.tenants.use(principal.tenant) as manager,
    ):
        yield Caller(server, principal, manager)


_asked: dict[Any, Permission] = {}


def asked_by(endpoint: Callable[..., Any]) -> Permission | None:
    """What a route asks of its caller; None where it asks for no key."""
    for annotation in get_type_hints(endpoint, include_extras=True).values():
        for each in getattr(annotation, "__metadata__", ()):
            found = _asked.get(getattr(each, "dependency", None))
            if found is not None:
                return found
    return None


def may(permission: Permission, *, spends: bool = False) -> Any:
    """A route's dependency: the caller, who must have this permission. `spends`: a model works for
    the route itself, beside any turn; turns are held against limits where they begin.

    Raises NotAuthenticated, PermissionRefused and QuotaExceeded.
    """

    async def caller(request: Request) -> AsyncIterator[Caller]:
        server = server_of(request)
        principal = await principal_of(server, request)
        principal.require(permission)
        await admit(server, principal, request.scope, spends=spends)
        async with calling(server, principal, request.scope) as found:
            yield found

    _asked[caller] = permission
    return Depends(caller)


Reader = Annotated[Caller, may("read")]
Writer = Annotated[Caller, may("write")]
Spender = Annotated[Caller, may("write", spends=True)]
"""A writer on whose account a model may work although no turn begins."""
Approver = Annotated[Caller, may("approve")]
Admin = Annotated[Caller, may("admin")]
