"""Tools that the client runs: Palaver shows them to the model, and waits for their results."""

from typing import Any

import pytest

from palaver import ClientTool, Conversation, InvalidInput, Text, ToolResult, tool
from palaver.domain.ids import CallId
from palaver.domain.messages import Role, StopReason
from palaver.domain.stream import (
    ToolFinished,
    ToolRequested,
    ToolStarted,
    TurnCompleted,
    TurnStarted,
    TurnSuspended,
)
from palaver.domain.values import SuspendReason, TurnOutcome
from palaver.engine.route import WITHHELD
from palaver.testing import Call, Say, ScriptedModel, Stop, valid_history
from tests.engine.conftest import Opened, kinds

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"path": {"type": "string"}}}
READ = ClientTool("read_file", "Read a file.", SCHEMA)
LIST = ClientTool("list_files")


def result(call_id: str, text: str, **rest: Any) -> ToolResult:
    return ToolResult(CallId(call_id), "", (Text(text),), **rest)


@tool(effect="read")
async def weather(city: str) -> str:
    """Weather in a city."""
    return f"sunny in {city}"


@tool(effect="effect")
async def send(to: str) -> str:
    """Send a letter."""
    return f"sent to {to}"


async def told(conversation: Conversation, text: str, **options: Any) -> list[Any]:
    return [event async for event in conversation.stream(text, **options)]


async def test_a_turn_waits_for_its_client(opened: Opened) -> None:
    """The call is shown and never started; with the result the turn goes on, and readers of it see
    one stream."""
    model = ScriptedModel([[Say("Let me see."), Call("read_file", {"path": "a"}, id="c1")], "It."])
    manager = await opened(model)
    conversation = await manager.create()
    events = await told(conversation, "read a", client_tools=[READ])
    assert [type(e) for e in events if isinstance(e, ToolRequested | ToolStarted)] == [
        ToolRequested
    ]
    (call,) = conversation.state.pending_calls
    assert events[-1] == TurnSuspended(SuspendReason.CLIENT_TOOL_RESULT, (call,))
    assert call.arguments == '{"path":"a"}'
    session = await conversation.provide([result("c1", "one line")])
    after = [event async for event in session.events(len(events))]
    assert [e.result.text for e in after if isinstance(e, ToolFinished)] == ["one line"]
    assert isinstance(after[-1], TurnCompleted)
    assert kinds([*events, *after]).count("turn.started") == 1
    assert [m.role for m in conversation.messages] == [
        Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT,
    ]  # fmt: skip
    assert conversation.messages[2].tool_results[0].name == "read_file"
    assert not model.problems


async def test_client_tools_are_offered_to_the_model(opened: Opened) -> None:
    """Beside our own tools, in every request of the turn and in no other; a schema that was left
    out is that of no arguments."""
    model = ScriptedModel([Call("list_files", id="c1"), "Two files.", "Nothing."])
    manager = await opened(model, tools=[weather])
    conversation = await manager.create()
    await conversation.say("list", client_tools=[READ, LIST])
    await conversation.resume_with([result("c1", "a b")])
    await conversation.say("and now?")
    offered = [[t.name for t in request.tools] for request in model.requests]
    own = offered[2]
    assert "weather" in own
    assert offered[:2] == [[*own, "read_file", "list_files"]] * 2
    (spec,) = (t for t in model.requests[0].tools if t.name == "list_files")
    assert spec.schema == {"type": "object", "properties": {}}


async def test_a_client_tool_hides_ours(opened: Opened) -> None:
    """Of two tools with one name the client's is offered and waited for; ours does not run."""
    mine = ClientTool("weather", "The client's.", {"type": "object", "properties": {}})
    model = ScriptedModel([Call("weather", {"city": "Oslo"}, id="c1"), "Rain."])
    manager = await opened(model, tools=[weather])
    conversation = await manager.create()
    reply = await conversation.say("Oslo?", client_tools=[mine])
    assert [c.id for c in reply.waiting] == ["c1"]
    assert [t.description for t in model.requests[0].tools if t.name == "weather"] == [
        "The client's."
    ]
    assert (await conversation.resume_with([result("c1", "rain")])).text == "Rain."


async def test_without_own_tools_none_of_ours_runs(opened: Opened) -> None:
    """They are not offered, and a model that calls one all the same is told so: early and late."""
    model = ScriptedModel([Call("weather", {"city": "Oslo"}), Call("send", {"to": "bob"}), "Fine."])
    manager = await opened(model, tools=[weather, send])
    conversation = await manager.create()
    reply = await conversation.say("hi", client_tools=[LIST], own_tools=False)
    assert reply.text == "Fine."
    assert [t.name for t in model.requests[0].tools] == ["list_files"]
    assert [f.result.text for f in reply.tools] == [WITHHELD, WITHHELD]
    assert not model.problems


async def test_arguments_are_the_clients_business(opened: Opened) -> None:
    """What does not fit the client's schema, or is no JSON at all, is passed on as it was made."""
    turn = [Call("read_file", {"path": 7}, id="c1"), Call("read_file", '{"path": ', id="c2")]
    model = ScriptedModel([turn, "Well."], strict=False)
    manager = await opened(model)
    conversation = await manager.create()
    reply = await conversation.say("go", client_tools=[READ])
    assert [c.arguments for c in reply.waiting] == ['{"path":7}', '{"path": ']
    given = [result("c1", "no"), result("c2", "no", failed=True)]
    assert (await conversation.resume_with(given)).text == "Well."


async def test_everything_else_comes_first(opened: Opened) -> None:
    """Own tools run, then a person is asked, and only then the turn waits for its client."""
    turn = [
        Call("read_file", {"path": "a"}, id="c1"),
        Call("weather", {"city": "Oslo"}, id="c2"),
        Call("send", {"to": "bob"}, id="c3"),
        Call("list_files", id="c4"),
    ]
    model = ScriptedModel([turn, "Done."])
    manager = await opened(model, tools=[weather, send])
    conversation = await manager.create()
    first = await conversation.say("go", client_tools=[READ, LIST])
    assert [c.id for c in first.waiting] == ["c3"]
    with pytest.raises(InvalidInput, match="no call 'c1' waits for a client"):
        await conversation.provide([result("c1", "early")])
    second = await conversation.resume({"c3": True})
    assert [c.id for c in second.waiting] == ["c1", "c4"]
    with pytest.raises(InvalidInput, match="no call 'c1' waits for a decision"):
        await conversation.decide("c1", approve=True)
    last = await conversation.resume_with([result("c4", "four"), result("c1", "one")])
    assert last.text == "Done."
    assert [r.text for r in conversation.messages[2].tool_results] == [
        "one", "sunny in Oslo", "sent to bob", "four",
    ]  # fmt: skip
    assert not valid_history(conversation.messages)


async def test_a_cut_message_asks_no_client(opened: Opened) -> None:
    """Only the calls of a message that ended well are passed on."""
    model = ScriptedModel([[Call("list_files", id="c1"), Stop(StopReason.MAX_TOKENS)]])
    manager = await opened(model)
    conversation = await manager.create()
    reply = await conversation.say("go", client_tools=[LIST])
    assert (reply.waiting, reply.outcome) == ((), TurnOutcome.COMPLETED)
    assert not valid_history(conversation.messages)


async def test_cancel_gives_every_call_a_result(opened: Opened) -> None:
    """History is valid after a held turn was cancelled, what the client had given included."""
    model = ScriptedModel([[Call("list_files", id="c1"), Call("list_files", id="c2")], "New."])
    manager = await opened(model)
    conversation = await manager.create()
    await conversation.say("go", client_tools=[LIST])
    await conversation.provide([result("c2", "two")])
    await conversation.cancel()
    one, two = conversation.messages[-1].tool_results
    assert (one.failed, one.by_client) == (True, False)
    assert (two.text, two.by_client) == ("two", True)
    assert (await conversation.say("next")).text == "New."
    assert not model.problems


async def test_going_on_answers_the_history_as_it_is(opened: Opened) -> None:
    """A question that got no answer is answered without being said again."""
    model = ScriptedModel(["One.", "Two."])
    manager = await opened(model)
    conversation = await manager.create()
    await conversation.say("hi")
    question = conversation.messages[0].id
    with pytest.raises(InvalidInput, match="answer already"):
        await conversation.go_on()
    await conversation.states.dispatch(_to(question))
    session = await conversation.go_on()
    events = [event async for event in session.events()]
    assert events[0] == TurnStarted(session.turn, conversation.id, question)
    assert [m.text for m in conversation.messages] == ["hi", "Two."]


async def test_going_on_behind_results(opened: Opened) -> None:
    """A history that ends with results of tools is answered, also where the calls' own message had
    been cut; the stream begins as any other."""
    model = ScriptedModel([Call("weather", {"city": "Oslo"}), "Sun.", "Sunshine."])
    manager = await opened(model, tools=[weather])
    conversation = await manager.create()
    await conversation.say("Oslo?")
    await conversation.states.dispatch(_to(conversation.messages[2].id))
    session = await conversation.go_on(client_tools=[LIST])
    events = [event async for event in session.events()]
    assert isinstance(events[0], TurnStarted)
    assert isinstance(events[-1], TurnCompleted)
    assert conversation.messages[-1].text == "Sunshine."
    assert [t.name for t in model.requests[-1].tools][-1] == "list_files"


async def test_there_is_nothing_to_go_on_from(opened: Opened) -> None:
    """An empty conversation says so."""
    manager = await opened(ScriptedModel())
    conversation = await manager.create()
    with pytest.raises(InvalidInput, match="nothing has been said"):
        await conversation.go_on()


def _to(message: Any) -> Any:
    from palaver.service.actions import MoveHead

    return MoveHead(message)
