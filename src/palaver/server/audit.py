"""Who did what that matters later, and who was refused: written before the answer leaves.

Keys, erasing, taking out, approvals, refusals. What is asked for by a route is told by the route's
method and path, so a new one that erases is written down without knowing of this; what may come by
sockets and other protocols, too, is told where it happens (`limits`, `keys`). A log that cannot be
written is said in the other log and stops nobody.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import msgspec
from starlette.types import Scope

from palaver import log
from palaver.domain.access import Principal
from palaver.domain.clock import Clock
from palaver.domain.errors import StoreError
from palaver.store.access import AccessStore, AuditEntry

PRINCIPAL = "palaver.principal"
"""In an ASGI scope: whose request it is, once that is known."""
REFUSED = (401, 403, 421)
WINDOW_S = 60.0
EACH = 10
"""Refusals of one address that are written down in a minute; the others are counted."""
ALL = 100
_ADDRESSES = 1_000
_NOBODY = Principal("local", "(nobody)")
"""Whose refusals are nobody's are the operator's to see."""
_EXPORT = re.compile(r"/export(/|$)")


class Auditor:
    """Writes the audit log."""

    def __init__(self, store: AccessStore, *, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._refusals = _Refusals(clock)

    async def record(
        self,
        principal: Principal,
        action: str,
        *,
        target: str = "",
        outcome: str = "done",
        detail: str = "",
        request_id: str = "",
        address: str = "",
    ) -> None:
        """When this returns, it is durable, or the other log says why it is not."""
        entry = AuditEntry(
            tenant=principal.tenant,
            actor=principal.actor,
            action=action,
            target=target,
            outcome=outcome,
            detail=detail,
            request_id=request_id,
            address=address,
        )
        try:
            await self._store.audit(entry)
        except StoreError as error:
            told = msgspec.to_builtins(entry)
            log.get("audit").error("audit_entry_lost", code=error.code, entry=told)

    async def answered(self, scope: Scope, status: int) -> None:
        """A request is about to be answered: write down what it did, or that it was refused."""
        if status in REFUSED:
            await self.refused(scope, str(status))
        elif 200 <= status < 300:
            action = action_of(scope["method"], template_of(scope))
            if action:
                await self.record(_who(scope), action, target=_target(scope), **where(scope))

    async def refused(self, scope: Scope, why: str) -> None:
        """Somebody was not let in, or may not do this. Bounded for each address and for all."""
        place = where(scope)
        unwritten = self._refusals.count(place["address"])
        if unwritten is None:
            return
        detail = f"{why} {scope.get('method', 'WEBSOCKET')} {template_of(scope) or '(no route)'}"
        if unwritten:
            detail += f"; {unwritten} more were not written down"
        await self.record(_who(scope), "access.refused", outcome="refused", detail=detail, **place)


class _Refusals:
    """How many of an address were written down within this minute, and how many were not."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = -WINDOW_S
        self._written: OrderedDict[str, int] = OrderedDict()
        self._all = self._unwritten = 0

    def count(self, address: str) -> int | None:
        """How many were passed over since the last one that was written, or None: pass over."""
        now = self._clock.monotonic()
        if now - self._began >= WINDOW_S:
            self._began, self._all = now, 0
            self._written.clear()
        written = self._written.get(address, 0)
        if written >= EACH or self._all >= ALL:
            self._unwritten += 1
            return None
        self._written[address] = written + 1
        self._all += 1
        if len(self._written) > _ADDRESSES:
            self._written.popitem(last=False)
        unwritten, self._unwritten = self._unwritten, 0
        return unwritten


def action_of(method: str, template: str) -> str:
    """What a route does that is written down; empty: nothing. Keys tell of themselves."""
    if template.startswith("/api/keys"):
        return ""
    if _EXPORT.search(template):
        return f"{_kind(template)}.exported"
    if method == "DELETE":
        return f"{_kind(template)}.deleted"
    return ""


def template_of(scope: Scope) -> str:
    """The path of the route that a request found, with the names of its parameters in it; empty
    where there is none. Bounded by how many routes there are."""
    # Newer FastAPIs have the prefix of an included router beside the route.
    within = scope.get("fastapi", {}).get("effective_route_context")
    return str(getattr(within or scope.get("route"), "path", ""))


def _kind(template: str) -> str:
    """`conversation` for `/api/conversations/{id}` and all below it that has no id of its own."""
    words = (template.strip("/") or "thing").split("/")
    named = [word for word, id in pairwise(words) if id.startswith("{")]
    return (named or words)[-1].removesuffix("s")


def _target(scope: Scope) -> str:
    return "/".join(str(value) for value in scope.get("path_params", {}).values())


def _who(scope: Scope) -> Principal:
    found = scope.get(PRINCIPAL)
    return found if isinstance(found, Principal) else _NOBODY


def where(scope: Mapping[str, Any]) -> dict[str, str]:
    """The request's id and the address that it came from."""
    client = scope.get("client") or ("",)
    return {"request_id": scope.get("palaver.request_id", ""), "address": str(client[0])}
