"""Failing providers over the wire: one probe, bounded load, and a chain across providers."""

import asyncio
from contextlib import AsyncExitStack

import pytest

import palaver
from palaver import HistoryAdapted, ModelSwitched, tool
from palaver.domain.errors import CircuitBreakerOpenError, ServerFailure
from palaver.providers.base import ModelInfo
from palaver.settings import BreakerSettings, RetrySettings, Settings
from palaver.testing import Call, Fail, Line, Say, ScriptedModel, Think, ToldClock, valid_history
from palaver.testing.provider_server import Answer, ProviderServer
from tests.contract.test_wires import PATIENT, WIRES, model_of

SHORT = Settings(
    retry=RetrySettings(network_attempts=1, network_base_s=0.0),
    breaker=BreakerSettings(failures=3, open_s=30.0),
    titles="off",
)


async def test_exactly_one_of_fifty_callers_probes() -> None:
    """When the time of an open breaker is over, one request reaches the provider; the others fail
    at once, and when it has answered, everybody is let through."""
    gate, clock = asyncio.Event(), ToldClock()
    async with ProviderServer() as server, AsyncExitStack() as stack:
        model = model_of("chat", server, PATIENT)
        stack.push_async_callback(model.aclose)
        manager = await stack.enter_async_context(
            palaver.open(":memory:", model=model, settings=SHORT, clock=clock)
        )
        talks = [await manager.create() for _ in range(50)]
        server.script([Answer(500)] * 3)
        await asyncio.gather(*(t.say("?") for t in talks[:3]), return_exceptions=True)
        await clock.advance(34)  # the jitter is a tenth
        server.journal.clear()
        server.default = [palaver.testing.Pause(until=gate), "Well."]
        asked = [asyncio.ensure_future(t.say("?")) for t in talks]
        await server.wait_for(1, over=False)
        failing = asyncio.as_completed(asked, timeout=60)
        for _, first in zip(range(49), failing, strict=False):
            with pytest.raises(CircuitBreakerOpenError):
                await first
        (waiting,) = [each for each in asked if not each.done()]
        assert len(server.journal) == 1
        gate.set()
        assert (await waiting).text == "Well."
        replies = await asyncio.gather(*(t.say("?") for t in talks))
        assert {reply.text for reply in replies} == {"Well."}


@pytest.mark.long
async def test_an_outage_is_not_made_worse() -> None:
    """2,000 calls to a model that is down are at most 1.1 times as many requests."""
    model = ScriptedModel(name="a:1")
    model.when("", Fail(ServerFailure("down")))
    # The breaker never opens and nobody waits: the budget alone has to hold.
    settings = Settings(
        retry=RetrySettings(network_base_s=0.0),
        breaker=BreakerSettings(failures=10**9),
        titles="off",
    )
    async with palaver.open(":memory:", model=model, settings=settings) as manager:
        talks = [await manager.create() for _ in range(40)]
        for _ in range(50):
            ended = await asyncio.gather(*(t.say("?") for t in talks), return_exceptions=True)
            assert all(isinstance(error, ServerFailure) for error in ended)
    assert 2_000 < len(model.requests) <= 2_200


@tool(effect="read")
async def weather(city: str) -> str:
    """Weather in a city."""
    return f"sunny in {city}"


async def test_a_turn_crosses_three_providers() -> None:
    """From Anthropic's API to OpenAI's two, each dying in the middle of a turn with tools and
    reasoning: strict servers accept every request, the stored history is valid, and the bill is of
    whoever answered."""
    settings = Settings(retry=RetrySettings(network_attempts=1, network_base_s=0.0), titles="off")
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(ProviderServer()) for _ in WIRES]
        models = [model_of(w, s, PATIENT) for w, s in zip(WIRES[:2], servers, strict=False)]
        models.append(
            palaver.OpenAIManager(
                model="gpt-5",
                api_key="k",
                base_url=servers[2].openai_url,
                info=ModelInfo("openai:gpt-5", 400_000, 8_192, reasoning=True),
                clocks=PATIENT,
                api="responses",
            )
        )
        for model in models:
            stack.push_async_callback(model.aclose)
        for server, city in zip(servers, ("Oslo", "Rome", "Bonn"), strict=True):
            look: list[Line] = [
                Think("hm"),
                Say(f"I look at {city}. "),
                Call("weather", {"city": city}),
            ]
            well: list[Line] = [Think("so"), "All are sunny."]
            server.script([look, well if city == "Bonn" else Answer(500)])
        manager = await stack.enter_async_context(
            palaver.open(
                ":memory:",
                model=models[0],
                fallbacks=models[1:],
                tools=[weather],
                settings=settings,
            )
        )
        conversation = await manager.create(reasoning="medium")
        events = [event async for event in conversation.stream("Weather?")]
        switched = [(e.previous, e.model) for e in events if isinstance(e, ModelSwitched)]
        assert switched == [
            ("anthropic:claude-haiku-4-5", "openai:gpt-5-mini"),
            ("openai:gpt-5-mini", "openai:gpt-5"),
        ]
        assert any(isinstance(e, HistoryAdapted) for e in events)
        assert [r.error for s in servers for r in s.journal if r.status == 400] == []
        written = [m.model for m in conversation.messages if m.model]
        assert written == [model.name for model in models] + ["openai:gpt-5"]
        assert conversation.messages[-1].text == "All are sunny."
        assert valid_history(list(conversation.messages)) == []
