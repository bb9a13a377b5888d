"""Conversations in memory: few of the idle ones, all of those in use, and nobody notices."""

import asyncio
import gc
from pathlib import Path
from typing import Any

from palaver import Conversation, Scope, Settings, StateChange, tool
from palaver.domain.events import ConversationCreated, Event, MessageAdded, MetadataChanged
from palaver.domain.history import History
from palaver.domain.ids import ConversationId, MessageId, TurnId
from palaver.domain.messages import Message, Role, Text
from palaver.domain.values import SessionMetadata, TurnOutcome, UserPreferences
from palaver.service.manager import ConversationManager
from palaver.system import SystemClock, new_id
from palaver.testing import Call, Pause, Say, ScriptedModel
from tests.service.conftest import Opened


@tool(effect="effect")
async def send(to: str) -> str:
    """Send a letter."""
    return f"sent to {to}"


def limits(number: int, size: int = 1 << 30) -> Settings:
    return Settings(open_conversations=number, open_bytes=size)


async def stored(manager: ConversationManager, number: int, text: str) -> list[ConversationId]:
    """So many conversations of two messages, of which none is in memory."""
    ids = [ConversationId(new_id("conv")) for _ in range(number)]
    said = [
        MessageAdded(Message(Role.USER, (Text(f"{text} {i}"),), MessageId(f"m{i}")))
        for i in range(2)
    ]
    facts: list[Event] = [ConversationCreated(UserPreferences(), SessionMetadata()), *said]
    await asyncio.gather(*(manager.store.create(Scope(), id, facts) for id in ids))
    return ids


def histories() -> int:
    gc.collect()
    return sum(type(found) is History for found in gc.get_objects())


def awake(conversations: list[Conversation]) -> list[int]:
    return [i for i, c in enumerate(conversations) if not c.states.is_resting]


async def test_a_thousand_conversations_with_a_limit_of_fifty(
    opened: Opened, tmp_path: Path
) -> None:
    """Held by somebody or not, no more than fifty histories are in memory, and each can be read."""
    manager = await opened(ScriptedModel(), path=tmp_path / "c.db", settings=limits(50))
    ids = await stored(manager, 1_000, "hello")
    before = histories()
    conversations = [await manager.open(id) for id in ids]
    assert awake(conversations) == list(range(950, 1_000))
    assert histories() - before <= 50 + 1
    assert [m.text for m in conversations[0].messages] == ["hello 0", "hello 1"]
    assert len(awake(conversations)) == 50


async def test_a_handle_goes_on_after_its_state_was_let_go_of(
    opened: Opened, tmp_path: Path
) -> None:
    """Who holds it talks on with everything that was said, and shares it with who opens it anew."""
    model = ScriptedModel(["A", "X", "B"])
    manager = await opened(model, path=tmp_path / "c.db", settings=limits(1))
    mine = await manager.create()
    await manager.streams.settled((await mine.say("a")).turn)
    other = await manager.create()
    await manager.streams.settled((await other.say("x")).turn)
    assert awake([mine, other]) == [1]
    reply = await mine.say("b")
    assert reply.text == "B"
    assert [m.text for m in model.requests[-1].messages] == ["a", "A", "b"]
    assert awake([mine, other]) == [0]
    assert (await manager.open(other.id)).states is other.states


async def test_a_running_turn_keeps_its_conversation(opened: Opened, tmp_path: Path) -> None:
    """However many others are opened meanwhile."""
    gate = asyncio.Event()
    model = ScriptedModel([[Say("Half. "), Pause(until=gate), Say("Whole.")]])
    manager = await opened(model, path=tmp_path / "c.db", settings=limits(2))
    mine = await manager.create()
    session = await mine.start("go")
    others = [await manager.open(id) for id in await stored(manager, 5, "hello")]
    assert not mine.states.is_resting
    assert len(awake(others)) == 1
    gate.set()
    await session.ended()
    assert mine.messages[-1].text == "Half. Whole."


def call_turn(conversation: Conversation) -> TurnId:
    assert conversation.state.turn is not None
    return conversation.state.turn.id


async def test_a_held_turn_may_rest_and_is_decided(opened: Opened, tmp_path: Path) -> None:
    """A person who takes days to decide costs no memory."""
    model = ScriptedModel([Call("send", {"to": "bob"}), "Sent."])
    manager = await opened(model, path=tmp_path / "c.db", settings=limits(1), tools=[send])
    mine = await manager.create()
    (call,) = (await mine.say("write")).waiting
    await manager.streams.settled(call_turn(mine))
    await manager.create()
    assert mine.states.is_resting
    reply = await mine.resume({call.id: True})
    assert (reply.text, reply.outcome) == ("Sent.", TurnOutcome.COMPLETED)


async def test_who_watches_a_conversation_keeps_it(opened: Opened, tmp_path: Path) -> None:
    """Its subscriber is told of later changes, whoever makes them through whichever handle."""
    manager = await opened(ScriptedModel(), path=tmp_path / "c.db", settings=limits(1))
    told: list[StateChange] = []
    watched = (await manager.create()).id
    (await manager.open(watched)).states.subscribe(told.append)
    for id in await stored(manager, 3, "hello"):
        await manager.open(id)
    gc.collect()
    await (await manager.open(watched)).set_title("new")
    assert [change.after.metadata.title for change in told] == ["new"]


async def test_what_others_wrote_while_it_rested_is_told(opened: Opened, tmp_path: Path) -> None:
    """Subscribers of all conversations hear of each fact once."""
    model: Any = ScriptedModel()
    one = await opened(model, path=tmp_path / "c.db", settings=limits(1), clock=SystemClock())
    two = await opened(model, path=tmp_path / "c.db", clock=SystemClock())
    told: list[StateChange] = []
    one.subscribe(told.append)
    mine = await one.create()
    await mine.set_title("first")
    await one.create()
    assert mine.states.is_resting
    await (await two.open(mine.id)).set_title("theirs")
    await mine.set_title("last")
    facts = [fact for change in told for fact in change.facts]
    titles = [fact.metadata.title for fact in facts if isinstance(fact, MetadataChanged)]
    assert titles == ["first", "theirs", "last"]


async def test_bytes_are_limited_as_well(opened: Opened, tmp_path: Path) -> None:
    """Few long conversations are as much as many short ones."""
    settings = limits(100, 40_000)
    manager = await opened(ScriptedModel(), path=tmp_path / "c.db", settings=settings)
    long = [await manager.open(id) for id in await stored(manager, 6, "x" * 6_000)]
    assert awake(long) == [3, 4, 5]


async def test_deleted_is_gone_also_while_it_rests(opened: Opened, tmp_path: Path) -> None:
    """A conversation that rests can be deleted, and its room is free again."""
    manager = await opened(ScriptedModel(), path=tmp_path / "c.db", settings=limits(1))
    mine, other = await manager.create(), await manager.create()
    assert awake([mine, other]) == [1]
    await manager.delete(mine.id)
    await manager.delete(other.id)
    assert (await manager.list()).items == ()


async def test_in_memory_a_held_conversation_stays(opened: Opened) -> None:
    """Where the store is memory itself there is nothing to be won: only what nobody holds goes."""
    manager = await opened(ScriptedModel(), settings=limits(2))
    conversations = [await manager.create() for _ in range(5)]
    assert awake(conversations) == [0, 1, 2, 3, 4]
