"""What a turn costs depends on what is new in it: counted in calls, not timed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from types import FrameType

import palaver
from palaver import Conversation, Settings, tool
from palaver.testing import Call, ScriptedModel
from tests.service.conftest import Opened

SOURCES = str(Path(palaver.__file__).parent)
TESTING = str(Path(SOURCES, "testing"))


@tool(effect="read")
async def look() -> str:
    """Look."""
    return "seen"


@contextmanager
def calls_counted(counted: list[int]) -> Iterator[None]:
    """Add how often Palaver's own functions were called, and its generators went on, in this
    thread. A walk over the messages is a step of a generator for each. The scripted model checks
    the whole history, and does not count."""
    number = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal number
        if event == "call" and frame.f_code.co_filename.startswith(SOURCES):
            number += not _is_within_testing(frame)

    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(None)
    counted.append(number)


def _is_within_testing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(TESTING):
            return True
        frame = frame.f_back
    return False


async def turns(conversation: Conversation, number: int) -> list[int]:
    """The calls of each of so many turns."""
    counted: list[int] = []
    for _ in range(number):
        with calls_counted(counted):
            await conversation.say("look again")
    return counted


async def test_a_turn_does_the_same_however_much_was_said_before(
    opened: Opened, tmp_path: Path
) -> None:
    """Behind 70 turns with tool results as behind ten: in engine, state, ledger and store."""
    model = ScriptedModel([[Call("look", {})], "I have looked."] * 200)
    manager = await opened(
        model, path=tmp_path / "c.db", tools=[look], settings=Settings(titles="off")
    )
    conversation = await manager.create()
    await turns(conversation, 5)
    early = median(await turns(conversation, 7))
    for _ in range(60):
        await conversation.say("look again")
    late = median(await turns(conversation, 7))
    # One walk over the 300 messages would be a fifth more.
    assert late < early * 1.08


async def test_opening_what_is_in_memory_reads_nothing_again(opened: Opened) -> None:
    """A handle of a conversation in use costs the same for any length of it."""
    manager = await opened(ScriptedModel(["fine"] * 60))
    conversation = await manager.create()
    counted: list[int] = []
    for _ in range(2):
        for _ in range(30):
            await conversation.say("hello")
        await manager.open(conversation.id)  # what is new is weighed once
        with calls_counted(counted):
            await manager.open(conversation.id)
    assert counted[1] <= counted[0]
