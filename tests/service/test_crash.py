import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import palaver
from palaver import Conversation, StopReason, TurnInterrupted
from palaver.domain.messages import Flag
from palaver.testing import ScriptedModel, valid_history
from tests.service.conftest import Opened

ROOT = Path(__file__).parents[2]


async def killed(path: Path, stage: str) -> None:
    """Run the crashing program to a stage, then kill it."""
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.service.crashing",
        str(path),
        stage,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert program.stdout is not None
    async with asyncio.timeout(60):
        assert await program.stdout.readline() == b"ready\n"
    program.send_signal(signal.SIGKILL)
    await program.wait()


async def found_again(opened: Opened, path: Path) -> Conversation:
    manager = await opened(ScriptedModel(["Let us go on."]), path=path)
    conversation: Conversation = await manager.find("last")
    assert conversation.state.turn is None
    assert valid_history(list(conversation.messages)) == []
    assert (await conversation.say("and?")).text == "Let us go on."
    return conversation


async def test_a_killed_program_loses_no_accepted_message(opened: Opened, tmp_path: Path) -> None:
    """What was accepted is there, its turn is ended, the conversation goes on."""
    await killed(tmp_path / "chat.db", "accepted")
    conversation = await found_again(opened, tmp_path / "chat.db")
    assert conversation.messages[0].text == "go on"


async def test_a_killed_program_keeps_what_it_had_said(opened: Opened, tmp_path: Path) -> None:
    """What readers have seen is kept as a partial message; a reader gets the rest of the log."""
    await killed(tmp_path / "chat.db", "speaking")
    conversation = await found_again(opened, tmp_path / "chat.db")
    partial = conversation.messages[1]
    assert (partial.text, partial.stop) == ("Half of an answer", StopReason.ABORTED)
    assert partial.flags == (Flag.PARTIAL,)


async def test_the_reader_of_a_killed_turn_gets_its_end(tmp_path: Path) -> None:
    """Numbers go on where they were, and the last event says what happened."""
    path = tmp_path / "chat.db"
    await killed(path, "speaking")
    async with palaver.open(path, model=ScriptedModel()) as manager:
        conversation = await manager.find("last")
        (turn,) = {f.event.turn for f in await facts(manager, conversation)}
        events = [n async for n in conversation.follow(turn)]
    assert [n.number for n in events] == list(range(1, len(events) + 1))
    assert isinstance(events[-1].event, TurnInterrupted)


async def facts(manager: palaver.ConversationManager, conversation: Conversation) -> list[Any]:
    read = await manager.store.read(palaver.Scope(), conversation.id)
    return [f for f in read if hasattr(f.event, "turn")]


async def test_an_effect_under_way_is_never_run_again(opened: Opened, tmp_path: Path) -> None:
    """Its outcome is unknown, is said to be unknown, and the next turn does not repeat it."""
    await killed(tmp_path / "chat.db", "paying")
    conversation = await found_again(opened, tmp_path / "chat.db")
    (result,) = conversation.messages[2].tool_results
    assert result.unknown
    assert "may or may not" in result.text


async def test_two_processes_on_one_file(opened: Opened, tmp_path: Path) -> None:
    """Two managers share a conversation: each sees the other's turns, and both are answered."""
    path = tmp_path / "chat.db"
    one = await opened(ScriptedModel(["from one", "again one"]), path=path)
    two = await opened(ScriptedModel(["from two"]), path=path)
    mine = await one.create()
    await mine.say("first")
    theirs = await two.open(mine.id)
    await theirs.say("second")
    await mine.say("third")
    said = ["first", "from one", "second", "from two", "third", "again one"]
    assert [m.text for m in mine.messages] == said
    assert (await theirs.states.refresh()) == mine.state
