"""The clock on the wall jumps, as it does when a machine is told the right time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import palaver
from palaver import ConversationManager, TurnCompleted
from palaver.domain.messages import Role
from palaver.store.sqlite import SqliteStore
from palaver.testing import Pause, Say, ScriptedModel, ToldClock

YEAR_S = 365 * 86_400.0


class Wall(ToldClock):
    """A clock whose time of day is set; what has passed since it was made is untouched."""

    def __init__(self) -> None:
        super().__init__()
        self.set_s = 0.0

    def now(self) -> float:
        return super().now() + self.set_s


@asynccontextmanager
async def opened(
    path: Path, model: ScriptedModel, clock: Wall
) -> AsyncIterator[ConversationManager]:
    store = await SqliteStore.open(path, clock=clock)
    try:
        async with palaver.open(path, store=store, model=model, clock=clock) as manager:
            yield manager
    finally:
        await store.close()


@pytest.mark.parametrize("set_s", [-10 * YEAR_S, -3600.0, 3600.0, 10 * YEAR_S])
async def test_in_the_middle_of_a_turn(tmp_path: Path, set_s: float) -> None:
    """No deadline fires and none is put off, nothing is lost, and what was said stays in the order
    in which it was said, also for who reads it later."""
    clock, go_on = Wall(), asyncio.Event()
    model = ScriptedModel([[Say("One "), Pause(until=go_on), Say("two.")], "Three."])
    async with opened(tmp_path / "a.db", model, clock) as manager:
        conversation = await manager.create()
        session = await conversation.start("first", idempotency_key="k")
        async for event in session.events():
            if isinstance(event, palaver.TextDelta):
                break
        clock.set_s = set_s
        go_on.set()
        events = [event async for event in session.events()]
        assert isinstance(events[-1], TurnCompleted)
        assert (await conversation.start("first", idempotency_key="k")).turn == session.turn
        await conversation.say("second")
        other = await manager.create()
        assert {line.id for line in (await manager.list()).items} == {conversation.id, other.id}
    async with opened(tmp_path / "a.db", ScriptedModel(), clock) as manager:
        again = await manager.open(conversation.id)
        said = [m.text for m in again.messages]
        assert said == ["first", "One two.", "second", "Three."]
        assert again.messages[-1].role is Role.ASSISTANT
        assert again.state.turn is None
