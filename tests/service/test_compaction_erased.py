"""What erasing promises where compactions have quoted: not a word is left, in any fork or file."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace

import palaver
from palaver import Conversation, ConversationManager
from palaver.providers.base import ModelInfo, ModelRequest
from palaver.settings import CompactionSettings, Settings
from palaver.testing import ScriptedModel

SECRET = "hunter2-walrus-9931"
CONTEXT = CompactionSettings(window=4_000, minimum=500, summaries="off")
MODEL = ModelInfo("scripted:model", window=20_000, max_output=500)


def _answered(request: ModelRequest) -> Any:
    if request.messages[-1].text.startswith("Say"):
        return "Noted. " * 40
    return f"## Goal\nThe person uses {SECRET}. [m1]"


@asynccontextmanager
async def _open(path: Path, context: CompactionSettings = CONTEXT) -> AsyncIterator[Any]:
    model = ScriptedModel(info=MODEL)
    model.when("", _answered)
    settings = Settings(context=context, snapshot_every=4)
    async with palaver.open(path, model=model, settings=settings) as manager:
        yield manager


async def _talk(conversation: Conversation, turns: int) -> None:
    for number in range(turns):
        secret = SECRET if number == 0 else "nothing"
        await conversation.say(f"Say {number}: the key is {secret}. " + "Please. " * 30)


def _bytes(path: Path) -> bytes:
    found = b""
    for file in path.parent.iterdir():
        if file.is_file():
            found += file.read_bytes()
    return found


def _spoken(manager: ConversationManager, conversation: Conversation) -> str:
    return " ".join(m.text for m in conversation.state.window)


async def test_a_redaction_erases_what_compactions_wrote(tmp_path: Path) -> None:
    """Summaries, extracts, facts and snapshots that quote the message are gone from the file, and
    the window is the record again."""
    path = tmp_path / "c.db"
    async with _open(path, replace(CONTEXT, summaries="inline")) as manager:
        conversation = await manager.create()
        await _talk(conversation, 8)
        await conversation.compact(instructions=f"keep {SECRET}")
        assert SECRET.encode() in _bytes(path)
        first = conversation.messages[0]
        receipt = await conversation.redact(first.id)
        assert len(receipt.facts) >= 2
        assert conversation.state.compaction is None
        assert SECRET not in _spoken(manager, conversation)
        await conversation.say("Say more")
    assert SECRET.encode() not in _bytes(path)


async def test_a_fork_loses_its_own_quotes_too(tmp_path: Path) -> None:
    """Redacting in the origin erases what the fork's own compaction took from the message, and the
    other way round; both talk on."""
    for who in ("origin", "fork"):
        path = tmp_path / who / "c.db"
        path.parent.mkdir()
        async with AsyncExitStack() as stack:
            context = replace(CONTEXT, summaries="inline")
            manager = await stack.enter_async_context(_open(path, context))
            origin = await manager.create()
            await _talk(origin, 8)
            fork = await manager.fork(origin.id)
            await fork.compact()
            await origin.compact()
            assert SECRET in _spoken(manager, fork)
            redacting = origin if who == "origin" else fork
            await redacting.redact(origin.messages[0].id)
            for conversation in (origin, fork):
                assert SECRET not in _spoken(manager, conversation)
                await conversation.say("Say more")
        assert SECRET.encode() not in _bytes(path)
        async with _open(path) as manager:
            for id in (origin.id, fork.id):
                opened = await manager.open(id)
                assert SECRET not in _spoken(manager, opened)
                assert len(opened.messages) == 18


async def test_what_was_prepared_is_forgotten(tmp_path: Path) -> None:
    """A preparation that read the message is not used after it was erased."""
    path = tmp_path / "c.db"
    async with _open(path, replace(CONTEXT, summaries="prepared")) as manager:
        conversation = await manager.create()
        await _talk(conversation, 17)
        await conversation.redact(conversation.messages[0].id)
        for number in range(12):
            await conversation.say(f"Say {number}: go on. " + "Please. " * 30)
        assert SECRET not in _spoken(manager, conversation)
    assert SECRET.encode() not in _bytes(path)
