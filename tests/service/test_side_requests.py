"""Titles and summaries ask through the same breakers, and on the same budget, as turns do."""

from typing import Any

import pytest

from palaver import TurnCompleted
from palaver.domain.errors import ServerFailure
from palaver.domain.events import SideRequestMade
from palaver.domain.values import Scope
from palaver.providers.base import ModelInfo, ModelRequest
from palaver.settings import (
    BreakerSettings,
    BudgetSettings,
    CompactionSettings,
    RetrySettings,
    Settings,
)
from palaver.testing import Fail, ScriptedModel, ToldClock
from tests.service.conftest import Opened

DOWN = Fail(ServerFailure("down"))
RETRY = RetrySettings(network_attempts=1)
LONG = "The lamp number 4711 in room B12 costs 30 euros. " * 40
WINDOW = CompactionSettings(window=4_000, minimum=500, summaries="inline", automatic=False)


def model(*turns: Any, name: str = "a:1") -> ScriptedModel:
    return ScriptedModel(turns, info=ModelInfo(name, window=200_000))


async def side_requests(manager: Any, conversation: Any) -> list[SideRequestMade]:
    facts = await manager.store.read(Scope(), conversation.id, kinds=["side_request.made"])
    return [fact.event for fact in facts]


async def test_a_title_that_fails_is_extracted_and_counted(opened: Opened) -> None:
    """The breaker hears of it; the next one is not even asked for."""
    chosen = model("Answer.", DOWN)
    settings = Settings(titles="model", retry=RETRY, breaker=BreakerSettings(failures=1))
    manager = await opened(chosen, settings=settings)
    conversation = await manager.create()
    events = [event async for event in conversation.stream("What grows here?")]
    assert isinstance(events[-1], TurnCompleted)
    await manager.streams.drain(60.0)
    assert conversation.state.metadata.title == "What grows here?"
    (reading,) = manager.recovery.readings()
    assert (reading.state, reading.last_error) == ("open", "provider_failed")
    assert await conversation.name("model") == "What grows here?"
    assert len(chosen.requests) == 2


async def test_a_title_is_never_the_probe(opened: Opened, clock: ToldClock) -> None:
    """A person's question finds out whether the model is back; a title waits for that."""
    chosen = model("Answer.", DOWN, "Back.", "Named")
    settings = Settings(titles="off", retry=RETRY, breaker=BreakerSettings(failures=1))
    manager = await opened(chosen, settings=settings)
    conversation = await manager.create()
    await conversation.say("What grows here?")
    with pytest.raises(ServerFailure):
        await conversation.say("And there?")
    await clock.advance(70)
    assert await conversation.name("model") == "What grows here?"
    assert len(chosen.requests) == 2
    await conversation.say("Are you back?")
    assert await conversation.name("model") == "Named"


async def test_a_summary_is_not_asked_of_who_is_left_alone(opened: Opened) -> None:
    """The next tier makes the window smaller, at once and for nothing."""
    writer = model(DOWN, name="b:2")
    context = CompactionSettings(
        window=4_000, minimum=500, summaries="inline", automatic=False, summary_model="b:2"
    )
    settings = Settings(
        titles="off", retry=RETRY, breaker=BreakerSettings(failures=1), context=context
    )
    talker = model(*[LONG] * 8)
    manager = await opened(talker, fallbacks=[writer], settings=settings)
    conversation = await manager.create()
    for number in range(4):
        await conversation.say(f"Question {number}?")
    first = await conversation.compact()
    assert len(writer.requests) == 1
    (made,) = await side_requests(manager, conversation)
    assert made.error is not None
    assert made.error.code == "provider_failed"
    for number in range(4, 8):
        await conversation.say(f"Question {number}?")
    second = await conversation.compact()
    assert len(writer.requests) == 1
    assert len(await side_requests(manager, conversation)) == 1
    for report in (first, second):
        assert not report.compaction.model
        assert report.tokens_after < report.tokens_before


async def test_a_summary_repeats_nothing_without_budget(opened: Opened) -> None:
    """What a turn has used up is not there for a summary."""
    asked: list[ModelRequest] = []

    def answer(request: ModelRequest) -> Any:
        if request.messages[-1].text.startswith("Question"):
            return LONG
        asked.append(request)
        return DOWN

    talker = model()
    talker.when("", answer)
    settings = Settings(titles="off", budget=BudgetSettings(tokens=1.0), context=WINDOW)
    manager = await opened(talker, settings=settings)
    conversation = await manager.create()
    for number in range(4):
        await conversation.say(f"Question {number}?")
    await conversation.compact()
    assert len(asked) == 1
