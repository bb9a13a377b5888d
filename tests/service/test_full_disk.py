"""A disk that is full in the middle of an answer: what its reader is told, and how it goes on."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="files of a limited size")

PROGRAM = """
import asyncio, json, resource, sys
import palaver
from palaver import TextDelta, tool
from palaver.domain.errors import StoreFull
from palaver.testing import Call, Pause, Say, ScriptedModel, valid_history

_, HARD = resource.getrlimit(resource.RLIMIT_FSIZE)
paid = []

def no_file_may_grow(really):
    resource.setrlimit(resource.RLIMIT_FSIZE, (0 if really else HARD, HARD))

@tool(effect="effect", needs_approval=False)
async def pay() -> str:
    "Pay."
    paid.append(1)
    return "paid"

async def main(path):
    go = asyncio.Event()
    told = {}
    model = ScriptedModel([
        [Say("Half"), Pause(until=go), Say(" and half."), Call("pay")], "Here.", "There.",
    ])
    async with palaver.open(path, model=model, tools=[pay]) as manager:
        conversation = await manager.create()
        session = await conversation.start("go")
        async for event in session.events():
            if isinstance(event, TextDelta) and not go.is_set():
                no_file_may_grow(True)
                go.set()
        told["last"] = type(event).__name__
        told["error"] = event.error.code
        told["hint"] = event.error.hint
        told["paid"] = len(paid)
        try:
            await conversation.say("again")
        except StoreFull as full:
            told["refused"] = full.code
        told["read"] = [m.text for m in conversation.messages]
        told["found"] = len(await manager.search("go"))
        no_file_may_grow(False)
        told["then"] = (await conversation.say("again")).text
        told["kept"] = [m.text for m in conversation.messages]
        told["problems"] = valid_history(list(conversation.messages))
    print(json.dumps(told))

asyncio.run(main(sys.argv[1]))
"""


async def test_a_disk_that_fills_in_mid_answer(tmp_path: Path) -> None:
    """The turn ends with a typed error, no effect begins, reading goes on; when there is room
    again, the next message is answered, and what readers had seen of the lost answer is kept."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", PROGRAM, str(tmp_path / "chat.db")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["last"], told["error"]) == ("TurnFailed", "storage_full")
    assert "Free some disk space" in told["hint"]
    assert told["paid"] == 0
    assert told["refused"] == "storage_full"
    assert (told["read"], told["found"]) == (["go"], 1)
    assert told["then"] == "Here."
    assert told["kept"][0] == "go"
    assert told["kept"][-2:] == ["again", "Here."]
    assert told["problems"] == []
