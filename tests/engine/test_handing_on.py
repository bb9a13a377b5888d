"""An answer that breaks and that its own model may not finish is finished by the next one."""

import asyncio
from typing import Any

from palaver import (
    AttemptStarted,
    BlockReset,
    ModelSwitched,
    RetryScheduled,
    ServiceDegraded,
    StreamEvent,
    TextDelta,
    TurnFailed,
    tool,
)
from palaver.domain.errors import ServerFailure
from palaver.domain.messages import Flag
from palaver.providers.base import ModelInfo
from palaver.settings import BreakerSettings, BudgetSettings, RetrySettings, Settings
from palaver.testing import Call, Cut, Fail, Pause, Say, ScriptedModel, Think, valid_history
from tests.engine.conftest import Opened
from tests.engine.test_resume import FIRST, WHOLE, goes_on, text_of

SPENT = Settings(
    retry=RetrySettings(network_base_s=0.0), budget=BudgetSettings(tokens=1.0), titles="off"
)
"""Nothing of a model may be repeated behind its first failure."""


def model(name: str, *turns: Any, **info: Any) -> ScriptedModel:
    return ScriptedModel(turns, info=ModelInfo(name, **{"window": 200_000, **info}))


async def told(opened: Opened, first: ScriptedModel, **options: Any) -> Any:
    """A conversation after one turn, with its events."""
    options.setdefault("settings", SPENT)
    manager = await opened(first, **options)
    conversation = await manager.create()
    events: list[StreamEvent] = [event async for event in conversation.stream("?")]
    return conversation, events


async def test_the_next_model_finishes_the_answer(opened: Opened) -> None:
    """One message, no character twice or missing; it says who ended it and that it was joined."""
    first, second = model("a:1", [Say(FIRST), Cut()]), model("b:2", goes_on, "Next.")
    conversation, events = await told(opened, first, fallbacks=[second])
    assert text_of(events) == conversation.messages[-1].text == WHOLE
    assert conversation.messages[-1].model == "b:2"
    assert conversation.messages[-1].flags == (Flag.JOINED,)
    assert [(e.model, e.continues) for e in events if isinstance(e, AttemptStarted)] == [
        ("a:1", False),
        ("b:2", True),
    ]
    kinds = [type(e) for e in events if isinstance(e, RetryScheduled | ModelSwitched)]
    assert kinds == [RetryScheduled, ModelSwitched]
    assert [e.level for e in events if isinstance(e, ServiceDegraded)] == ["other_model"]
    assert len(conversation.messages) == 2


async def test_an_open_breaker_hands_the_answer_on(opened: Opened) -> None:
    """Others have found the model dead while this answer came: it is not asked for the rest."""
    settings = Settings(
        retry=RetrySettings(network_attempts=1, network_base_s=0.0),
        breaker=BreakerSettings(failures=1),
        titles="off",
    )
    gate, dead = asyncio.Event(), Fail(ServerFailure("down"))
    first = model("a:1", [Say(FIRST), Pause(until=gate), Cut()], dead)
    manager = await opened(first, fallbacks=[model("b:2", "Other.", goes_on)], settings=settings)
    one, other = await manager.create(), await manager.create()
    session = await one.start("?")
    async for event in session.events():
        if isinstance(event, TextDelta):
            break
    assert (await other.say("?")).message.model == "b:2"
    gate.set()
    events = [event async for event in session.events()]
    assert text_of(events) == one.messages[-1].text == WHOLE
    assert (one.messages[-1].model, len(first.requests)) == ("b:2", 2)


async def test_calls_and_thoughts_are_made_anew_by_the_other(opened: Opened) -> None:
    """Only text stands; a call that ran early is dropped, and history stays valid."""
    ran: list[str] = []

    @tool(effect="read")
    async def look(at: str) -> str:
        """Look at something."""
        ran.append(at)
        return f"seen {at}"

    broken = [Think("Hm."), Say("I look. "), Call("look", {"at": "sea"}), Cut()]
    first = model("a:1", broken)
    second = model("b:2", [Say("I look. "), Call("look", {"at": "sky"})], "Blue.")
    conversation, events = await told(opened, first, fallbacks=[second], tools=[look])
    assert [e.kind for e in events if isinstance(e, BlockReset)] == ["tool_call"]
    assert ran[-1] == "sky"
    assert conversation.messages[-1].text == "Blue."
    assert not valid_history(conversation.messages)


async def test_without_another_model_what_came_is_kept(opened: Opened) -> None:
    """As before: the turn fails, and the text stays as a partial message."""
    conversation, events = await told(opened, model("a:1", [Say(FIRST), Cut()]))
    assert isinstance(events[-1], TurnFailed)
    assert conversation.messages[-1].text == FIRST
    assert conversation.messages[-1].flags == (Flag.PARTIAL,)


async def test_one_that_fails_too_leaves_what_came(opened: Opened) -> None:
    """The text stands, whoever is asked for its rest; nothing answers in their place."""
    first = model("a:1", [Say(FIRST), Cut()])
    second = model("b:2", Fail(ServerFailure("down", should_retry=False)))
    conversation, events = await told(opened, first, fallbacks=[second])
    assert isinstance(events[-1], TurnFailed)
    shown = "".join(e.text for e in events if isinstance(e, TextDelta))
    assert shown == conversation.messages[-1].text == FIRST
