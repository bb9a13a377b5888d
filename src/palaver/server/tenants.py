"""The conversations of every tenant that calls, each behind a manager of its own.

A manager knows one scope and checks every id against it, so a route cannot forget to. Managers of
idle tenants are closed when there are too many; nothing is lost by it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import Context

from palaver import log
from palaver.domain.errors import PalaverError, StoreError
from palaver.domain.values import Scope
from palaver.service.manager import ConversationManager


class _Tenant:
    def __init__(self, manager: ConversationManager) -> None:
        self.manager = manager
        self.users = 0
        self.ready = asyncio.Event()


class Tenants:
    """Finds a tenant's manager, and makes it where there is none.

    `resumes`: open turns that a dead process left are decided when a tenant comes in.
    """

    def __init__(
        self,
        make: Callable[[Scope], ConversationManager],
        *,
        limit: int,
        recovers: bool = True,
        keeps_sending: bool = True,
    ) -> None:
        self._make, self._limit = make, limit
        self._recovers, self._keeps_sending = recovers, keeps_sending
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()
        self._passing: set[ConversationManager] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self.on_open: Callable[[ConversationManager, str], None] = _nothing
        """Hears of every manager, and of whose it is, before anybody uses it."""

    @contextmanager
    def passing(self, manager: ConversationManager) -> Iterator[None]:
        """Count another manager in until the end of the block: what nobody keeps is drained."""
        self._passing.add(manager)
        self.on_open(manager, manager.tenant)
        try:
            yield
        finally:
            self._passing.discard(manager)

    @asynccontextmanager
    async def use(self, tenant: str) -> AsyncIterator[ConversationManager]:
        """A tenant's manager, open until the end of the block at least."""
        found = self._tenants.get(tenant) or self._add(tenant)
        self._tenants.move_to_end(tenant)
        found.users += 1
        try:
            await found.ready.wait()
            yield found.manager
        finally:
            found.users -= 1
            if len(self._tenants) > self._limit:
                self._let_go()

    async def recover(self, tenants: tuple[str, ...]) -> None:
        """Decide about what a dead process left open, and send what waits, of these tenants."""
        for tenant in tenants:
            async with self.use(tenant):
                pass

    def names(self) -> list[str]:
        """Of the tenants in memory."""
        return list(self._tenants)

    def open_managers(self) -> list[ConversationManager]:
        """Those in memory."""
        return [*(each.manager for each in self._tenants.values()), *self._passing]

    def is_busy(self) -> bool:
        """Whether a turn runs."""
        return any(not each.streams.is_idle for each in self.open_managers())

    async def drain(self, seconds: float) -> None:
        """Return when no turn runs any more, or after `seconds`."""
        await asyncio.gather(*(m.streams.drain(seconds) for m in self.open_managers()))

    async def aclose(self) -> None:
        """Accept nothing more. Turns that still run are left as they are: the next process decides
        about them."""
        self._is_closed = True
        managers = self.open_managers()
        await asyncio.gather(*(m.aclose(leave=True) for m in managers), *self._closing)

    def _add(self, tenant: str) -> _Tenant:
        if self._is_closed:
            raise StoreError("the server is ending", hint="Try again in a moment.")
        made = self._tenants[tenant] = _Tenant(self._make(Scope(tenant=tenant, actor="")))
        self.on_open(made.manager, tenant)
        self._run(self._begin(made))
        return made

    async def _begin(self, tenant: _Tenant) -> None:
        try:
            if self._recovers:
                await tenant.manager.recover()
            if self._keeps_sending:
                tenant.manager.keep_sending()
        except PalaverError as error:
            log.get("server").error("tenant_not_recovered", code=error.code)
        finally:
            tenant.ready.set()

    def _let_go(self) -> None:
        for name, tenant in list(self._tenants.items()):
            if not tenant.users and tenant.ready.is_set() and tenant.manager.streams.is_idle:
                del self._tenants[name]
                self._run(tenant.manager.aclose())
                return

    def _run(self, work: Coroutine[None, None, None]) -> None:
        # Not in the name of whoever happened to come in first.
        task = asyncio.create_task(work, context=Context())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _nothing(manager: ConversationManager, tenant: str) -> None:
    pass
