"""Results that a client gives: once, after a restart, from another process, in its history."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from palaver import (
    ClientTool,
    Conversation,
    ConversationBusy,
    InvalidInput,
    Message,
    Scope,
    Settings,
    Text,
    ToolCall,
    ToolResult,
    tool,
)
from palaver.domain.errors import AlreadyAnswered, ConnectionFailed, PromptKept
from palaver.domain.ids import BlobId, CallId
from palaver.domain.messages import Image, Role
from palaver.domain.stream import ToolFinished, TurnCompleted
from palaver.domain.values import TurnOutcome
from palaver.service.offer import MOST_BYTES, MOST_TOOLS
from palaver.settings import RetrySettings
from palaver.streams.session import StreamSession
from palaver.system import SystemClock
from palaver.testing import Call, Pause, Say, ScriptedModel, valid_history
from tests.service.conftest import Opened

READ = ClientTool("read_file", "Read a file.", {"properties": {"path": {"type": "string"}}})
TWO: list[Any] = [
    [Say("Look."), Call("read_file", {"path": "a"}, id="c1"), Call("read_file", id="c2")]
]


def result(call_id: str, text: str = "x", **rest: Any) -> ToolResult:
    return ToolResult(CallId(call_id), "", (Text(text),), **rest)


async def ended(session: StreamSession) -> list[Any]:
    async with asyncio.timeout(60):
        return [event async for event in session.events()]


# Given once


async def test_results_may_come_one_after_another(opened: Opened) -> None:
    """The turn goes on with the last one; readers are shown all of them then, in call order."""
    model = ScriptedModel([*TWO, "Both."])
    conversation = await (await opened(model)).create()
    await conversation.say("go", client_tools=[READ])
    await conversation.provide([result("c2", "two")])
    assert conversation.state.turn is not None
    assert conversation.state.turn.waiting == ("c1",)
    events = await ended(await conversation.provide([result("c1", "one")]))
    assert [e.result.text for e in events if isinstance(e, ToolFinished)] == ["one", "two"]
    assert conversation.messages[-1].text == "Both."
    assert not model.problems


async def test_a_request_may_be_repeated(opened: Opened) -> None:
    """The same results again lead to the same turn, while it waits, runs and when it has ended."""
    gate = asyncio.Event()
    model = ScriptedModel([*TWO, [Say("Both."), Pause(until=gate)]])
    conversation = await (await opened(model)).create()
    await conversation.say("go", client_tools=[READ])
    one, both = [result("c1")], [result("c1"), result("c2")]
    waiting = [await conversation.provide(one) for _ in range(2)]
    running = [await conversation.provide(both) for _ in range(2)]
    gate.set()
    events = await ended(running[-1])
    after = await conversation.provide(both)
    assert {s.turn for s in (*waiting, *running, after)} == {running[0].turn}
    assert await ended(after) == events
    assert len(model.requests) == 2


async def test_two_who_provide_at_once_go_on_once(opened: Opened) -> None:
    """Of simultaneous requests with the same results one lets the turn go on."""
    model = ScriptedModel([*TWO, "Both."])
    conversation = await (await opened(model)).create()
    await conversation.say("go", client_tools=[READ])
    both = [result("c1"), result("c2")]
    sessions = await asyncio.gather(*(conversation.provide(both) for _ in range(5)))
    await ended(sessions[0])
    assert len(model.requests) == 2
    assert len(conversation.messages) == 4


async def test_a_call_is_answered_once(opened: Opened) -> None:
    """Another result for an answered call is refused, whatever else comes with it."""
    conversation = await (await opened(ScriptedModel([*TWO, "Both."]))).create()
    await conversation.say("go", client_tools=[READ])
    await conversation.provide([result("c1", "one")])
    with pytest.raises(AlreadyAnswered, match="c1"):
        await conversation.provide([result("c1", "other"), result("c2")])
    with pytest.raises(AlreadyAnswered, match="c2"):
        await conversation.provide([result("c2", "a"), result("c2", "b")])
    assert conversation.state.turn is not None
    assert conversation.state.turn.waiting == ("c2",)


async def test_an_unknown_call_is_told_which_ones_wait(opened: Opened) -> None:
    """The hint lists them; nothing is stored."""
    conversation = await (await opened(ScriptedModel(TWO))).create()
    with pytest.raises(InvalidInput, match="no call 'c9'"):
        await conversation.provide([result("c9")])
    await conversation.say("go", client_tools=[READ])
    with pytest.raises(InvalidInput) as refused:
        await conversation.provide([result("c1"), result("c9")])
    assert refused.value.hint == "Waiting: c1, c2."
    with pytest.raises(InvalidInput, match="no result"):
        await conversation.provide([])


async def test_results_are_made_storable(opened: Opened) -> None:
    """Text is cleaned; what is too large, or refers to nothing, is refused."""
    manager = await opened(ScriptedModel([*TWO, "Both."]), settings=Settings(message_bytes=100))
    conversation = await manager.create()
    await conversation.say("go", client_tools=[READ])
    with pytest.raises(InvalidInput, match="at most 100"):
        await conversation.provide([result("c1", "x" * 101)])
    picture = Image("image/png", blob=BlobId("0" * 64))
    with pytest.raises(InvalidInput, match="attachment"):
        await conversation.provide([ToolResult(CallId("c1"), "", (picture,))])
    await conversation.resume_with([result("c1", "a\x00b"), ToolResult(CallId("c2"), "")])
    assert [r.text for r in conversation.messages[2].tool_results] == ["a\ufffdb", ""]


async def test_tools_are_checked_before_anything_is_accepted(opened: Opened) -> None:
    """Names, number, size and schemas; the message is not stored."""
    conversation = await (await opened(ScriptedModel())).create()
    bad: list[Any] = [
        [ClientTool("a b")],
        [ClientTool("a"), ClientTool("a")],
        [ClientTool(f"t{n}") for n in range(MOST_TOOLS + 1)],
        [ClientTool("a", "x" * MOST_BYTES)],
        [ClientTool("a", "", {"type": "array"})],
        [ClientTool("a", "", {"properties": 7})],
        [ClientTool("a", "", {"properties": {"b": object()}})],
        [ClientTool("a", "", {"properties": {"b": {"$ref": "https://example.org/s"}}})],
        ["a"],
    ]
    for tools in bad:
        with pytest.raises(InvalidInput):
            await conversation.say("go", client_tools=tools)
    assert len(conversation.messages) == 0


async def test_a_held_turn_says_what_it_waits_for(opened: Opened) -> None:
    """Another message is refused with the reason, or takes its place if it is to."""
    conversation = await (await opened(ScriptedModel([*TWO, "New."]))).create()
    await conversation.say("go", client_tools=[READ])
    with pytest.raises(ConversationBusy, match="results of tools that its client runs"):
        await conversation.say("other")
    with pytest.raises(InvalidInput, match="no turn waits for a decision"):
        await conversation.resume({"c1": True})
    assert (await conversation.say("other", on_busy="interrupt")).text == "New."
    assert not valid_history(conversation.messages)


# Elsewhere


async def test_a_held_turn_survives_a_restart(opened: Opened, tmp_path: Path) -> None:
    """The next process knows the turn's tools, gives the result and goes on; a repeated request
    finds the turn there, too."""
    path = tmp_path / "c.db"
    one = await opened(ScriptedModel(TWO), path=path)
    conversation = await one.create()
    await conversation.say("go", client_tools=[READ], own_tools=False)
    await conversation.provide([result("c1", "one")])
    await one.aclose()
    model = ScriptedModel([Call("read_file", id="c3"), "All."])
    two = await opened(model, path=path)
    again = await two.open(conversation.id)
    reply = await again.resume_with([result("c2", "two")])
    assert [c.id for c in reply.waiting] == ["c3"]
    assert [t.name for t in model.requests[0].tools] == ["read_file"]
    await again.resume_with([result("c3", "three")])
    assert again.messages[-1].text == "All."
    assert (await again.provide([result("c1", "one")])).turn == reply.turn


async def test_another_process_gives_the_result(opened: Opened, tmp_path: Path) -> None:
    """It goes on with the turn; readers in the first one see the rest, and a repeated request there
    takes nothing away."""
    path = tmp_path / "c.db"
    gate = asyncio.Event()
    one = await opened(ScriptedModel(TWO), path=path, clock=SystemClock())
    answer = ScriptedModel([[Say("Both."), Pause(until=gate)]])
    two = await opened(answer, path=path, clock=SystemClock())
    mine = await one.create()
    session = await mine.start("go", client_tools=[READ])
    [event async for event in session.events(until_suspended=True)]
    theirs = await two.open(mine.id)
    both = [result("c1"), result("c2")]
    await theirs.provide(both)
    repeated = await mine.provide(both)
    record = await two.store.turn(Scope(), session.turn)
    assert (record.owner, record.epoch) == (two.store.owner, 1)
    gate.set()
    for reading in (session, repeated):
        assert isinstance((await ended(reading))[-1], TurnCompleted)
    assert (await mine.states.refresh()).messages[-1].text == "Both."
    assert len(answer.requests) == 1


async def test_a_waiting_prompt_keeps_its_tools(opened: Opened) -> None:
    """What waits in the outbox is sent with the tools that it was said with."""
    once = Settings(retry=RetrySettings(network_attempts=1))
    model = ScriptedModel([ConnectionFailed("refused"), *TWO])
    manager = await opened(model, settings=once)
    conversation = await manager.create()
    with pytest.raises(PromptKept):
        await conversation.say("go", client_tools=[READ], on_unreachable="queue")
    session = await conversation.outbox.send()
    assert session is not None
    reply = await conversation.collect(session)
    assert [c.id for c in reply.waiting] == ["c1", "c2"]


# A client that sends its whole history


async def test_the_history_brings_the_results(opened: Opened) -> None:
    """Sent with what the calls gave, they are told apart and given; nothing is stored twice."""
    model = ScriptedModel([*TWO, "Both."])
    conversation = await (await opened(model)).create()
    await conversation.say("go", client_tools=[READ])
    calls = conversation.state.pending_calls
    results = Message(Role.TOOL, (result("c1", "one"), result("c2", "two")))
    history = [Message.user("go"), Message.assistant((Text("Look."), *calls)), results]
    asked = await conversation.align(history[:2])
    assert (asked.is_open, asked.results) == (True, ())
    aligned = await conversation.align(history)
    assert (aligned.kept, [r.text for r in aligned.results]) == (3, ["one", "two"])
    reply = await conversation.resume_with(aligned.results)
    assert reply.text == "Both."
    assert len(conversation.messages) == 4


async def test_the_history_goes_on_behind_the_results(opened: Opened) -> None:
    """A user who speaks before the model has seen the results ends that turn; the calls and what
    they gave stay as they are, and one answer is made to all."""
    model = ScriptedModel([*TWO, "To both."])
    conversation = await (await opened(model)).create()
    await conversation.say("go", client_tools=[READ])
    calls = conversation.state.pending_calls
    before = conversation.messages[1]
    results = Message(Role.TOOL, (result("c1", "one"), result("c2", "two")))
    history = [Message.user("go"), Message.assistant((Text("Look."), *calls)), results]
    aligned = await conversation.align([*history, Message.user("and?")])
    assert (aligned.kept, len(aligned.appended), aligned.has_branched) == (3, 1, False)
    assert conversation.messages[1] == before
    await conversation.collect(await conversation.go_on(client_tools=[READ]))
    assert [m.text for m in conversation.messages] == ["go", "Look.", "", "and?", "To both."]
    assert not model.problems


async def test_a_running_turn_is_busy(opened: Opened) -> None:
    """A history meets a turn that runs: it is refused, or ends the turn."""
    gate = asyncio.Event()
    model = ScriptedModel([[Say("One."), Pause(until=gate)]])
    conversation = await (await opened(model)).create()
    await conversation.start("go")
    with pytest.raises(ConversationBusy):
        await conversation.align([Message.user("other")])
    aligned = await conversation.align([Message.user("other")], on_busy="interrupt")
    assert aligned.has_branched
    assert [m.text for m in conversation.messages] == ["other"]


async def test_a_conversation_begins_with_a_history(opened: Opened) -> None:
    """In one append; what providers refuse is mended and told; the next answer can be had."""
    model = ScriptedModel(["Fine."])
    manager = await opened(model)
    call = ToolCall(CallId("c1"), "read_file", '{"path": "a"}')
    history = [Message.user("hi"), Message.assistant((call,)), Message.user("go on")]
    conversation = await manager.create_from(history, title="Brought", temperature=0.5)
    assert [str(r.kind) for r in conversation.repairs] == ["unanswered_call"]
    assert conversation.state.metadata.title == "Brought"
    assert conversation.state.seq == 5
    assert not valid_history(conversation.messages)
    await conversation.collect(await conversation.go_on())
    assert conversation.messages[-1].text == "Fine."
    assert (await manager.open(conversation.id)).messages == conversation.messages
    assert len((await manager.create_from([])).messages) == 0


@tool(effect="read")
async def look(at: str) -> str:
    """Look at something."""
    return f"seen {at}"


async def test_tools_that_ran_here_stay(opened: Opened) -> None:
    """A client that saw one answer sends one answer; what led to it is still there."""
    turns: list[Any] = [[Say("Let me see. "), Call("look", {"at": "x"})], "It is x.", "Again."]
    model = ScriptedModel(turns)
    manager = await opened(model, tools=[look])
    conversation = await manager.create()
    reply = await conversation.say("what?")
    history = [Message.user("what?"), Message.assistant(reply.text), Message.user("sure?")]
    aligned = await conversation.align(history)
    assert (aligned.kept, len(aligned.appended), aligned.has_branched) == (2, 1, False)
    assert (await _answer(conversation)).outcome is TurnOutcome.COMPLETED
    assert [m.role for m in conversation.messages[:4]] == [
        Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT,
    ]  # fmt: skip


async def _answer(conversation: Conversation) -> Any:
    return await conversation.collect(await conversation.go_on())
