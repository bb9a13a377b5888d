import os
from pathlib import Path

import pytest

import palaver
from palaver import ConversationManager, InvalidInput, tool
from palaver.service.transfer import ExportFormat, ImportReport
from palaver.testing import Call, Pause, Say, ScriptedModel, valid_history
from tests.service.conftest import Opened

DATA = Path(
    os.environ.get("PALAVER_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data")
)
FILES = sorted(
    path
    for folder in ("coding_agents", "coding_agents/sessions", "chats", "service_dialogues")
    for path in (DATA / folder).glob("*.gz")
)
needs_data = pytest.mark.skipif(not FILES, reason="the collected conversations are not here")


DOCUMENTS: tuple[ExportFormat, ...] = ("markdown", "html", "openai")


@tool(effect="read")
async def look() -> str:
    """Look."""
    return "a result"


async def lived(opened: Opened) -> tuple[ConversationManager, palaver.Conversation]:
    """A conversation with branches, tools, a picture and a title."""
    model = ScriptedModel([[Say("Look."), Call("look")], "Done.", "Other.", "More."])
    manager = await opened(model, tools=[look])
    conversation = await manager.create(system="Be brief.", tags=["t"])
    picture = await manager.attach(bytes.fromhex("89504e470d0a1a0a") + bytes(40), name="dot.png")
    await conversation.say([palaver.Text("What is <this>?"), picture])
    await conversation.say("again")
    await conversation.undo()
    reply = await conversation.say("differently")
    await manager.streams.settled(reply.turn)
    return manager, conversation


async def test_a_lossless_export_comes_back_whole(opened: Opened) -> None:
    """Every branch, setting, pin and attachment, and the same hash."""
    manager, conversation = await lived(opened)
    await conversation.pin(conversation.messages[0].id)
    data = await manager.export(conversation.id, "jsonl")
    elsewhere = await opened(ScriptedModel(["On."]))
    (report,) = await elsewhere.import_conversations(data)
    again = await elsewhere.open(report.conversation)
    assert again.state.content_hash == conversation.state.content_hash == report.content_hash
    assert again.state.aside == conversation.state.aside
    assert again.state.pins == conversation.state.pins
    assert again.state.preferences == conversation.state.preferences
    assert again.state.metadata == conversation.state.metadata
    blob = again.messages[0].content[1].blob
    assert (await elsewhere.read_blob(blob)).startswith(b"\x89PNG")
    assert (await again.say("go on")).text == "On."


@pytest.mark.parametrize("format", DOCUMENTS)
async def test_documents_for_people_and_programs(opened: Opened, format: ExportFormat) -> None:
    """What was said is in each of them."""
    manager, conversation = await lived(opened)
    text = (await manager.export(conversation.id, format)).decode()
    for said in ("differently", "More.", "look", "a result"):
        assert said in text


async def test_the_openai_format_comes_back_with_its_meaning(opened: Opened) -> None:
    """Roles, words, calls and results survive a format that has no place for more."""
    manager, conversation = await lived(opened)
    data = await manager.export(conversation.id, "openai")
    (report,) = await manager.import_conversations(data)
    again = await manager.open(report.conversation)
    assert [m.role for m in again.messages] == [m.role for m in conversation.messages]
    assert [m.text for m in again.messages] == [m.text for m in conversation.messages]
    assert valid_history(list(again.messages)) == []


async def test_an_export_in_mid_turn_is_ended_when_it_comes_in(opened: Opened) -> None:
    """An open turn of another place can never end here; its history is closed."""
    manager = await opened(ScriptedModel([[Say("half"), Pause(seconds=1e9)]]))
    conversation = await manager.create()
    await conversation.start("?")
    data = await manager.export(conversation.id, "jsonl")
    (report,) = await manager.import_conversations(data)
    assert (await manager.open(report.conversation)).state.turn is None


@pytest.mark.parametrize("data", [b"", b"\x00\x01\x02", b"hello", b"{}", b"[1, 2]"])
async def test_what_nothing_can_read_is_refused(opened: Opened, data: bytes) -> None:
    """With a reason, and nothing is stored."""
    manager = await opened(ScriptedModel())
    with pytest.raises(InvalidInput):
        await manager.import_conversations(data, name="x.json")
    assert (await manager.list()).items == ()


async def there_and_back(manager: ConversationManager, path: Path, most: int) -> list[ImportReport]:
    """Import a file twice, and everything of it out and in again: one hash."""
    data = path.read_bytes()
    first = await manager.import_conversations(data, name=path.name)
    for report in first[:most]:
        conversation = await manager.open(report.conversation)
        assert valid_history(list(conversation.messages)) == []
        exported = await manager.export(report.conversation, "jsonl")
        (back,) = await manager.import_conversations(exported)
        assert back.content_hash == report.content_hash
        for format in DOCUMENTS:
            assert await manager.export(report.conversation, format)
    again = await manager.import_conversations(data, name=path.name)
    assert [r.content_hash for r in again] == [r.content_hash for r in first]
    return list(first)


@needs_data
@pytest.mark.parametrize(
    "path", [p for p in FILES if p.stat().st_size < 60_000], ids=lambda p: p.name
)
async def test_collected_sessions_travel(opened: Opened, path: Path) -> None:
    """What other programs wrote comes in, goes out and comes back as the same."""
    manager = await opened(ScriptedModel())
    assert await there_and_back(manager, path, 3)


@needs_data
@pytest.mark.long
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
async def test_all_collected_conversations_travel(opened: Opened, path: Path) -> None:
    """All of them."""
    manager = await opened(ScriptedModel())
    assert await there_and_back(manager, path, 10_000)
