"""What is remembered between calls: who fails, what may be repeated, what has gone wrong lately.

One manager serves all conversations of a process. It keeps a circuit breaker for each model at its
address, one for each credential, and one for whatever else is asked by name (remote tools); a retry
budget for each model; and the statistics. A call is let through by `admit` and told how it ended:

    admit ──▶ Call ── failed (an attempt), once for each ──▶ succeeded | gave_up | release

What a credential is refused for says nothing about its provider: then the credential is left alone,
and the provider's other keys go on.
"""

from collections import OrderedDict, deque
from collections.abc import Callable

import msgspec

from palaver.domain.clock import Clock
from palaver.domain.errors import CircuitBreakerOpenError, ProviderError
from palaver.recovery.analytics import ErrorAnalytics, ErrorReport
from palaver.recovery.breaker import Board, BreakerReading, BreakerState, CircuitBreaker, Permit
from palaver.recovery.budget import RetryBudget
from palaver.recovery.classification import classify, traits
from palaver.recovery.decision import (
    Compact,
    Decision,
    Degrade,
    ErrorContext,
    Resume,
    SwitchModel,
    Wait,
    decide,
)
from palaver.settings import Settings

_LIMIT = 512
"""Breakers remembered; names come from users, so there may be any number. Open ones stay."""
_ASK_AGAIN_S = 2.0
"""When another process has the probe: until we look again."""
_DEFAULTS = Settings()
NOBODY = "No model can be reached now:"


class Endpoint(msgspec.Struct, frozen=True):
    """Whom a call goes to: a model (`provider:model`), where, and with which credential."""

    model: str
    address: str = ""
    credential: str = ""
    """A fingerprint; empty where none is needed."""

    @property
    def name(self) -> str:
        """For people and statistics."""
        return f"{self.model} at {self.address}" if self.address else self.model

    @property
    def key_name(self) -> str:
        """The credential, for people and statistics."""
        return f"the {self.model.partition(':')[0]} key {self.credential}"


class RecoveryResult(msgspec.Struct, frozen=True):
    """What is done about a failed attempt."""

    decision: Decision
    fallback_response: str = ""
    """What may be said instead, where the decision is to degrade."""

    @property
    def should_retry(self) -> bool:
        """Whether another request follows."""
        return isinstance(self.decision, Wait | Compact | SwitchModel | Resume)

    @property
    def strategy(self) -> str:
        """The decision's name: Wait, Compact, SwitchModel, Resume, Degrade or GiveUp."""
        return type(self.decision).__name__


class _Side:
    """What is known of one endpoint."""

    __slots__ = ("breaker", "budget", "key", "model")

    def __init__(
        self, model: str, breaker: CircuitBreaker, key: CircuitBreaker | None, budget: RetryBudget
    ) -> None:
        self.model, self.breaker, self.key, self.budget = model, breaker, key, budget


class Call:
    """One call that was let through. `succeeded`, `gave_up` and `release`: the first one counts."""

    __slots__ = ("_analytics", "_clock", "_is_answered", "_key", "_permit", "_side")

    def __init__(
        self,
        side: _Side,
        permit: Permit,
        key: Permit | None,
        analytics: ErrorAnalytics,
        clock: Clock,
    ) -> None:
        self._side, self._permit, self._key = side, permit, key
        self._analytics, self._clock = analytics, clock
        self._is_answered = False

    @property
    def is_probe(self) -> bool:
        """Whether others wait for how this call ends."""
        return self._permit.is_probe or self._key is not None

    @property
    def may_repeat(self) -> bool:
        """Whether a failed attempt may be followed by another one at the same endpoint: there is
        budget, nobody has opened the breaker meanwhile, and it is no probe."""
        return self._side.budget.allows and not self.is_probe and self._side.breaker.is_closed

    @property
    def may_resume(self) -> bool:
        """The same for an answer that broke in the middle: a probe's is continued, too."""
        return self._side.budget.allows and (self.is_probe or self._side.breaker.is_closed)

    def failed(self, failure: ProviderError) -> None:
        """An attempt failed. It is counted, and paid from the budget."""
        kind = classify(failure)
        self._analytics.failed(kind, self._side.model, failure.info(), at=self._clock.now())
        if traits(kind).passes:
            self._side.budget.failed()

    def succeeded(self) -> None:
        """The call was answered."""
        self._is_answered = True
        self._permit.success()
        if self._key is not None:
            self._key.success()
        self._side.budget.succeeded()
        self._analytics.succeeded(self._side.model, at=self._clock.now())

    def gave_up(self, failure: ProviderError) -> None:
        """The call is over without an answer: breakers hear whose fault it was."""
        meaning = traits(classify(failure))
        if meaning.credential and self._side.key is not None:
            self._refuse_key(self._side.key, failure)
        elif meaning.counts:
            self._permit.failure(failure.code, retry_after_s=failure.retry_after_s)
        self.release()

    def release(self) -> None:
        """The call ended without saying anything about the other side."""
        if self._is_answered:
            return
        self._permit.release()
        if self._key is not None:
            self._key.release()

    def _refuse_key(self, breaker: CircuitBreaker, failure: ProviderError) -> None:
        if self._key is not None:
            self._key.failure(failure.code, retry_after_s=failure.retry_after_s)
        elif breaker.is_closed:
            breaker.trip(failure.code, retry_after_s=failure.retry_after_s)


class ErrorRecoveryManager:
    """See the module. Used from one event loop. `board` shares breakers between processes."""

    def __init__(
        self,
        *,
        clock: Clock,
        chance: Callable[[], float],
        settings: Settings = _DEFAULTS,
        board: Board | None = None,
    ) -> None:
        self.analytics = ErrorAnalytics()
        self._settings, self._clock, self._chance, self._board = settings, clock, chance, board
        self._sides: dict[Endpoint, _Side] = {}
        self._budgets: OrderedDict[str, RetryBudget] = OrderedDict()
        self._breakers: OrderedDict[str, CircuitBreaker] = OrderedDict()
        self._news: deque[BreakerReading] = deque(maxlen=_LIMIT)
        if board is not None:
            board.listen(self._heard)

    async def admit(self, endpoint: Endpoint) -> Call:
        """Let a call through. Raises CircuitBreakerOpenError, at once, while the other side is left
        alone: nothing may be sent then."""
        side = self._sides.get(endpoint) or self._side(endpoint)
        key = side.key
        key_permit = None if key is None or key.is_closed else key.admit()
        try:
            permit = side.breaker.admit()
        except CircuitBreakerOpenError:
            if key_permit is not None:
                key_permit.release()
            raise
        call = Call(side, permit, key_permit, self.analytics, self._clock)
        if self._board is not None:
            await self._share(self._board, side, call, permit)
        return call

    async def admit_named(self, name: str) -> Permit:
        """The same for anything else that is asked over a network, for example a remote tool."""
        return self._breaker(name).admit()

    async def admit_aside(self, endpoint: Endpoint) -> Call:
        """The same for what nobody waits for (a title, a summary): it is never the probe that
        everybody else waits for."""
        side = self._sides.get(endpoint) or self._side(endpoint)
        for breaker in (side.breaker, side.key):
            if breaker is not None and not breaker.is_closed:
                raise breaker.refusal()
        return await self.admit(endpoint)

    def is_admitting(self, endpoint: Endpoint) -> bool:
        """Whether a call would be let through now."""
        return self.refusal(endpoint) is None

    def refusal(self, endpoint: Endpoint) -> CircuitBreakerOpenError | None:
        """Why a call would not be let through now; None where it would be."""
        side = self._sides.get(endpoint) or self._side(endpoint)
        for breaker in (side.breaker, side.key):
            if breaker is not None and not breaker.admits:
                return breaker.refusal()
        return None

    def budgets(self) -> dict[str, float]:
        """What is left of each model's retry budget, as a share from 0 to 1; nothing is repeated
        from a half down."""
        whole = self._settings.budget.tokens
        return {name: budget.tokens / whole for name, budget in self._budgets.items()}

    def recover(self, context: ErrorContext) -> RecoveryResult:
        """What is to be done about a failed attempt."""
        decision = decide(context, self._settings.retry)
        said = f"{NOBODY} {context.failure.message}" if isinstance(decision, Degrade) else ""
        return RecoveryResult(decision, said)

    def readings(self) -> tuple[BreakerReading, ...]:
        """Every breaker as it is now, the ones that are not closed first."""
        found = [breaker.reading() for breaker in self._breakers.values()]
        return tuple(sorted(found, key=lambda r: (r.state is BreakerState.CLOSED, r.name)))

    def report(self, *, seconds: float = 3600.0, model: str = "") -> ErrorReport:
        """What has gone wrong lately: attempts, failures by class and model, examples."""
        return self.analytics.report(at=self._clock.now(), seconds=seconds, model=model)

    async def tell(self) -> None:
        """Tell the others what has been found out since the last time."""
        while self._board is not None and self._news:
            news = self._news.popleft()
            if news.state is BreakerState.CLOSED:
                await self._board.closed(news.name, by=self._heard)
            elif news.retry_after_s:
                await self._board.opened(
                    news.name, news.retry_after_s, news.last_error, by=self._heard
                )

    # Parts.

    def _heard(self, name: str, seconds: float, error: str) -> None:
        """Somebody else found out that `name` fails, or answers again."""
        breaker = self._breaker(name)
        if seconds:
            breaker.open_for(seconds, error)
        else:
            breaker.close()
        if self._news and self._news[-1].name == name:
            self._news.pop()  # they know

    async def _share(self, board: Board, side: _Side, call: Call, permit: Permit) -> None:
        await self.tell()
        if not permit.is_probe:
            return
        name = side.breaker.name
        if not await board.take_probe(name, self._settings.breaker.probe_s, by=self._heard):
            call.release()
            reading = side.breaker.reading()
            raise CircuitBreakerOpenError(
                name, retry_after_s=_ASK_AGAIN_S, cause=reading.last_error
            )

    def _side(self, endpoint: Endpoint) -> _Side:
        key = self._breaker(endpoint.key_name) if endpoint.credential else None
        budget = self._budgets.setdefault(endpoint.name, RetryBudget(self._settings.budget))
        made = _Side(endpoint.model, self._breaker(endpoint.name), key, budget)
        if len(self._sides) >= _LIMIT:
            self._forget_idle()
        self._sides[endpoint] = made
        return made

    def _breaker(self, name: str) -> CircuitBreaker:
        found = self._breakers.get(name)
        if found is None:
            found = self._breakers[name] = CircuitBreaker(
                name,
                settings=self._settings.breaker,
                monotonic=self._clock.monotonic,
                chance=self._chance,
                changed=None if self._board is None else self._news.append,
            )
        return found

    def _forget_idle(self) -> None:
        self._sides.clear()
        self._budgets.clear()
        for name in [n for n, breaker in self._breakers.items() if breaker.is_closed]:
            del self._breakers[name]
