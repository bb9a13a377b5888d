"""Less than the whole service, over the wire: strict servers accept what stood in, afterwards."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

import palaver
from palaver import ServiceDegraded, ServiceRestored
from palaver.domain.messages import Flag
from palaver.domain.stream import AttemptStarted, StreamEvent
from palaver.settings import (
    BreakerSettings,
    BudgetSettings,
    Clocks,
    OutboxSettings,
    RetrySettings,
    Settings,
)
from palaver.testing import Call, Cut, Say, Think, valid_history
from palaver.testing.provider_server import Answer, ProviderServer
from tests.contract.test_wires import WIRES, model_of

OFFLINE = Settings(
    retry=RetrySettings(network_attempts=1, network_base_s=0.0),
    breaker=BreakerSettings(failures=1, open_s=0.0),
    outbox=OutboxSettings(on_unreachable="offline"),
    titles="off",
)
"""A failed call opens the breaker, and the next one is its probe."""
WHOLE = "The quick brown fox jumps over the lazy dog."


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


def levels(events: list[StreamEvent]) -> list[str]:
    return [
        event.level if isinstance(event, ServiceDegraded) else "full"
        for event in events
        if isinstance(event, ServiceDegraded | ServiceRestored)
    ]


@pytest.mark.parametrize("wire", WIRES)
async def test_a_provider_goes_away_and_comes_back(wire: str, stack: AsyncExitStack) -> None:
    """An earlier answer, then the offline responder with a tool, then the model again, which takes
    the history with all of it."""
    server = await stack.enter_async_context(ProviderServer())
    model = model_of(wire, server, Clocks())
    stack.push_async_callback(model.aclose)
    manager = await stack.enter_async_context(
        palaver.open(":memory:", model=model, builtin_tools=True, settings=OFFLINE)
    )
    server.script([["Paris."], Answer(503), Answer(503), [Think("So."), Say("I am back.")]])
    await (await manager.create()).say("What is the capital of France?")
    conversation = await manager.create()
    said = ("What is the capital of France?", "What is 17*23?", "Are you there?")
    turns = [[e async for e in conversation.stream(text)] for text in said]
    assert [levels(turn) for turn in turns] == [["cached_answers"], ["basic_chat"], ["full"]]
    asked = [[e.model for e in turn if isinstance(e, AttemptStarted)] for turn in turns]
    name = model.name
    assert asked == [[name, "cache"], [name, "offline", "offline"], [name]]
    flags = [flag for message in conversation.messages for flag in message.flags]
    assert flags == [Flag.CACHED, Flag.OFFLINE, Flag.OFFLINE]
    assert "391" in conversation.messages[5].text
    assert conversation.messages[-1].text == "I am back."
    assert [entry.error for entry in server.journal if entry.status == 400] == []
    assert not valid_history(list(conversation.messages))


@pytest.mark.parametrize("other", ["chat", "responses"])
async def test_another_provider_finishes_the_answer(other: str, stack: AsyncExitStack) -> None:
    """Without budget for its own model a broken answer goes on with the next one, exactly."""
    first, second = [await stack.enter_async_context(ProviderServer(piece=6)) for _ in "ab"]
    models = [model_of("messages", first, Clocks()), model_of(other, second, Clocks())]
    for model in models:
        stack.push_async_callback(model.aclose)
    settings = Settings(
        retry=RetrySettings(network_base_s=0.0), budget=BudgetSettings(tokens=1.0), titles="off"
    )
    manager = await stack.enter_async_context(
        palaver.open(":memory:", model=models[0], fallbacks=models[1:], settings=settings)
    )
    half = WHOLE[:22]
    first.script([[Think("hm"), Say(half), Call("look", {}), Cut()]])
    second.script([[Say(WHOLE)]])
    conversation = await manager.create()
    reply = await conversation.say("?")
    assert reply.text == conversation.messages[-1].text == WHOLE
    assert conversation.messages[-1].model == models[1].name
    assert Flag.JOINED in conversation.messages[-1].flags
    assert [e.error for s in (first, second) for e in s.journal if e.status == 400] == []
