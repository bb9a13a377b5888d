"""How much callers may use, where it is decided: whatever route, socket or protocol they come by.

Each request is counted where its caller is found (`admit`). What costs money is held against the
limits where it begins and is counted where it is stored: `Spending` sees the commands and the facts
of all conversations, so no way in can forget it, and no delta passes here. Who began a turn is
remembered for its life; a turn that a dead process left is its tenant's alone.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.types import Scope

from palaver import log
from palaver.domain.access import Principal
from palaver.domain.errors import QuotaExceeded, StoreError
from palaver.domain.events import AttemptMade, Event, MessageRedacted, SideRequestMade, TurnClosed
from palaver.domain.ids import TurnId
from palaver.domain.state import ConversationState
from palaver.domain.values import Usage
from palaver.server.audit import Auditor, where
from palaver.server.metrics import Metrics
from palaver.service.actions import DecideCall, StateAction
from palaver.service.manager import ConversationManager
from palaver.service.quotas import Quotas, QuotaState
from palaver.service.state import StateChange
from palaver.service.windows import Reading

if TYPE_CHECKING:
    from palaver.server.core import Server

QUOTA = "palaver.quota"
"""In an ASGI scope: what is left of the caller's limits."""
STARTERS = 20_000
"""Turns, running or held, of which it is known who began them."""
Price = Callable[[str, Usage], float | None]
_calling: ContextVar["Call | None"] = ContextVar("palaver_calling", default=None)


class Call:
    """One request, or one command on a socket: who sends it, and the turns that it is about to
    begin."""

    def __init__(self, principal: Principal, where: Mapping[str, str]) -> None:
        self.principal, self.where = principal, where
        self.begun: dict[TurnId, bool] = {}
        """Those that have a place and are not open yet, and whether they are new."""


class _Place:
    """One of the turns that somebody may have at a time. `manager`: who runs it once it is open."""

    def __init__(self, held: AbstractAsyncContextManager[None]) -> None:
        self.held = held
        self.manager: ConversationManager | None = None


class _Charge(msgspec.Struct, frozen=True):
    principal: Principal
    model: str
    usage: Usage


async def admit(server: "Server", principal: Principal, scope: Scope, *, spends: bool) -> None:
    """Count a request, and put what is left into its scope, for headers. `spends`: it will have a
    model work. Raises QuotaExceeded."""
    scope[QUOTA] = await server.quotas.check(principal, spends=spends)


def headers(state: QuotaState, *, is_openai: bool) -> list[tuple[bytes, bytes]]:
    """What is left, as headers: of the limit that is nearest to its end, or for clients of OpenAI
    of requests and tokens by the names that they know."""
    if is_openai:
        return _openai("requests", state.requests) + _openai("tokens", state.tokens)
    known = [r for r in (state.requests, state.tokens, state.turns, state.usd) if r is not None]
    if not known:
        return []
    nearest = min(known, key=lambda r: r.remaining / r.limit if r.limit else 0.0)
    return [
        (b"ratelimit-limit", b"%g" % nearest.limit),
        (b"ratelimit-remaining", b"%g" % nearest.remaining),
        (b"ratelimit-reset", b"%d" % -(-nearest.reset_s // 1)),
    ]


def _openai(what: str, reading: Reading | None) -> list[tuple[bytes, bytes]]:
    if reading is None:
        return []
    name = what.encode()
    return [
        (b"x-ratelimit-limit-" + name, b"%d" % reading.limit),
        (b"x-ratelimit-remaining-" + name, b"%d" % reading.remaining),
        (b"x-ratelimit-reset-" + name, b"%.3fs" % reading.reset_s),
    ]


class Spending:
    """Holds turns against limits, and counts what they use. `price`: USD for usage of a model."""

    def __init__(self, quotas: Quotas, *, price: Price, audit: Auditor, metrics: Metrics) -> None:
        self._quotas, self._price = quotas, price
        self._audit, self._metrics = audit, metrics
        self._places: dict[TurnId, _Place] = {}
        self._starters: dict[TurnId, Principal] = {}
        self._charges: asyncio.Queue[_Charge | None] = asyncio.Queue()
        self._charging: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def calling(self, principal: Principal, scope: Mapping[str, Any]) -> AsyncIterator[None]:
        """Until the end of the block, what this task begins is begun by this caller; sockets say
        so for each command. `scope`: of the request, for the audit log."""
        call = Call(principal, where(scope))
        _calling.set(call)
        try:
            yield
        finally:
            for turn, is_new in call.begun.items():  # never begun: refused, or answered before
                await self._leave(turn)
                if is_new:
                    self._starters.pop(turn, None)

    def watch(self, manager: ConversationManager, tenant: str) -> None:
        """See all that is done with this manager's conversations, from now on."""
        if self._charging is None:
            self._charging = asyncio.create_task(self._charge_all(), name="charges")
        manager.use(_Review(self))
        manager.subscribe(partial(self._told, manager, tenant))

    @property
    def waiting(self) -> int:
        """Uses that are still to be written down."""
        return self._charges.qsize()

    async def settled(self) -> None:
        """Return when everything used so far is written down."""
        await self._charges.join()

    async def aclose(self) -> None:
        """Write what has not been written, and count nothing more."""
        if self._charging is not None:
            self._charges.put_nowait(None)
            await self._charging

    # Before.

    async def review(self, action: StateAction, state: ConversationState) -> None:
        """Raises QuotaExceeded where a command would begin more than its caller may."""
        call = _calling.get()
        if call is None:
            return
        turn: TurnId | None = getattr(action, "turn", None)
        if turn is not None:
            await self._quotas.afford(call.principal)
        elif isinstance(action, DecideCall) and state.turn is not None:
            turn = state.turn.id
            await self._note_decision(call, action, state)
        if turn is not None:
            await self._enter(turn, call)

    async def _enter(self, turn: TurnId, call: Call) -> None:
        if turn in self._places:
            return
        starter = self._starters.get(turn, call.principal)
        try:
            place = self._quotas.turn(starter)
            await place.__aenter__()
        except QuotaExceeded:
            await self._leave_lost()
            place = self._quotas.turn(starter)
            await place.__aenter__()
        self._places[turn] = _Place(place)
        call.begun[turn] = turn not in self._starters
        self._starters[turn] = starter
        if len(self._starters) > STARTERS:  # of turns that wait for ever, the oldest
            del self._starters[next(iter(self._starters))]

    async def _leave_lost(self) -> None:
        """Give back the places of turns that no task works on: the store failed while they ran."""
        for turn, place in list(self._places.items()):
            if place.manager is not None and not place.manager.streams.is_running(turn):
                await self._leave(turn)

    async def _leave(self, turn: TurnId) -> None:
        place = self._places.pop(turn, None)
        if place is not None:
            await place.held.__aexit__(None, None, None)

    async def _note_decision(
        self, call: Call, action: DecideCall, state: ConversationState
    ) -> None:
        await self._audit.record(
            call.principal,
            "call.approved" if action.approved else "call.denied",
            target=f"{state.id}/{action.call_id}",
            detail=action.note,
            **call.where,
        )

    # After.

    async def _told(self, manager: ConversationManager, tenant: str, change: StateChange) -> None:
        for fact in change.facts:
            self._note(fact, manager, tenant)
            if isinstance(fact, MessageRedacted):
                await self._note_redaction(fact, tenant, change.after)
        now, before = change.after.turn, change.before.turn
        if now is not None and now.held is None:
            self._has_begun(now.id, manager)
        elif now is not None:
            await self._leave(now.id)
        if before is not None and (now is None or now.id != before.id):
            await self._leave(before.id)
            self._starters.pop(before.id, None)

    def _has_begun(self, turn: TurnId, manager: ConversationManager) -> None:
        call, place = _calling.get(), self._places.get(turn)
        if call is not None:
            call.begun.pop(turn, None)
        if place is not None:
            place.manager = manager

    def _note(self, fact: Event, manager: ConversationManager, tenant: str) -> None:
        match fact:
            case AttemptMade() if manager.streams.is_running(fact.turn):
                # Of a turn that runs elsewhere, the other process counts.
                self._metrics.attempt(fact)
                self._owe(self._starters.get(fact.turn) or _tenant(tenant), fact)
            case SideRequestMade():
                call = _calling.get()
                self._metrics.side_request(fact)
                self._owe(_tenant(tenant) if call is None else call.principal, fact)
            case TurnClosed():
                self._metrics.turn(fact)
            case _:
                pass

    def _owe(self, principal: Principal, fact: AttemptMade | SideRequestMade) -> None:
        if fact.usage.total:
            self._charges.put_nowait(_Charge(principal, fact.model, fact.usage))

    async def _note_redaction(
        self, fact: MessageRedacted, tenant: str, state: ConversationState
    ) -> None:
        call = _calling.get()
        await self._audit.record(
            _tenant(tenant) if call is None else call.principal,
            "message.redacted",
            target=f"{state.id}/{fact.message}",
            **({} if call is None else call.where),
        )

    async def _charge_all(self) -> None:
        while (charge := await self._charges.get()) is not None:
            cost = self._price(charge.model, charge.usage)
            try:
                await self._quotas.charge(
                    charge.principal, model=charge.model, usage=charge.usage, cost=cost
                )
            except StoreError as error:  # the facts have it; a full disk stops nobody here
                log.get("access").error("spend_not_counted", code=error.code, cost=cost)
            finally:
                self._charges.task_done()


class _Review:
    """The middleware of conversations; it changes nothing."""

    def __init__(self, spending: Spending) -> None:
        self._spending = spending

    async def __call__(self, action: StateAction, state: ConversationState) -> StateAction:
        await self._spending.review(action, state)
        return action


def _tenant(tenant: str) -> Principal:
    """Whoever began it is not known any more, or nobody did."""
    return Principal(tenant, "(tenant)")
