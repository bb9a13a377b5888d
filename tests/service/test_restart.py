"""What becomes of turns whose process died, when a program is told to run them on."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import palaver
from palaver import (
    Conversation,
    ConversationBusy,
    ConversationManager,
    ExecutionContext,
    Role,
    Settings,
    ToolResult,
    TurnLimits,
    TurnOutcome,
    tool,
)
from palaver.domain.messages import Flag
from palaver.domain.stream import BlockReset, RetryScheduled, TextDelta, TurnCompleted
from palaver.providers.base import ModelEvent, ModelRequest
from palaver.testing import Call, Pause, Say, ScriptedModel, Step, valid_history
from tests.service.conftest import Opened

ROOT = Path(__file__).parents[2]
RESUME = Settings(turn=TurnLimits(on_restart="resume", resume_parallel=2))


async def left(module: str, *arguments: object, until: bytes | None = None) -> list[bytes]:
    """Run a program until it says `until` and kill it, or until it ends; the lines that it said."""
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"tests.service.{module}",
        *map(str, arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert program.stdout is not None
    said: list[bytes] = []
    async with asyncio.timeout(60):
        while (line := await program.stdout.readline()) and line.strip() != until:
            said.append(line.strip())
        if until is not None:
            program.kill()
        await program.wait()
    return said


async def resumed(manager: ConversationManager) -> Conversation:
    """The newest conversation, when its turn has ended."""
    conversation = await manager.find("last")
    turn = conversation.state.turn
    if turn is not None:
        await manager.streams.settled(turn.id)
    assert conversation.state.turn is None
    assert valid_history(list(conversation.messages)) == []
    return conversation


def answers(conversation: Conversation) -> list[str]:
    return [m.text for m in conversation.messages if m.role is Role.ASSISTANT]


async def test_a_message_that_nobody_answered_is_answered(opened: Opened, tmp_path: Path) -> None:
    """The turn runs on in the next process, under its own id."""
    path = tmp_path / "chat.db"
    await left("crashing", path, "accepted", until=b"ready")
    manager = await opened(ScriptedModel(["Here I am."]), path=path, settings=RESUME)
    assert answers(await resumed(manager)) == ["Here I am."]


async def turn_of(manager: ConversationManager) -> str:
    """The only turn of the only conversation."""
    conversation = await manager.find("last")
    facts = await manager.store.read(palaver.Scope(), conversation.id, kinds=["turn.opened"])
    return str(getattr(facts[0].event, "turn", ""))


async def attempts(manager: ConversationManager) -> list[int]:
    """The numbers of the attempts in the ledger."""
    conversation = await manager.find("last")
    facts = await manager.store.read(palaver.Scope(), conversation.id, kinds=["attempt.made"])
    return [getattr(r.event, "number", 0) for r in facts]


def goes_on(request: ModelRequest) -> str:
    """What an obedient model says when it is asked for the rest of half an answer."""
    asked = request.messages[-1].text
    anchor = asked[asked.index("<anchor>") + 8 : asked.rindex("</anchor>")]
    return f"{anchor} and the other half."


@pytest.mark.parametrize("stage", ["speaking", "thought", "waiting"])
async def test_half_an_answer_is_continued(opened: Opened, tmp_path: Path, stage: str) -> None:
    """A client that comes back with its cursor sees its text go on, no character twice; one message
    answers, and says that it was joined. Each attempt is in the ledger once, also where the process
    died while it waited to continue a stream that had broken."""
    path = tmp_path / "chat.db"
    await left("crashing", path, stage, until=b"ready")
    manager = await opened(ScriptedModel([goes_on]), path=path, settings=RESUME)
    turn = await turn_of(manager)
    events = [n async for n in manager.follow(turn)]
    conversation = await resumed(manager)
    assert answers(conversation) == ["Half of an answer and the other half."]
    assert conversation.messages[-1].flags == (Flag.JOINED,)
    assert [n.number for n in events] == list(range(1, len(events) + 1))
    said = [n.event.text for n in events if isinstance(n.event, TextDelta)]
    assert "".join(said) == conversation.messages[-1].text
    (retried,) = [n.event for n in events if isinstance(n.event, RetryScheduled)]
    broke = "stream_truncated" if stage == "waiting" else "program_stopped"
    assert (retried.error.code, retried.continues) == (broke, True)
    assert sum(isinstance(n.event, BlockReset) for n in events) == (stage == "thought")
    assert isinstance(events[-1].event, TurnCompleted)
    assert await attempts(manager) == [1, 2]
    at = next(i for i, n in enumerate(events) if n.event is retried)
    assert [n async for n in manager.follow(turn, after=events[at].cursor)] == events[at + 1 :]


async def test_an_answer_that_was_not_at_its_text_is_made_anew(
    opened: Opened, tmp_path: Path
) -> None:
    """Exactly one message answers; a reader is told that what it saw does not count."""
    path = tmp_path / "chat.db"
    await left("crashing", path, "thinking", until=b"ready")
    manager = await opened(ScriptedModel(["A whole answer."]), path=path, settings=RESUME)
    events = [n async for n in manager.follow(await turn_of(manager))]
    assert answers(await resumed(manager)) == ["A whole answer."]
    assert [n.event.continues for n in events if isinstance(n.event, RetryScheduled)] == [False]
    assert await attempts(manager) == [1, 2]


async def test_what_waited_to_be_continued_is_kept(opened: Opened, tmp_path: Path) -> None:
    """A program that ends what it finds keeps the half that readers have seen, and counts the
    attempt once."""
    path = tmp_path / "chat.db"
    await left("crashing", path, "waiting", until=b"ready")
    manager = await opened(ScriptedModel(), path=path)
    conversation = await resumed(manager)
    assert answers(conversation) == ["Half of an answer"]
    assert conversation.messages[-1].flags == (Flag.PARTIAL,)
    assert await attempts(manager) == [1]


async def test_half_an_answer_may_change_hands_twice(opened: Opened, tmp_path: Path) -> None:
    """The second process dies before its model says a word; the third goes on with the same
    text."""
    path = tmp_path / "chat.db"
    await left("crashing", path, "speaking", until=b"ready")
    await left("resuming", path, until=b"ready")
    manager = await opened(ScriptedModel([goes_on]), path=path, settings=RESUME)
    events = [n async for n in manager.follow(await turn_of(manager))]
    conversation = await resumed(manager)
    said = "".join(n.event.text for n in events if isinstance(n.event, TextDelta))
    assert said == answers(conversation)[0] == "Half of an answer and the other half."
    assert conversation.messages[-1].flags == (Flag.JOINED,)
    assert await attempts(manager) == [1, 2, 3]


async def test_an_effect_under_way_is_told_and_not_repeated(opened: Opened, tmp_path: Path) -> None:
    """The model reads that the outcome is unknown, and goes on."""
    path = tmp_path / "chat.db"
    await left("crashing", path, "paying", until=b"ready")

    @tool(effect="effect", needs_approval=False)
    async def pay() -> str:
        """Pay."""
        raise AssertionError("paid again")

    model = ScriptedModel(["I do not know whether it was paid."])
    manager = await opened(model, path=path, settings=RESUME, tools=[pay])
    conversation = await resumed(manager)
    (result,) = conversation.messages[2].tool_results
    assert result.unknown
    assert model.requests[0].messages[-1].tool_results == (result,)
    assert answers(conversation)[-1] == "I do not know whether it was paid."


async def test_an_idempotent_call_runs_again_under_its_key(opened: Opened, tmp_path: Path) -> None:
    """Both runs bring the same key, also where the message that asks had to be made anew."""
    path = tmp_path / "chat.db"
    said = await left("crashing", path, "booking", until=b"ready")
    keys: list[str] = []

    @tool(effect="idempotent")
    async def book(context: ExecutionContext) -> str:
        """Book."""
        keys.append(context.idempotency_key)
        return "booked"

    def answered(request: ModelRequest) -> list[Step]:
        booked = any(isinstance(block, ToolResult) for block in request.messages[-1].content)
        return [Say("Booked.")] if booked else [Say("I book again."), Call("book")]

    model = ScriptedModel()
    model.when("go on", answered)
    manager = await opened(model, path=path, settings=RESUME, tools=[book])
    conversation = await resumed(manager)
    assert keys == [said[0].decode()]
    assert answers(conversation)[-1] == "Booked."


async def test_only_some_run_on_at_a_time(opened: Opened, tmp_path: Path) -> None:
    """All are decided when the program has opened; they take their turns, and can be cancelled
    while they wait."""
    path = tmp_path / "chat.db"
    await left("leaving", path, 6)
    model, go = Crowded(), asyncio.Event()
    model.when("question", [Pause(until=go), Say("Here.")])
    manager = await opened(model, path=path, settings=RESUME)
    found = [await manager.open(item.id) for item in (await manager.list()).items]
    assert all(each.state.turn is not None for each in found)
    while model.now < 2:  # noqa: ASYNC110 - threads read the file
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.02)
    assert model.most == 2
    await found[0].cancel()
    with pytest.raises(ConversationBusy):
        await found[1].say("and?")
    turns = [each.state.turn.id for each in found if each.state.turn is not None]
    go.set()
    for turn in turns:
        await manager.streams.settled(turn)
    assert all(answers(each) == ["Here."] for each in found[1:])
    assert model.most == 2
    assert answers(found[0]) == []


class Crowded(ScriptedModel):
    """Counts how many ask at the same time."""

    now = most = 0

    def stream(self, request: ModelRequest) -> Any:
        """Count."""
        return _Counted(self, super().stream(request))


class _Counted:
    def __init__(self, model: Crowded, stream: Any) -> None:
        self._model, self._stream = model, stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def __aiter__(self) -> AsyncIterator[list[ModelEvent]]:
        self._model.now += 1
        self._model.most = max(self._model.most, self._model.now)
        try:
            async for batch in self._stream:
                yield batch
        finally:
            self._model.now -= 1


async def test_a_turn_that_kills_programs_is_given_up(opened: Opened, tmp_path: Path) -> None:
    """After five changes of hands it is interrupted, and the program lives."""
    path = tmp_path / "chat.db"
    await left("leaving", path, 1, 5)
    manager = await opened(ScriptedModel(), path=path, settings=RESUME)
    assert answers(await resumed(manager)) == []


async def test_a_turn_may_be_left_for_later(opened: Opened, tmp_path: Path) -> None:
    """A program that only looks touches nothing; who says something there goes on."""
    path = tmp_path / "chat.db"
    await left("leaving", path, 1)
    leave = Settings(turn=TurnLimits(on_restart="leave"))
    manager = await opened(ScriptedModel(["Here."]), path=path, settings=leave)
    conversation = await manager.find("last")
    assert conversation.state.turn is not None
    assert (await conversation.say("hello?")).text == "Here."


async def test_a_key_still_names_its_turn(opened: Opened, tmp_path: Path) -> None:
    """A client that repeats its message after the restart gets the answer, not a second turn."""
    path = tmp_path / "chat.db"
    first = ScriptedModel([[Say("Half"), Pause(until=asyncio.Event())]])
    async with palaver.open(path, model=first) as manager:
        session = await (await manager.create()).start("go", idempotency_key="k")
    again = await opened(ScriptedModel(), path=path, settings=RESUME)
    conversation = await again.find("last")
    reply = await conversation.say("go", idempotency_key="k")
    assert reply.turn == session.turn
    assert reply.outcome is TurnOutcome.CANCELLED


async def test_a_program_that_ends_may_wait(tmp_path: Path) -> None:
    """With a time to drain, a running turn ends by itself; nothing new is begun meanwhile."""
    go = asyncio.Event()
    model = ScriptedModel([[Say("Half"), Pause(until=go), Say(" and half.")]])
    async with palaver.open(tmp_path / "chat.db", model=model) as manager:
        conversation = await manager.create()
        await conversation.start("go")
        closing = asyncio.create_task(manager.aclose(drain_s=60))
        await asyncio.sleep(0.01)
        go.set()
        await closing
        assert answers(conversation) == ["Half and half."]


async def test_what_waited_for_its_place_is_left_to_the_next(tmp_path: Path) -> None:
    """A program that ends before it came to a turn does not cancel it."""
    path = tmp_path / "chat.db"
    await left("leaving", path, 3)
    one = Settings(turn=TurnLimits(on_restart="resume", resume_parallel=1))
    stuck = Crowded()
    stuck.when("question", [Pause(until=asyncio.Event())])
    async with palaver.open(path, model=stuck, settings=one):
        while not stuck.now:  # noqa: ASYNC110 - threads read the file
            await asyncio.sleep(0.01)
    model = ScriptedModel()
    model.when("question", "Here.")
    async with palaver.open(path, model=model, settings=one) as manager:
        assert len(manager.recovered) == 2
        for each in manager.recovered:
            await manager.streams.settled(each.turn)
        found = [await manager.open(item.id) for item in (await manager.list()).items]
        assert sorted(answers(each) for each in found) == [[], ["Here."], ["Here."]]
