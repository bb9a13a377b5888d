"""Less than the whole service, in steps: what there still is, what there is not, why, and when it
is tried again.

Three things can be amiss, each by itself; the worst of them is the level:

    answers   the chosen model → another of the chain → nobody (cached answers, offline responder,
              or nothing at all: as the settings say)          of a chain of models
    window    whole → made smaller after an overflow           of a conversation
    store     takes what is said → is only read                of everything

`after` says what each happening makes of that, purely; `GracefulDegradationManager` remembers it.
All of it mends by itself: a call that is answered, or a write that succeeds, is what restores.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from palaver.domain.clock import Clock
from palaver.domain.degradation import DegradationLevel, Feature
from palaver.domain.errors import PalaverError, StoreFailed, StoreFull, StoreReadOnly
from palaver.domain.ids import ConversationId
from palaver.domain.stream import ServiceDegraded, ServiceRestored, StreamEvent
from palaver.domain.values import ErrorInfo
from palaver.recovery.manager import Endpoint, ErrorRecoveryManager
from palaver.settings import OnUnreachable

_LIMIT = 1024
"""Conversations and chains remembered, the newest ones. What is forgotten is found out again."""
_F, _L = Feature, DegradationLevel
_ALWAYS = (_F.TOOLS, _F.MESSAGES, _F.READING, _F.ANALYSIS)
_WHOLE = (_F.CHOSEN_MODEL, _F.LANGUAGE_MODEL, _F.WHOLE_WINDOW, *_ALWAYS)
_LACKS: dict[DegradationLevel, tuple[Feature, ...]] = {
    _L.FULL: (),
    _L.OTHER_MODEL: (_F.CHOSEN_MODEL,),
    _L.SMALLER_WINDOW: (_F.WHOLE_WINDOW,),
    _L.CACHED_ANSWERS: (_F.CHOSEN_MODEL, _F.LANGUAGE_MODEL),
    _L.BASIC_CHAT: (_F.CHOSEN_MODEL, _F.LANGUAGE_MODEL),
    _L.READ_ONLY: (_F.CHOSEN_MODEL, _F.LANGUAGE_MODEL),
}
_INSTEAD: dict[DegradationLevel, tuple[Feature, ...]] = {
    _L.CACHED_ANSWERS: (_F.CACHED_ANSWERS, _F.BASIC_CHAT),
    _L.BASIC_CHAT: (_F.BASIC_CHAT,),
}
_NOBODY = (_L.CACHED_ANSWERS, _L.BASIC_CHAT, _L.READ_ONLY)


class DegradedFeatures(msgspec.Struct, frozen=True):
    """What there is at a level, and what there is not."""

    level: DegradationLevel = DegradationLevel.FULL
    available: tuple[Feature, ...] = _WHOLE
    unavailable: tuple[Feature, ...] = ()


class DegradedConversationState(msgspec.Struct, frozen=True):
    """What a conversation's service is now. At FULL nothing is amiss and nothing else is set."""

    features: DegradedFeatures = DegradedFeatures()
    error: ErrorInfo | None = None
    """Why."""
    retry_after_s: float = 0.0
    """Until it is tried again by itself; 0: with the next message."""
    since: float = 0.0
    """Seconds since 1970."""

    @property
    def level(self) -> DegradationLevel:
        """How much there is."""
        return self.features.level

    @property
    def is_degraded(self) -> bool:
        """Whether anything is amiss."""
        return self.level is not DegradationLevel.FULL


class Shortfall(msgspec.Struct, frozen=True):
    """One thing that is amiss, since `at`."""

    level: DegradationLevel
    error: ErrorInfo
    at: float = 0.0


class Service(msgspec.Struct, frozen=True):
    """All that may be amiss with one conversation's service."""

    answers: Shortfall | None = None
    window: Shortfall | None = None
    store: Shortfall | None = None


class Answered(msgspec.Struct, frozen=True):
    """A model answered. `is_own`: the one that was chosen; `is_smaller`: only after its window was
    made smaller for this very answer."""

    is_own: bool = True
    is_smaller: bool = False


class Switched(msgspec.Struct, frozen=True):
    """Another model of the chain is asked."""

    error: ErrorInfo


class Unreached(msgspec.Struct, frozen=True):
    """Nobody of the chain could be reached; this level is what there was instead."""

    error: ErrorInfo
    level: DegradationLevel = DegradationLevel.READ_ONLY


class Shrunk(msgspec.Struct, frozen=True):
    """The provider found the request too long, and the window was made smaller."""

    error: ErrorInfo


class Refused(msgspec.Struct, frozen=True):
    """The store did not take what was said."""

    error: ErrorInfo


class Stored(msgspec.Struct, frozen=True):
    """The store took it."""


Happening: TypeAlias = Answered | Switched | Unreached | Shrunk | Refused | Stored


def after(service: Service, happening: Happening, *, at: float = 0.0) -> Service:
    """What `happening` makes of it. What stays at its level keeps the time since when."""
    match happening:
        case Answered(is_own=is_own, is_smaller=is_smaller):
            before = service.answers
            is_less = not is_own and before is not None
            answers = (
                _short(before, _L.OTHER_MODEL, before.error, at) if is_less and before else None
            )
            return replace(service, answers=answers, window=service.window if is_smaller else None)
        case Switched(error=error):
            return replace(service, answers=_short(service.answers, _L.OTHER_MODEL, error, at))
        case Unreached(error=error, level=level):
            return replace(service, answers=_short(service.answers, level, error, at))
        case Shrunk(error=error):
            return replace(service, window=_short(service.window, _L.SMALLER_WINDOW, error, at))
        case Refused(error=error):
            return replace(service, store=_short(service.store, _L.READ_ONLY, error, at))
        case Stored():
            return replace(service, store=None)


def _short(
    before: Shortfall | None, level: DegradationLevel, error: ErrorInfo, at: float
) -> Shortfall:
    is_same = before is not None and before.level is level
    return Shortfall(level, error, before.at if is_same and before is not None else at)


def features(service: Service, *, instead: OnUnreachable) -> DegradedFeatures:
    """What there is, where `instead` is what becomes of a message that nobody can answer."""
    amiss = [s for s in (service.answers, service.window, service.store) if s is not None]
    level = max((s.level for s in amiss), key=lambda level: level.rank, default=_L.FULL)
    lacks = {feature for s in amiss for feature in _LACKS[s.level]}
    more: tuple[Feature, ...] = ()
    if service.store is not None:
        lacks = {*lacks, *_WHOLE} - {_F.READING, _F.ANALYSIS, _F.TOOLS}
    elif service.answers is not None:
        more = _INSTEAD.get(service.answers.level, ())
        is_kept = instead == "queue" and service.answers.level is _L.READ_ONLY
        more = (_F.OUTBOX,) if is_kept else more
    available = (*(f for f in _WHOLE if f not in lacks), *more)
    return DegradedFeatures(level, available, tuple(f for f in _WHOLE if f in lacks))


class GracefulDegradationManager:
    """What is amiss with whom. Used from one event loop, by all conversations of a manager."""

    def __init__(self, recovery: ErrorRecoveryManager, *, clock: Clock) -> None:
        self._recovery, self._clock = recovery, clock
        self._answers: OrderedDict[tuple[Endpoint, ...], Shortfall] = OrderedDict()
        self._windows: OrderedDict[ConversationId, Shortfall] = OrderedDict()
        self._store: Shortfall | None = None
        self._told: OrderedDict[ConversationId, DegradationLevel] = OrderedDict()

    def of(
        self,
        conversation: ConversationId,
        chain: Sequence[Endpoint],
        *,
        instead: OnUnreachable = "fail",
    ) -> "Degradation":
        """The service of one conversation: `chain` is its models, the chosen one first."""
        return Degradation(self, conversation, tuple(chain), instead)

    def store_refused(self, error: PalaverError) -> None:
        """The store did not take something."""
        if not is_refusal(error):
            return
        self._store = after(Service(store=self._store), Refused(error.info()), at=self._now).store

    def store_works(self) -> None:
        """The store took something."""
        self._store = None

    @property
    def chains(self) -> dict[str, DegradationLevel]:
        """The chains of models that do not answer as they should, with what there is instead."""
        return {
            " > ".join(endpoint.model for endpoint in chain): short.level
            for chain, short in self._answers.items()
        }

    def forget(self, conversation: ConversationId) -> None:
        """It is gone."""
        self._windows.pop(conversation, None)
        self._told.pop(conversation, None)

    # For `Degradation`.

    def _service(self, conversation: ConversationId, chain: tuple[Endpoint, ...]) -> Service:
        return Service(self._answers.get(chain), self._windows.get(conversation), self._store)

    def _note(
        self, conversation: ConversationId, chain: tuple[Endpoint, ...], happening: Happening
    ) -> Service:
        now = after(self._service(conversation, chain), happening, at=self._now)
        _keep(self._answers, chain, now.answers)
        _keep(self._windows, conversation, now.window)
        self._store = now.store
        return now

    def _tell(self, conversation: ConversationId, level: DegradationLevel) -> DegradationLevel:
        """The level that was told last."""
        before = self._told.get(conversation, DegradationLevel.FULL)
        _keep(self._told, conversation, None if level is DegradationLevel.FULL else level)
        return before

    @property
    def _now(self) -> float:
        return self._clock.now()


class Degradation:
    """The service of one conversation as one turn, or a reader, sees it."""

    def __init__(
        self,
        manager: GracefulDegradationManager,
        conversation: ConversationId,
        chain: tuple[Endpoint, ...],
        instead: OnUnreachable,
    ) -> None:
        self._manager, self._conversation, self._chain = manager, conversation, chain
        self.instead: OnUnreachable = instead
        """What becomes of a message that nobody can answer."""

    @property
    def now(self) -> DegradedConversationState:
        """What it is now: what turns found out, and what breakers know beside that."""
        service = self._manager._service(self._conversation, self._chain)
        known = self._by_breakers()
        held = service.answers
        if held is not None and held.level in _NOBODY:
            held = replace(held, level=self._without(held.level))
        if known is not None and (held is None or held.level.rank < known.level.rank):
            held = known
        return self._state(replace(service, answers=held))

    def note(self, happening: Happening) -> list[StreamEvent]:
        """Something happened: what to show of it, which is nothing unless the level changed."""
        manager = self._manager
        state = self._state(manager._note(self._conversation, self._chain, happening))
        before = manager._tell(self._conversation, state.level)
        if before is state.level:
            return []
        if state.error is None:
            return [ServiceRestored(before)]
        has, left = state.features, state.retry_after_s
        return [ServiceDegraded(has.level, has.available, has.unavailable, state.error, left)]

    def store_refused(self, error: PalaverError) -> list[StreamEvent]:
        """The store did not take something: what to show of it."""
        return self.note(Refused(error.info())) if is_refusal(error) else []

    def _state(self, service: Service) -> DegradedConversationState:
        amiss = [s for s in (service.answers, service.window, service.store) if s is not None]
        if not amiss:
            return DegradedConversationState()
        worst = max(amiss, key=lambda short: short.level.rank)
        left = self._left_alone_s(worst.level) if worst is service.answers else 0.0
        has = features(service, instead=self.instead)
        return DegradedConversationState(has, worst.error, left, worst.at)

    def _by_breakers(self) -> Shortfall | None:
        refusals = [self._manager._recovery.refusal(endpoint) for endpoint in self._chain]
        if not refusals or refusals[0] is None:
            return None
        level = self._without(_L.BASIC_CHAT) if all(refusals) else _L.OTHER_MODEL
        return Shortfall(level, refusals[0].info(), self._manager._now)

    def _without(self, level: DegradationLevel) -> DegradationLevel:
        """What there is here where another conversation of the chain had `level`: what turns of
        this one got, else what the settings say."""
        told = self._manager._told.get(self._conversation)
        if told in _NOBODY:
            return told
        if self.instead != "offline":
            return _L.READ_ONLY
        return _L.BASIC_CHAT if level is _L.READ_ONLY else level

    def _left_alone_s(self, level: DegradationLevel) -> float:
        asked = self._chain if level in _NOBODY else self._chain[:1]
        refusals = [self._manager._recovery.refusal(endpoint) for endpoint in asked]
        return min((r.retry_after_s or 0.0 if r else 0.0 for r in refusals), default=0.0)


def is_refusal(error: PalaverError) -> bool:
    """Whether the store takes nothing at all, not only this."""
    return isinstance(error, StoreFull | StoreReadOnly | StoreFailed)


Key = TypeVar("Key")
Value = TypeVar("Value")


def _keep(kept: "OrderedDict[Key, Value]", key: Key, value: Value | None) -> None:
    kept.pop(key, None)
    if value is not None:
        kept[key] = value
        while len(kept) > _LIMIT:
            kept.popitem(last=False)
