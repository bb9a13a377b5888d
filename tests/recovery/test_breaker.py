"""Circuit breakers: who failed a moment ago is left alone, and asked again by exactly one."""

import pytest
from hypothesis import given, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from palaver.domain.errors import CircuitBreakerOpenError
from palaver.recovery.breaker import BreakerReading, BreakerState, CircuitBreaker, Permit
from palaver.settings import BreakerSettings

SETTINGS = BreakerSettings()


class Time:
    """A monotonic clock that is told the time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def breaker(time: Time) -> CircuitBreaker:
    return made(time)


def made(time: Time, told: list[BreakerReading] | None = None) -> CircuitBreaker:
    return CircuitBreaker(
        "openai:gpt",
        settings=SETTINGS,
        monotonic=time,
        chance=lambda: 0.5,
        changed=None if told is None else told.append,
    )


def fail(breaker: CircuitBreaker, times: int = SETTINGS.failures) -> None:
    for _ in range(times):
        breaker.admit().failure("overloaded")


def state(breaker: CircuitBreaker) -> BreakerState:
    return breaker.reading().state


def test_five_failed_calls_open_it(breaker: CircuitBreaker) -> None:
    """After the fifth failed call nobody is let through, and is told for how long and why."""
    fail(breaker, 4)
    assert state(breaker) is BreakerState.CLOSED
    fail(breaker, 1)
    assert state(breaker) is BreakerState.OPEN
    with pytest.raises(CircuitBreakerOpenError, match=r"openai:gpt .*overloaded.* 60 s") as refused:
        breaker.admit()
    assert refused.value.retry_after_s == pytest.approx(60.0)


def test_failures_long_ago_do_not_count(breaker: CircuitBreaker, time: Time) -> None:
    """The window slides: four failures a minute ago and four now leave it closed."""
    fail(breaker, 4)
    time.now += SETTINGS.window_s + 1
    fail(breaker, 4)
    assert state(breaker) is BreakerState.CLOSED
    assert breaker.reading().failures == 4


def test_a_few_failures_among_many_calls_are_normal(breaker: CircuitBreaker) -> None:
    """Under half of the calls may fail without anybody being left alone."""
    for _ in range(100):
        breaker.admit().success()
    fail(breaker, 20)
    assert state(breaker) is BreakerState.CLOSED


def test_exactly_one_of_fifty_is_the_probe(breaker: CircuitBreaker, time: Time) -> None:
    """When the time is over, one caller is let through and forty-nine are refused."""
    fail(breaker)
    time.now += 61
    permits = [permit for _ in range(50) if (permit := tried(breaker)) is not None]
    assert [p.is_probe for p in permits] == [True]


def tried(breaker: CircuitBreaker) -> Permit | None:
    try:
        return breaker.admit()
    except CircuitBreakerOpenError:
        return None


def test_a_good_probe_closes_it(breaker: CircuitBreaker, time: Time) -> None:
    """After the probe's success everybody passes, and nothing of before is counted."""
    fail(breaker)
    time.now += 61
    breaker.admit().success()
    assert state(breaker) is BreakerState.CLOSED
    fail(breaker, 4)
    assert state(breaker) is BreakerState.CLOSED


def test_it_stays_open_longer_each_time(breaker: CircuitBreaker, time: Time) -> None:
    """Each failed probe doubles the time, up to the cap."""
    fail(breaker)
    waits = []
    for _ in range(6):
        waits.append(breaker.reading().retry_after_s)
        time.now += waits[-1] + 0.001
        breaker.admit().failure("overloaded")
    assert waits == pytest.approx([60, 120, 240, 480, 600, 600])


def test_a_lost_probe_does_not_close_the_door_for_ever(breaker: CircuitBreaker, time: Time) -> None:
    """A probe that never says how it ended is followed by another."""
    fail(breaker)
    time.now += 61
    breaker.admit()
    time.now += SETTINGS.probe_s + 1
    assert breaker.admit().is_probe


def test_a_cancelled_probe_says_nothing(breaker: CircuitBreaker, time: Time) -> None:
    """The next caller is the probe instead."""
    fail(breaker)
    time.now += 61
    with breaker.admit():
        pass
    assert breaker.admit().is_probe


def test_the_callers_own_mistakes_do_not_count(breaker: CircuitBreaker) -> None:
    """Released permits open nothing."""
    for _ in range(50):
        breaker.admit().release()
    assert breaker.reading().calls == 0


def test_the_other_side_may_say_how_long(breaker: CircuitBreaker) -> None:
    """A Retry-After longer than the time it would stay open is obeyed."""
    fail(breaker, 4)
    breaker.admit().failure("rate_limited", retry_after_s=300.0)
    assert breaker.reading().retry_after_s == pytest.approx(300.0)


def test_calls_from_before_it_opened_change_nothing(breaker: CircuitBreaker, time: Time) -> None:
    """A slow success of an old call does not close it, a slow failure does not prolong it."""
    old, older = breaker.admit(), breaker.admit()
    fail(breaker)
    until = breaker.reading().retry_after_s
    old.success()
    older.failure("network")
    assert state(breaker) is BreakerState.OPEN
    assert breaker.reading().retry_after_s == until


def test_every_change_is_told(time: Time) -> None:
    """Who watches hears opening, the probe and closing, in order."""
    told: list[BreakerReading] = []
    breaker = made(time, told)
    fail(breaker)
    time.now += 61
    breaker.admit().success()
    assert [r.state for r in told] == [
        BreakerState.OPEN,
        BreakerState.HALF_OPEN,
        BreakerState.CLOSED,
    ]


@given(st.integers(0, 10_000), st.integers(0, 200))
def test_the_window_forgets_everything_in_time(calls: int, late: int) -> None:
    """After one window length nothing is counted any more."""
    time = Time()
    breaker = made(time)
    for _ in range(calls % 50):
        breaker.admit().success()
    time.now += SETTINGS.window_s * 7 / 6 + late
    assert breaker.reading().calls == 0


class Machine(RuleBasedStateMachine):
    """At most one probe is out, and an open breaker lets nobody through before its time."""

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        self.breaker = made(self.time)
        self.out: list[Permit] = []

    @rule()
    def call(self) -> None:
        reading = self.breaker.reading()
        permit = tried(self.breaker)
        if reading.state is BreakerState.CLOSED:
            assert permit is not None
        if reading.state is BreakerState.OPEN:
            assert permit is None
        if permit is not None:
            assert not permit.is_probe or not any(p.is_probe for p in self.out)
            self.out.append(permit)

    @rule(how=st.sampled_from(["success", "failure", "release"]), which=st.integers(0, 99))
    def end(self, how: str, which: int) -> None:
        if self.out:
            getattr(self.out.pop(which % len(self.out)), how)()

    @rule(seconds=st.sampled_from([0.1, 1.0, 30.0, 61.0, 700.0]))
    def wait(self, seconds: float) -> None:
        self.time.now += seconds
        if seconds > SETTINGS.probe_s:  # probes that are out are taken for lost
            self.out = [p for p in self.out if not p.is_probe]


TestMachine = Machine.TestCase
