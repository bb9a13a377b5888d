import asyncio
from pathlib import Path

import pytest

import palaver
from palaver import ConversationBusy, InvalidInput, NotFound, Settings, tool
from palaver.domain.messages import Flag
from palaver.domain.values import TurnOutcome
from palaver.testing import Call, Pause, ScriptedModel, valid_history
from tests.service.conftest import Opened


@tool(effect="read")
async def look() -> str:
    """Look."""
    return "a secret result"


async def texts(conversation: palaver.Conversation) -> list[str]:
    return [m.text for m in conversation.messages if m.text]


async def test_undo_and_redo(opened: Opened) -> None:
    """Undo goes back before the last user message, redo takes it back; nothing is lost."""
    conversation = await (await opened(ScriptedModel(["A", "B"]))).create()
    await conversation.say("a")
    await conversation.say("b")
    lived = conversation.state
    assert (await conversation.undo()).text == "b"
    assert await texts(conversation) == ["a", "A"]
    await conversation.undo()
    assert await texts(conversation) == []
    with pytest.raises(InvalidInput):
        await conversation.undo()
    await conversation.redo()
    await conversation.redo()
    assert await texts(conversation) == ["a", "A", "b", "B"]
    assert conversation.state.content_hash == lived.content_hash
    with pytest.raises(InvalidInput):
        await conversation.redo()


async def test_talking_on_after_undo_begins_a_branch(opened: Opened) -> None:
    """What was undone stays as a branch that can be switched to; redo ends with new words."""
    conversation = await (await opened(ScriptedModel(["A", "B", "C"]))).create()
    await conversation.say("a")
    await conversation.say("b")
    await conversation.undo()
    await conversation.say("c")
    active, other = conversation.branches()
    assert (active.is_active, active.preview, other.preview) == (True, "c", "b")
    with pytest.raises(InvalidInput):
        await conversation.redo()
    await conversation.switch(other.head)
    assert await texts(conversation) == ["a", "A", "b", "B"]


async def test_editing_an_earlier_message(opened: Opened) -> None:
    """The edit is a branch beside the message, and is answered."""
    model = ScriptedModel(["A", "B", "A2"])
    conversation = await (await opened(model)).create()
    await conversation.say("a")
    await conversation.say("b")
    session = await conversation.edit(conversation.messages[0].id, "a2")
    await session.ended()
    assert await texts(conversation) == ["a2", "A2"]
    assert [m.text for m in model.requests[2].messages] == ["a2"]
    assert len(conversation.branches()) == 2
    with pytest.raises(InvalidInput):
        await conversation.edit(conversation.messages[1].id, "x")


async def test_regenerating_an_answer(opened: Opened) -> None:
    """The same question gets another answer; both are kept, the tool runs anew."""
    model = ScriptedModel([Call("look"), "one", Call("look"), "two"])
    conversation = await (await opened(model, tools=[look])).create()
    await conversation.say("a")
    session = await conversation.regenerate()
    await session.ended()
    assert await texts(conversation) == ["a", "two"]
    one, two = conversation.branches()
    assert (one.is_active, two.is_active) == (True, False)
    await conversation.switch(two.head)
    assert await texts(conversation) == ["a", "one"]
    assert valid_history(list(conversation.messages)) == []


async def test_nothing_moves_while_a_turn_is_open(opened: Opened) -> None:
    """A running turn keeps its ground."""
    gate = asyncio.Event()
    conversation = await (await opened(ScriptedModel([[Pause(until=gate), "A"]]))).create()
    session = await conversation.start("a")
    for move in (conversation.undo, conversation.regenerate):
        with pytest.raises(ConversationBusy):
            await move()
    gate.set()
    await session.ended()


async def test_branches_survive_a_restart(opened: Opened, tmp_path: Path) -> None:
    """With snapshots in the middle or without, the tree is what it was."""
    path = tmp_path / "chat.db"
    for every in (3, 200):
        model = ScriptedModel(["x"] * 9)
        async with palaver.open(path, model=model, settings=Settings(snapshot_every=every)) as m:
            conversation = await m.create()
            for n in range(4):
                await conversation.say(str(n))
            await conversation.undo()
            await conversation.undo()
            await conversation.say("other")
            lived = conversation.state
        again = await (await opened(ScriptedModel(["y"]), path=path)).open(conversation.id)
        assert again.state == lived
        assert (await again.say("on")).text == "y"


async def test_time_travel(opened: Opened) -> None:
    """The conversation as it was at any fact, and what changed since."""
    conversation = await (await opened(ScriptedModel(["A", "B"]))).create()
    await conversation.say("a")
    then = conversation.state.seq
    await conversation.say("b")
    assert [m.text for m in (await conversation.at(then)).messages] == ["a", "A"]
    changed = await conversation.diff(then, conversation.state.seq)
    assert [m.text for m in changed.added] == ["b", "B"]
    assert changed.removed == ()
    assert len((await conversation.at(0)).messages) == 0
    with pytest.raises(InvalidInput):
        await conversation.at(10_000)


async def test_a_fork_shares_and_parts(opened: Opened, tmp_path: Path) -> None:
    """A fork has the history up to a message; both go on apart; the origin may be deleted."""
    manager = await opened(ScriptedModel(["A", "B", "C", "D"]), path=tmp_path / "chat.db")
    conversation = await manager.create()
    await conversation.say("a")
    await conversation.say("b")
    fork = await manager.fork(conversation.id, at=conversation.messages[1].id)
    assert await texts(fork) == ["a", "A"]
    await fork.say("c")
    await conversation.say("d")
    assert await texts(fork) == ["a", "A", "c", "C"]
    assert await texts(conversation) == ["a", "A", "b", "B", "d", "D"]
    await manager.delete(conversation.id)
    again = await manager.open(fork.id)
    assert await texts(again) == ["a", "A", "c", "C"]
    with pytest.raises(NotFound):
        await manager.fork(fork.id, at="msg_nowhere")


async def test_redaction_leaves_nothing(opened: Opened, tmp_path: Path) -> None:
    """One message is erased everywhere: state, log, search, file; history stays valid."""
    path = tmp_path / "chat.db"
    model = ScriptedModel([Call("look"), "The word was xylophone.", "Go on."])
    async with palaver.open(path, model=model, tools=[look]) as manager:
        conversation = await manager.create()
        await conversation.say("say zanzibar")
        question, _, results, answer = conversation.messages
        for message in (question, results, answer):
            receipt = await conversation.redact(message.id, note="asked for")
            assert receipt.facts
        assert conversation.messages[0].flags == (Flag.REDACTED,)
        assert valid_history(list(conversation.messages)) == []
        for word in ("zanzibar", "xylophone", "secret"):
            assert await manager.search(word) == ()
        reply = await conversation.say("and?")
        assert reply.outcome is TurnOutcome.COMPLETED
    lived = conversation.state
    left = b"".join(p.read_bytes() for p in tmp_path.iterdir() if p.is_file())
    for secret in (b"zanzibar", b"xylophone", b"a secret result"):
        assert secret not in left
    again = await (await opened(ScriptedModel(), path=path)).open(conversation.id)
    assert again.state == lived


async def test_pins_titles_tags_and_the_archive(opened: Opened) -> None:
    """What people mark, name and put away."""
    model = ScriptedModel(["A", "A talk about tea"])
    manager = await opened(model)
    conversation = await manager.create()
    reply = await conversation.say("What is *oolong*? And why?")
    await manager.streams.settled(reply.turn)
    assert conversation.state.metadata.title == "What is *oolong*?"
    assert await conversation.name("model") == "A talk about tea"
    await conversation.pin(conversation.messages[0].id)
    assert conversation.state.pins == (conversation.messages[0].id,)
    await conversation.pin(conversation.messages[0].id, pinned=False)
    assert conversation.state.pins == ()
    assert await conversation.tag("tea", "china", "tea") == ("tea", "china")
    assert await conversation.tag("china", remove=True) == ("tea",)
    await conversation.archive()
    assert (await manager.list()).items == ()
    assert len((await manager.list(archived=True)).items) == 1


async def test_retention(opened: Opened) -> None:
    """Old conversations go, pinned ones stay, and a dry run deletes nothing."""
    manager = await opened(ScriptedModel(["A", "B", "C"]))
    old, kept = await manager.create(), await manager.create()
    await old.say("a")
    await kept.say("b")
    await kept.pin(kept.messages[0].id)
    assert await manager.purge(older_than_s=-1, dry_run=True) == (old.id,)
    assert await manager.purge(older_than_s=-1) == (old.id,)
    with pytest.raises(NotFound):
        await manager.open(old.id)
    assert (await manager.open(kept.id)).state.pins
