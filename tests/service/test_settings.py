"""What a conversation runs with and is called: changed by several at once, from any source."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from palaver import ActionBlocked, InvalidInput, SetMetadata, Text, tool
from palaver.domain.messages import File
from palaver.domain.state import ConversationState
from palaver.service.actions import MoveHead, SendMessage, StateAction
from palaver.testing import Call, Pause, Say, ScriptedModel
from tests.service.conftest import Opened

LONE = "\udc80"


class City(msgspec.Struct):
    """A shape for replies."""

    name: str


@tool(effect="effect")
async def send(to: str) -> str:
    """Send a letter."""
    return f"sent to {to}"


# Two at once


async def test_changes_of_two_processes_add_up(opened: Opened, tmp_path: Path) -> None:
    """Each changes what it names, on the newest state; nothing of the other's is undone."""
    one = await opened(ScriptedModel(), path=tmp_path / "c.db")
    two = await opened(ScriptedModel(), path=tmp_path / "c.db")
    mine = await one.create(tags=["a"])
    theirs = await two.open(mine.id)
    await mine.set_preferences(temperature=0.5)
    await theirs.set_preferences(language="de")
    await mine.set_title("Title")
    assert await theirs.tag("b") == ("a", "b")
    await mine.archive()
    assert await theirs.tag("a", remove=True) == ("b",)
    await mine.states.refresh()
    assert mine.state == theirs.state
    assert mine.state.preferences.generation.temperature == 0.5
    assert mine.state.preferences.language == "de"
    assert (mine.state.metadata.title, mine.state.metadata.archived) == ("Title", True)


async def test_a_title_of_a_person_is_not_replaced(opened: Opened) -> None:
    """Not by the automatic one either, when it was given while the answer came."""
    gate = asyncio.Event()
    model = ScriptedModel([[Say("a"), Pause(until=gate)]])
    manager = await opened(model)
    conversation = await manager.create()
    session = await conversation.start("hello there")
    await conversation.set_title("Mine")
    gate.set()
    await session.ended()
    await manager.streams.settled(session.turn)
    assert conversation.state.metadata.title == "Mine"


# Text from anywhere


async def test_names_from_terminals_and_file_names_are_stored(
    opened: Opened, tmp_path: Path
) -> None:
    """Half characters become U+FFFD, in whatever a person names or writes."""
    model = ScriptedModel([Call("send", {"to": "bob"}), "ok"])
    manager = await opened(model, path=tmp_path / "c.db", tools=[send])
    made = await manager.create(title=f"t{LONE}", tags=[f"g{LONE}"], system=f"s{LONE}")
    await made.set_title(f"T{LONE}")
    await made.tag(f"h{LONE}")
    await made.set_preferences(system=f"S{LONE}")
    await made.set_metadata(msgspec.structs.replace(made.state.metadata, custom={"k": LONE}))
    attached = await manager.attach(b"text", name=f"f{LONE}.txt")
    assert attached.name == "f\ufffd.txt"
    again = msgspec.structs.replace(attached, name=f"n{LONE}")
    assert isinstance(again, File)
    (call,) = (await made.say([Text("look"), again])).waiting
    session = await made.decide(call.id, approve=False, note=f"no{LONE}")
    await session.ended()
    assert made.state.metadata.title == "T\ufffd"
    assert made.state.metadata.tags == ("g\ufffd", "h\ufffd")
    assert made.state.metadata.custom == {"k": "\ufffd"}
    assert made.state.preferences.system == "S\ufffd"
    assert made.messages[0].content[1] == msgspec.structs.replace(attached, name="n\ufffd")
    assert made.messages[2].tool_results[0].text.endswith("no\ufffd")


async def test_a_file_whose_name_is_no_text(opened: Opened, tmp_path: Path) -> None:
    """A path with bytes that are no UTF-8 can be attached."""
    path = tmp_path / f"brief{LONE}.txt"
    path.write_text("hello")
    manager = await opened(ScriptedModel(["ok"]), path=tmp_path / "c.db")
    conversation = await manager.create()
    await conversation.say([Text("read"), await manager.attach(path)])
    assert conversation.messages[0].content[1].name == "brief\ufffd.txt"


# Middleware


async def test_middleware_sees_a_waiting_message_once(opened: Opened) -> None:
    """However often the message is tried while another turn runs."""
    seen: list[str] = []
    gate = asyncio.Event()

    async def watch(action: StateAction, state: ConversationState) -> StateAction:
        if isinstance(action, SendMessage):
            seen.append(action.message.text)
        return action

    model = ScriptedModel([[Say("a"), Pause(until=gate)], "b"])
    conversation = await (await opened(model, middleware=[watch])).create()
    await conversation.start("one")
    queued = asyncio.create_task(conversation.say("two", on_busy="queue"))
    await asyncio.sleep(0.01)
    gate.set()
    assert (await queued).text == "b"
    assert seen == ["one", "two"]


async def test_slow_middleware_holds_nobody_up(opened: Opened) -> None:
    """While it thinks about one command, another is carried out, and the first is decided on the
    state that this one left."""
    gate = asyncio.Event()

    async def slow(action: StateAction, state: ConversationState) -> StateAction:
        if isinstance(action, SetMetadata):
            await gate.wait()
        return action

    conversation = await (await opened(ScriptedModel(["ok"]), middleware=[slow])).create()
    waiting = asyncio.create_task(conversation.set_metadata(conversation.state.metadata))
    async with asyncio.timeout(60):
        assert (await conversation.say("hi")).text == "ok"
    gate.set()
    await waiting


async def test_middleware_cannot_make_something_else_of_a_message(opened: Opened) -> None:
    """That is refused before anything is stored."""

    async def exchange(action: StateAction, state: ConversationState) -> StateAction:
        return MoveHead(None) if isinstance(action, SendMessage) else action

    conversation = await (await opened(ScriptedModel(), middleware=[exchange])).create()
    with pytest.raises(ActionBlocked):
        await conversation.say("hi")
    assert conversation.state.seq == 1


# Shapes


async def test_a_shape_outlives_an_approval(opened: Opened) -> None:
    """The model is asked for it behind the suspension, too, and the reply is of it."""
    model = ScriptedModel([Call("send", {"to": "bob"}), '{"name": "Oslo"}'])
    conversation = await (await opened(model, tools=[send])).create()
    (call,) = (await conversation.say("write", output=City)).waiting
    reply = await conversation.resume({call.id: True}, output=City)
    assert reply.output == City("Oslo")
    assert [r.output.name for r in model.requests if r.output] == ["City", "City"]


async def test_a_shape_outlives_a_restart(opened: Opened, tmp_path: Path) -> None:
    """It is stored with the turn; without the class the reply is a plain object."""
    async with asyncio.timeout(60):
        one = await opened(
            ScriptedModel([Call("send", {"to": "bob"})]), path=tmp_path / "c.db", tools=[send]
        )
        held = await one.create()
        (call,) = (await held.say("write", output=City)).waiting
        await one.aclose()
        model = ScriptedModel(['{"name": "Oslo"}'])
        manager = await opened(model, path=tmp_path / "c.db", tools=[send])
        reply = await (await manager.open(held.id)).resume({call.id: True})
    assert reply.output == {"name": "Oslo"}
    assert model.requests[0].output is not None


@pytest.mark.parametrize("shape", [City, {"type": "object", "properties": {}}])
async def test_every_way_to_speak_takes_a_shape(opened: Opened, shape: Any) -> None:
    """A class or a schema, in `start`, `stream`, `edit` and `regenerate`."""
    model = ScriptedModel(['{"name": "x"}'] * 4)
    conversation = await (await opened(model)).create()
    await (await conversation.start("a", output=shape)).ended()
    assert [e async for e in conversation.stream("b", output=shape)]
    await (await conversation.edit(conversation.messages[2].id, "c", output=shape)).ended()
    await (await conversation.regenerate(output=shape)).ended()
    assert [r.output is not None for r in model.requests] == [True] * 4
    with pytest.raises(InvalidInput):
        await conversation.start("d", output=int)
