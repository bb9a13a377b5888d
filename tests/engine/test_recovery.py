"""Failing models: who is asked, how often, and what is said about it."""

from typing import Any

import pytest

from palaver import ContextCompacted, ModelSwitched, RetryScheduled, TurnCompleted, tool
from palaver.domain.errors import (
    AuthenticationFailed,
    CircuitBreakerOpenError,
    Overloaded,
    ProviderError,
    ServerFailure,
)
from palaver.domain.stream import StreamEvent
from palaver.domain.values import Usage
from palaver.providers import catalogue
from palaver.providers.base import ModelInfo
from palaver.recovery.breaker import BreakerState
from palaver.settings import BreakerSettings, RetrySettings, Settings
from palaver.testing import Call, Fail, Report, Say, ScriptedModel, ToldClock
from tests.engine.conftest import Opened

ONE_TRY = Settings(retry=RetrySettings(network_attempts=1), breaker=BreakerSettings(failures=2))

BUSY = Fail(Overloaded("busy", should_retry=False))


def model(name: str, *turns: Any, **info: Any) -> ScriptedModel:
    return ScriptedModel(turns, info=ModelInfo(name, **{"window": 200_000, **info}))


def down(name: str, failure: ProviderError, times: int = 20, **info: Any) -> ScriptedModel:
    return model(name, *[Fail(failure)] * times, **info)


async def ended(conversation: Any, clock: ToldClock, text: str = "?") -> list[StreamEvent]:
    """Every event of one turn, however long it waits."""
    session = await conversation.start(text)
    while not session.is_ended:
        await clock.advance(10)
    return [event async for event in session.events()]


async def test_a_model_that_keeps_failing_is_left_alone(opened: Opened) -> None:
    """After enough failed calls nothing is sent, and the error says when it is tried again."""
    ill = down("a:1", ServerFailure("down"))
    manager = await opened(ill, settings=ONE_TRY)
    conversation = await manager.create()
    for _ in range(2):
        with pytest.raises(ServerFailure):
            await conversation.say("?")
    with pytest.raises(CircuitBreakerOpenError) as caught:
        await conversation.say("?")
    assert len(ill.requests) == 2
    assert (caught.value.retry_after_s or 0) > 50
    (reading,) = manager.recovery.readings()
    assert (reading.state, reading.last_error) == (BreakerState.OPEN, "provider_failed")


async def test_a_call_with_several_attempts_counts_once(opened: Opened, clock: ToldClock) -> None:
    """Attempts of one call are one failure to the breaker."""
    ill = down("a:1", Overloaded("busy"))
    manager = await opened(ill, settings=Settings(breaker=BreakerSettings(failures=2)))
    await ended(await manager.create(), clock)
    assert len(ill.requests) == 5
    (reading,) = manager.recovery.readings()
    assert (reading.state, reading.failures) == (BreakerState.CLOSED, 1)


async def test_the_next_model_of_the_chain_answers(opened: Opened, clock: ToldClock) -> None:
    """Two attempts, then the other one; the answer, the events and the bill say which."""
    ill, well = down("a:1", Overloaded("busy")), model("b:2", "There.")
    manager = await opened(ill, fallbacks=[well])
    conversation = await manager.create()
    events = await ended(conversation, clock)
    (switched,) = [e for e in events if isinstance(e, ModelSwitched)]
    assert (switched.previous, switched.model, switched.error.code) == ("a:1", "b:2", "overloaded")
    assert sum(isinstance(e, RetryScheduled) for e in events) == 1
    assert len(ill.requests) == 2
    assert conversation.messages[-1].model == "b:2"


async def test_a_refused_key_is_not_asked_with_again(opened: Opened) -> None:
    """A credential is left alone at once; its provider's other keys go on."""
    ill = down("a:1", AuthenticationFailed("revoked"), credential="k1")
    well = model("a:2", "One.", "Two.", credential="k2")
    manager = await opened(ill, fallbacks=[well])
    conversation = await manager.create()
    assert [(await conversation.say("?")).text for _ in range(2)] == ["One.", "Two."]
    assert len(ill.requests) == 1
    states = {r.name: r.state for r in manager.recovery.readings()}
    assert states["the a key k1"] is BreakerState.OPEN
    assert states["a:1"] is states["the a key k2"] is BreakerState.CLOSED


async def test_health_is_remembered_and_the_first_model_comes_back(
    opened: Opened, clock: ToldClock
) -> None:
    """While it is left alone nothing is sent to it; then one request finds out, and it answers."""
    ill = model("a:1", Fail(ServerFailure("down")), Fail(ServerFailure("down")), "Back.")
    well = model("b:2", "One.", "Two.", "Three.")
    manager = await opened(ill, fallbacks=[well], settings=ONE_TRY)
    conversation = await manager.create()
    for _ in range(3):
        await conversation.say("?")
    assert (len(ill.requests), len(well.requests)) == (2, 3)
    await clock.advance(70)
    assert (await conversation.say("?")).message.model == "a:1"
    assert manager.recovery.readings()[0].state is BreakerState.CLOSED


async def test_a_smaller_window_is_respected(opened: Opened, clock: ToldClock) -> None:
    """A model that stands in gets a window that it takes; one that can never hold the
    conversation is passed over."""
    long = "\n\n".join(f"Paragraph {n} about the harvest of {1900 + n}. " * 12 for n in range(12))
    first = model("a:1", long, long, long, BUSY, window=200_000, max_output=1_000)
    tiny = model("b:tiny", "never", window=120, max_output=100)
    small = model("c:small", "Short.", window=4_000, max_output=500)
    manager = await opened(first, fallbacks=[tiny, small])
    conversation = await manager.create()
    for _ in range(3):
        await conversation.say("Tell me more about it.")
    events = [event async for event in conversation.stream("And in short?")]
    switched = [e.model for e in events if isinstance(e, ModelSwitched)]
    assert switched == ["b:tiny", "c:small"]
    assert any(isinstance(e, ContextCompacted) for e in events)
    assert conversation.messages[-1].text == "Short."
    assert tiny.requests == []


async def test_the_bill_is_by_the_model_that_answered(opened: Opened, clock: ToldClock) -> None:
    """A turn over two models costs what each of them took."""
    used = Report(Usage(input=10_000))
    first = model("anthropic:claude-haiku-4-5", [used, Call("look")], BUSY)
    second = model("openai:gpt-5-mini", [used, Say("Done.")])

    @tool(effect="read")
    async def look() -> str:
        """Look."""
        return "seen"

    manager = await opened(first, fallbacks=[second], tools=[look])
    events = [event async for event in (await manager.create()).stream("?")]
    prices = [catalogue.price(m.name, Usage(input=10_000)) or 0.0 for m in (first, second)]
    assert prices[0] != prices[1]
    (end,) = [event for event in events if isinstance(event, TurnCompleted)]
    assert end.cost_usd == pytest.approx(sum(prices))
