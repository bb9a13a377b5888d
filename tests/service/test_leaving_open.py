"""A program that ends may leave its turns to the next one, as a server does when it is replaced."""

import asyncio
from pathlib import Path

import palaver
from palaver import Settings, TextDelta, TurnLimits
from palaver.domain.stream import TERMINAL, StreamEvent
from palaver.testing import Pause, Say, ScriptedModel, valid_history

RESUME = Settings(turn=TurnLimits(on_restart="resume"))


async def test_what_runs_is_left_with_all_that_it_said(tmp_path: Path) -> None:
    """Nothing of the answer is lost, readers are told of no end, and the next program goes on."""
    first = ScriptedModel([[Say("The first half, "), Pause(until=asyncio.Event()), Say("no.")]])
    shown: list[StreamEvent] = []
    async with palaver.open(tmp_path / "a.db", model=first, settings=RESUME) as manager:
        conversation = await manager.create()
        session = await conversation.start("?")
        async for event in session.events():
            shown.append(event)
            if "".join(e.text for e in shown if isinstance(e, TextDelta)) == "The first half, ":
                break
        await manager.aclose(leave=True)
        assert not session.is_ended
    assert not any(isinstance(event, TERMINAL) for event in shown)

    second = ScriptedModel([[Say("and the second.")]])
    async with palaver.open(tmp_path / "a.db", model=second, settings=RESUME) as manager:
        assert manager.recovered[0].runs_on
        again = await manager.open(conversation.id)
        events = [numbered.event async for numbered in again.follow(session.turn)]
        assert events[: len(shown)] == shown
        assert isinstance(events[-1], TERMINAL)
        assert again.messages[-1].text.endswith("and the second.")
        assert valid_history(list(again.messages)) == []
