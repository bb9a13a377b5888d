"""What is remembered between calls."""

import random
from typing import Any

import pytest

from palaver.domain.errors import (
    AuthenticationFailed,
    CircuitBreakerOpenError,
    ConnectionFailed,
    InvalidRequest,
    ProviderError,
    QuotaExhausted,
)
from palaver.recovery.board import MemoryBoard
from palaver.recovery.breaker import BreakerState
from palaver.recovery.decision import Compact, ErrorContext, GiveUp, Resume, SwitchModel, Wait
from palaver.recovery.manager import Endpoint, ErrorRecoveryManager, RecoveryResult
from palaver.settings import BreakerSettings, Settings
from palaver.testing import ToldClock

ONE, OTHER = Endpoint("a:1", "x.org", "k1"), Endpoint("a:1", "x.org", "k2")
DOWN = ConnectionFailed("down")


def manager(clock: ToldClock, **given: Any) -> ErrorRecoveryManager:
    settings = Settings(breaker=BreakerSettings(failures=2))
    return ErrorRecoveryManager(clock=clock, chance=lambda: 0.5, settings=settings, **given)


async def fail(recovery: ErrorRecoveryManager, failure: ProviderError, to: Endpoint = ONE) -> None:
    call = await recovery.admit(to)
    call.failed(failure)
    call.gave_up(failure)


def states(recovery: ErrorRecoveryManager) -> dict[str, str]:
    return {reading.name: reading.state.value for reading in recovery.readings()}


async def test_failing_calls_open_the_breaker_of_the_model() -> None:
    """For every key, at this address; another address of the same model goes on."""
    recovery = manager(ToldClock())
    await fail(recovery, DOWN)
    await fail(recovery, DOWN, OTHER)
    for endpoint in (ONE, OTHER):
        assert not recovery.is_admitting(endpoint)
        with pytest.raises(CircuitBreakerOpenError):
            await recovery.admit(endpoint)
    (await recovery.admit(Endpoint("a:1", "y.org", "k1"))).release()


@pytest.mark.parametrize("failure", [AuthenticationFailed("no"), QuotaExhausted("spent")])
async def test_a_refused_credential_is_left_alone_at_once(failure: ProviderError) -> None:
    """The provider's other keys go on."""
    recovery = manager(ToldClock())
    await fail(recovery, failure)
    assert not recovery.is_admitting(ONE)
    (await recovery.admit(OTHER)).succeeded()
    assert states(recovery)["a:1 at x.org"] == "closed"


async def test_a_credential_comes_back_by_its_probe() -> None:
    """One call finds out whether the key is good again."""
    clock = ToldClock()
    recovery = manager(clock)
    await fail(recovery, AuthenticationFailed("no"))
    await clock.advance(70)
    probe = await recovery.admit(ONE)
    assert probe.is_probe
    with pytest.raises(CircuitBreakerOpenError):
        await recovery.admit(ONE)
    probe.succeeded()
    (await recovery.admit(ONE)).release()


async def test_what_the_caller_did_wrong_counts_for_nobody() -> None:
    """Bad requests and cancels leave every breaker closed, and half open ones to the next one."""
    clock = ToldClock()
    recovery = manager(clock)
    for _ in range(5):
        await fail(recovery, InvalidRequest("no"))
        (await recovery.admit(ONE)).release()
    assert set(states(recovery).values()) == {"closed"}
    for _ in range(2):
        await fail(recovery, DOWN)
    await clock.advance(70)
    (await recovery.admit(ONE)).release()
    assert (await recovery.admit(ONE)).is_probe


async def test_a_probe_is_not_repeated() -> None:
    """Whoever finds out sends one request; an answer that broke underway may be continued."""
    clock = ToldClock()
    recovery = manager(clock)
    for _ in range(2):
        await fail(recovery, DOWN)
    await clock.advance(70)
    probe = await recovery.admit(ONE)
    assert not probe.may_repeat
    assert probe.may_resume


async def test_an_outage_gets_hardly_more_than_was_asked_of_it() -> None:
    """2,000 offered calls are at most 2,200 requests, whatever the chance says."""
    chance = random.Random(7)
    never = Settings(breaker=BreakerSettings(failures=10**9))
    recovery = ErrorRecoveryManager(clock=ToldClock(), chance=chance.random, settings=never)
    requests = 0
    for _ in range(2_000):
        call, attempt, again = await recovery.admit(ONE), 0, True
        while again:
            attempt, requests = attempt + 1, requests + 1
            call.failed(DOWN)
            context = ErrorContext(
                failure=DOWN,
                attempt=attempt,
                remaining_s=600.0,
                jitter=chance.random(),
                has_budget=call.may_repeat,
            )
            again = recovery.recover(context).should_retry
        call.gave_up(DOWN)
    assert requests <= 2_200
    report = recovery.report()
    assert (report.failures, report.rate) == (requests, 1.0)
    assert report.by_kind == {"network": requests}


async def test_managers_share_what_they_find_out() -> None:
    """What one opens, the other leaves alone; one of them gets the probe; both close."""
    clock = ToldClock()
    board = MemoryBoard(clock.monotonic)
    one, two = manager(clock, board=board), manager(clock, board=board)
    for _ in range(2):
        await fail(one, DOWN)
    await one.tell()
    assert not two.is_admitting(ONE)
    await clock.advance(70)
    probe = await two.admit(ONE)
    with pytest.raises(CircuitBreakerOpenError):
        await one.admit(ONE)
    probe.succeeded()
    await two.tell()
    (await one.admit(ONE)).release()
    assert set(states(one).values()) == {"closed"}


async def test_remote_tools_have_breakers_by_name() -> None:
    """The same rules for anything that is asked over a network."""
    recovery = manager(ToldClock())
    for _ in range(2):
        (await recovery.admit_named("mcp:search")).failure("timeout")
    with pytest.raises(CircuitBreakerOpenError):
        await recovery.admit_named("mcp:search")
    (reading,) = recovery.readings()
    assert (reading.name, reading.state) == ("mcp:search", BreakerState.OPEN)


async def test_any_number_of_names_takes_bounded_memory() -> None:
    """Idle breakers are forgotten, open ones are not."""
    recovery = manager(ToldClock())
    for _ in range(2):
        await fail(recovery, DOWN)
    for number in range(3_000):
        (await recovery.admit(Endpoint(f"a:{number}"))).succeeded()
    assert len(recovery.readings()) < 2_000
    assert states(recovery)["a:1 at x.org"] == "open"


def test_results_name_their_strategy() -> None:
    """For logs and for people."""
    decisions = (Wait(1.0), Compact(), SwitchModel("b"), Resume(0.1), GiveUp())
    results = [RecoveryResult(decision) for decision in decisions]
    assert [r.strategy for r in results] == ["Wait", "Compact", "SwitchModel", "Resume", "GiveUp"]
    assert [r.should_retry for r in results] == [True] * 4 + [False]
