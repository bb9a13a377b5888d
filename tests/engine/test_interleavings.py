"""Whatever the model, the tools, the person and the machine do, and in whatever order."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import palaver
from palaver import ConversationManager, ExecutionContext, StopReason, tool
from palaver.domain.errors import ServerFailure
from palaver.domain.ids import ConversationId
from palaver.domain.state import ConversationState
from palaver.environment import Environment
from palaver.service.held_state import load_state
from palaver.store.blobs import MemoryBlobStore
from palaver.store.memory import MemoryStore
from palaver.testing import (
    Call,
    Cut,
    Fail,
    Line,
    Pause,
    Say,
    ScriptedModel,
    Stop,
    Think,
    ToldClock,
    valid_history,
)

TOOLS = ("look", "wait", "act", "ask", "break", "missing")
steps: st.SearchStrategy[Line] = st.one_of(
    st.builds(Say, st.sampled_from(["Hello ", "there", "👩\u200d👧"])),
    st.builds(Think, st.just("hmm")),
    st.builds(Call, st.sampled_from(TOOLS), st.sampled_from([{}, {"bad": 1}])),
    st.builds(Call, st.sampled_from(TOOLS)),
    st.just(Cut()),
    st.just(Pause(until=asyncio.Event())),
    st.just(Fail(ServerFailure("down", should_retry=False))),
    st.builds(Stop, st.sampled_from([StopReason.MAX_TOKENS, StopReason.REFUSAL])),
)
model_turns = st.lists(st.lists(steps, min_size=1, max_size=5), min_size=1, max_size=4)
interventions = st.sampled_from(["none", "cancel", "crash", "allow", "deny"])
scenes = st.lists(st.tuples(model_turns, interventions, st.integers(0, 14)), min_size=1, max_size=4)


class World:
    """One conversation over a store that survives its managers."""

    def __init__(self) -> None:
        self.store, self.blobs = MemoryStore(), MemoryBlobStore()
        self.effects: list[str] = []
        self.doors: list[Any] = []

    def tools(self) -> list[Any]:
        @tool(effect="read")
        async def look() -> str:
            """Is done at once."""
            return "seen"

        @tool(effect="idempotent")
        async def wait() -> str:
            """Takes some steps of the loop."""
            for _ in range(5):
                await asyncio.sleep(0)
            return "waited"

        @tool(effect="effect", needs_approval=False)
        async def act(context: ExecutionContext) -> str:
            """Changes the world."""
            self.effects.append(context.idempotency_key)
            await asyncio.sleep(0)
            return "done"

        @tool(effect="effect", name="ask")
        async def ask(context: ExecutionContext) -> str:
            """Changes the world when a person allows it."""
            self.effects.append(context.idempotency_key)
            return "done"

        @tool(effect="read", name="break")
        async def broken() -> str:
            """Fails."""
            raise ValueError("broken")

        return [look, wait, act, ask, broken]


async def act_out(script: list[tuple[Any, str, int]]) -> None:
    world = World()
    conversation_id = ConversationId("")
    for number, (turns, intervention, at) in enumerate(script):
        model = ScriptedModel([*turns, "The end."], piece=3)
        door = palaver.open(
            model=model,
            tools=world.tools(),
            store=world.store,
            blobs=world.blobs,
            clock=ToldClock(),
            environment=Environment(home=Path("nowhere"), model="offline"),
        )
        world.doors.append(door)  # never left: a crash closes nothing
        manager = await door.__aenter__()
        conversation_id = conversation_id or (await manager.create()).id
        await one_scene(manager, conversation_id, f"message {number}", intervention, at)
        assert [p for p in model.problems if "scripted" not in p] == []
        state, _ = await load_state(world.store, palaver.Scope(), conversation_id)
        check(state)
    assert len(set(world.effects)) == len(world.effects), "an effect ran twice"


async def one_scene(
    manager: ConversationManager,
    conversation_id: ConversationId,
    text: str,
    intervention: str,
    at: int,
) -> None:
    conversation = await manager.open(conversation_id)
    session = await conversation.start(text, on_busy="interrupt")
    for _ in range(at):
        await asyncio.sleep(0)
    if intervention == "cancel":
        await conversation.cancel()
    elif intervention == "crash":
        for task in list(manager.streams._tasks.values()):
            task.cancel()
            await asyncio.wait([task])
    else:
        settled = asyncio.ensure_future(manager.streams.settled(session.turn))
        for _ in range(2_000):  # steps of the loop: far more than a turn takes that can end
            if settled.done():
                break
            await asyncio.sleep(0)
        opened = conversation.state.turn
        if opened is not None and opened.waiting and intervention in ("allow", "deny"):
            for call in opened.waiting:
                await conversation.decide(call, approve=intervention == "allow")
    for task in list(manager.streams._tasks.values()):  # what still waits is cancelled
        session.cancel()
        await asyncio.wait([task])


def check(state: ConversationState) -> None:
    if state.turn is None:
        assert valid_history(list(state.messages)) == []
    else:
        assert state.turn.held is not None or state.pending_calls or state.messages


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenes)
def test_history_stays_valid_and_effects_run_once(script: list[tuple[Any, str, int]]) -> None:
    """Any interleaving of deltas, results, cancels, decisions and crashes leaves history that every
    provider accepts, and no effect runs twice."""
    asyncio.run(act_out(script))


@pytest.mark.long
@settings(max_examples=5_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenes)
def test_history_stays_valid_in_many_more_lives(script: list[tuple[Any, str, int]]) -> None:
    """The same, for longer."""
    asyncio.run(act_out(script))
