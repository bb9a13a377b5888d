"""Tools that the client runs, over the strict provider and each of the wires."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import palaver
from palaver import ClientTool, Conversation, Message, Text, ToolResult, tool
from palaver.domain.ids import CallId
from palaver.domain.messages import Role
from palaver.domain.stream import ToolStarted
from palaver.settings import Clocks
from palaver.testing import Call, Say, Think, valid_history
from palaver.testing.provider_server import ProviderServer
from tests.contract.test_wires import ONCE, WIRES, model_of

READ = ClientTool(
    "read_file", "Read a file.", {"properties": {"path": {"type": "string"}}, "required": ["path"]}
)
LIST = ClientTool("list_files")
Begin: TypeAlias = Any
"""`await begin()` opens the file of the test as another process would."""


@tool(effect="read")
async def weather(city: str) -> str:
    """Weather in a city."""
    return f"sunny in {city}"


@tool(effect="effect")
async def send(to: str) -> str:
    """Send a letter."""
    return f"sent to {to}"


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with ProviderServer(piece=6) as server:
        yield server


@pytest.fixture(params=WIRES)
async def begin(request: Any, server: ProviderServer, tmp_path: Path) -> AsyncIterator[Begin]:
    async with AsyncExitStack() as stack:

        async def opened() -> palaver.ConversationManager:
            model = model_of(request.param, server, Clocks())
            stack.push_async_callback(model.aclose)
            door = palaver.open(
                tmp_path / "c.db", model=model, tools=[weather, send], settings=ONCE
            )
            return await stack.enter_async_context(door)

        yield opened


def result(call: Any, text: str) -> ToolResult:
    return ToolResult(CallId(call.id), "", (Text(text),))


async def test_one_call(server: ProviderServer, begin: Begin) -> None:
    """The provider gets the client's tool, and its result as that of any tool."""
    server.script([[Think("hm"), Say("Look."), Call("read_file", {"path": "a"})], "It is."])
    conversation = await (await begin()).create(reasoning="medium")
    reply = await conversation.say("go", client_tools=[READ])
    (call,) = reply.waiting
    assert call.parsed() == {"path": "a"}
    assert (await conversation.resume_with([result(call, "one line")])).text == "It is."
    assert not valid_history(conversation.messages)


async def test_two_beside_one_of_ours(server: ProviderServer, begin: Begin) -> None:
    """Ours starts while the model speaks, the client's never; results go back in call order."""
    calls = [Call("read_file", {"path": "a"}), Call("weather", {"city": "Oslo"})]
    server.script([[*calls, Call("list_files")], "Done."])
    conversation = await (await begin()).create()
    events = [e async for e in conversation.stream("go", client_tools=[READ, LIST])]
    assert [(e.name, e.early) for e in events if isinstance(e, ToolStarted)] == [("weather", True)]
    one, two = (c for c in conversation.state.pending_calls)
    reply = await conversation.resume_with([result(two, "none"), result(one, "text")])
    assert reply.text == "Done."
    answers = conversation.messages[2].tool_results
    assert [r.text for r in answers] == ["text", "sunny in Oslo", "none"]


async def test_an_approval_and_a_restart(server: ProviderServer, begin: Begin) -> None:
    """A person is asked first, then the client; each answer may come in another process."""
    turn = [Call("read_file", {"path": "a"}), Call("send", {"to": "bob"}), Call("list_files")]
    server.script([turn, Call("list_files"), "Done."])
    one = await begin()
    conversation = await one.create()
    reply = await conversation.say("go", client_tools=[READ, LIST], own_tools=True)
    assert [c.name for c in reply.waiting] == ["send"]
    await one.aclose()

    two = await begin()
    conversation = await two.open(conversation.id)
    reply = await conversation.resume({reply.waiting[0].id: True})
    assert [c.name for c in reply.waiting] == ["read_file", "list_files"]
    await conversation.provide([result(reply.waiting[0], "text")])
    await two.aclose()

    conversation = await (await begin()).open(conversation.id)
    reply = await conversation.resume_with([result(reply.waiting[1], "a")])
    assert [c.name for c in reply.waiting] == ["list_files"]
    reply = await conversation.resume_with([result(reply.waiting[0], "b")])
    assert reply.text == "Done."
    assert not valid_history(conversation.messages)


async def test_a_cancelled_wait_leaves_history_that_is_taken(
    server: ProviderServer, begin: Begin
) -> None:
    """The next message is accepted by the provider."""
    server.script([[Call("read_file", {"path": "a"}), Call("list_files")], "Hello."])
    conversation = await (await begin()).create()
    reply = await conversation.say("go", client_tools=[READ, LIST])
    await conversation.provide([result(reply.waiting[1], "none")])
    await conversation.cancel()
    assert (await conversation.say("hi", client_tools=[READ])).text == "Hello."


async def test_arguments_that_are_no_json(server: ProviderServer, begin: Begin) -> None:
    """They are passed on as they were made, and the provider takes the history behind them."""
    server.script([Call("read_file", '{"path": '), "Sorry."])
    conversation = await (await begin()).create()
    reply = await conversation.say("go", client_tools=[READ])
    assert reply.waiting[0].arguments == '{"path": '
    assert (await conversation.resume_with([result(reply.waiting[0], "bad")])).text == "Sorry."


async def test_a_client_that_sends_all_of_it(server: ProviderServer, begin: Begin) -> None:
    """Request after request with the whole history, as over a stateless protocol: one conversation,
    no branch, every message once."""
    server.script([Call("list_files"), [Say("Let me see. "), Call("weather", {"city": "a"})],
                   "Fine.", "Bye."])  # fmt: skip
    conversation = await (await begin()).create()
    history = [Message.user("go")]
    history += await _answered(conversation, history)
    call = history[-1].tool_calls[0]
    history.append(Message(Role.TOOL, (result(call, "a b"),)))
    history += await _answered(conversation, history)
    assert history[-1].text == "Let me see. Fine."
    history.append(Message.user("thanks"))
    history += await _answered(conversation, history)
    assert conversation.state.aside == ()
    assert [m.role for m in conversation.messages] == [
        Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT,
        Role.USER, Role.ASSISTANT,
    ]  # fmt: skip


async def _answered(conversation: Conversation, history: list[Message]) -> list[Message]:
    """What a client sees of the answer to its whole history."""
    aligned = await conversation.align(history)
    if aligned.results:
        reply = await conversation.resume_with(aligned.results)
    else:
        reply = await conversation.collect(await conversation.go_on(client_tools=[LIST]))
    return [Message.assistant((Text(reply.text), *reply.waiting))]
