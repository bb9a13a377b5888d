"""What there still is, as a pure fold of what happened, and what is told of it."""

from typing import Any

from hypothesis import given, strategies as st

from palaver.domain.degradation import DegradationLevel, Feature
from palaver.domain.errors import ConnectionFailed, ServerFailure, StoreBusy, StoreFull
from palaver.domain.ids import ConversationId
from palaver.domain.stream import ServiceDegraded, ServiceRestored
from palaver.domain.values import ErrorInfo
from palaver.recovery.degradation import (
    Answered,
    GracefulDegradationManager,
    Happening,
    Refused,
    Service,
    Shrunk,
    Stored,
    Switched,
    Unreached,
    after,
    features,
)
from palaver.recovery.manager import Endpoint, ErrorRecoveryManager
from palaver.settings import BreakerSettings, Settings
from palaver.testing import ToldClock

WHY, OTHER = ErrorInfo("network", "refused"), ErrorInfo("overloaded", "busy")
L, ME, YOU = DegradationLevel, ConversationId("conv_1"), ConversationId("conv_2")
OWN, SECOND = Endpoint("a:1"), Endpoint("b:2")
HAPPENINGS: tuple[Happening, ...] = (
    *(Answered(is_own=own, is_smaller=small) for own in (True, False) for small in (True, False)),
    Switched(WHY),
    Unreached(WHY),
    *(Unreached(OTHER, level) for level in (L.CACHED_ANSWERS, L.BASIC_CHAT)),
    Shrunk(OTHER),
    Refused(WHY),
    Stored(),
)


def folded(*happenings: Happening) -> Service:
    service = Service()
    for at, happening in enumerate(happenings):
        service = after(service, happening, at=float(at))
    return service


def level(*happenings: Happening) -> DegradationLevel:
    return features(folded(*happenings), instead="fail").level


def manager(clock: ToldClock, **settings: Any) -> GracefulDegradationManager:
    recovery = ErrorRecoveryManager(clock=clock, chance=lambda: 0.5, settings=Settings(**settings))
    return GracefulDegradationManager(recovery, clock=clock)


def test_the_worst_of_what_is_amiss_is_the_level() -> None:
    """And each thing mends by itself."""
    assert level(Switched(WHY)) is L.OTHER_MODEL
    assert level(Switched(WHY), Shrunk(WHY)) is L.SMALLER_WINDOW
    assert level(Switched(WHY), Shrunk(WHY), Unreached(WHY, L.BASIC_CHAT)) is L.BASIC_CHAT
    assert level(Refused(WHY), Unreached(WHY, L.BASIC_CHAT)) is L.READ_ONLY
    assert level(Refused(WHY), Unreached(WHY, L.BASIC_CHAT), Stored()) is L.BASIC_CHAT
    assert level(Unreached(WHY), Answered(is_own=False)) is L.OTHER_MODEL
    assert level(Unreached(WHY), Answered(is_own=False), Answered()) is L.FULL


def test_a_smaller_window_lasts_until_a_call_needs_none() -> None:
    """The call that it was made for does not restore it."""
    assert level(Shrunk(WHY), Answered(is_smaller=True)) is L.SMALLER_WINDOW
    assert level(Shrunk(WHY), Answered(is_smaller=True), Answered()) is L.FULL


@given(st.lists(st.sampled_from(HAPPENINGS), max_size=12))
def test_whatever_happened_an_answer_and_a_write_restore_all(happened: list[Happening]) -> None:
    """Nothing degraded is for ever; what there is and what there is not never overlap."""
    service = folded(*happened)
    for instead in ("fail", "queue", "offline"):
        has = features(service, instead=instead)
        assert not set(has.available) & set(has.unavailable)
        assert Feature.READING in has.available
        assert (has.level is L.FULL) is (not has.unavailable)
    assert after(after(service, Answered()), Stored()) == Service()


def test_what_stays_keeps_its_time() -> None:
    """`since` is when the level began, not when it was seen last."""
    service = folded(Unreached(WHY), Unreached(OTHER), Unreached(WHY))
    assert service.answers is not None
    assert (service.answers.at, service.answers.error) == (0.0, WHY)


def test_a_change_is_told_once_to_each_conversation() -> None:
    """Who shares a chain shares what is known of it."""
    holder = manager(ToldClock())
    mine, yours = (holder.of(c, [OWN], instead="offline") for c in (ME, YOU))
    (told,) = mine.note(Unreached(WHY, L.BASIC_CHAT))
    assert isinstance(told, ServiceDegraded)
    assert mine.note(Unreached(OTHER, L.BASIC_CHAT)) == []
    assert yours.now.level is L.BASIC_CHAT
    assert yours.note(Answered()) == []  # nobody had told it anything
    assert mine.note(Answered()) == [ServiceRestored(L.BASIC_CHAT)]
    assert holder.of(ME, [OWN, SECOND]).now.level is L.FULL


def test_settings_say_what_nobody_means() -> None:
    """Where nothing stands in there are no answers; what is said is kept where that is wanted."""
    holder = manager(ToldClock())
    holder.of(ME, [OWN], instead="offline").note(Unreached(WHY, L.BASIC_CHAT))
    fails, keeps = (holder.of(YOU, [OWN], instead=mode).now for mode in ("fail", "queue"))
    assert fails.level is keeps.level is L.READ_ONLY
    assert Feature.OUTBOX in keeps.features.available
    assert Feature.OUTBOX not in fails.features.available
    assert Feature.MESSAGES in fails.features.available


async def test_breakers_are_read_with_it() -> None:
    """What another conversation, or another process, found out is known before it is tried."""
    clock = ToldClock()
    holder = manager(clock, breaker=BreakerSettings(failures=1))
    service = holder.of(ME, [OWN, SECOND], instead="offline")
    recovery = holder._recovery
    for number, endpoint in enumerate((OWN, SECOND)):
        (await recovery.admit(endpoint)).gave_up(ServerFailure("down"))
        await clock.advance(10.0)
        assert service.now.level is (L.OTHER_MODEL, L.BASIC_CHAT)[number]
    assert service.now.retry_after_s == 40.0
    await clock.advance(41.0)
    assert service.now.level is L.FULL


def test_only_a_store_that_takes_nothing_is_read_only() -> None:
    """A full disk is, a file that is busy for a moment is not."""
    holder = manager(ToldClock())
    service = holder.of(ME, [OWN])
    holder.store_refused(StoreBusy("busy"))
    assert not service.now.is_degraded
    holder.store_refused(StoreFull("full"))
    assert service.now.level is L.READ_ONLY
    assert Feature.MESSAGES in service.now.features.unavailable
    holder.store_works()
    assert service.now == type(service.now)()


def test_what_is_remembered_is_bounded() -> None:
    """Names and conversations come from users: any number of them may come."""
    holder = manager(ToldClock())
    for number in range(3_000):
        chain = [Endpoint(f"a:{number}")]
        holder.of(ConversationId(f"conv_{number}"), chain).note(Unreached(WHY))
    assert len(holder.chains) <= 1_024
    holder.forget(ConversationId("conv_2999"))
    (again,) = holder.of(ConversationId("conv_2999"), [OWN]).note(
        Unreached(ConnectionFailed("refused").info())
    )
    assert isinstance(again, ServiceDegraded)
