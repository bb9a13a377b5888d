"""The client of the server, against a real one, through a bad network."""

import asyncio
import subprocess
import sys

import pytest

from palaver import Settings, TextDelta, client, tool
from palaver.client import Replaced, sync
from palaver.domain.errors import (
    ConfigurationError,
    ConnectionFailed,
    ConversationBusy,
    NotAuthenticated,
    NotFound,
    PermissionRefused,
    PromptKept,
    TurnFailure,
)
from palaver.domain.messages import Role
from palaver.domain.values import TurnOutcome
from palaver.settings import OutboxSettings, RetrySettings
from palaver.testing import Call, Cut, Pause, Say, ScriptedModel
from palaver.testing.fault_proxy import FaultProxy, Reset
from tests.server.conftest import Served, Serving

LONG = "A long answer in many small pieces, so that it can break anywhere. " * 8


def port_of(served: Served) -> int:
    return int(served.address.rpartition(":")[2])


async def test_a_conversation_as_by_the_library(serving: Serving) -> None:
    """Create, say, read, find, list, rename, delete: the same words, over HTTP."""
    served = await serving(ScriptedModel(["Four hundred.", "Yes."]))
    async with client.connect(served.address) as palaver:
        conversation = await palaver.create(title="Sums", model="")
        reply = await conversation.say("20 * 20?")
        assert (reply.text, reply.outcome) == ("Four hundred.", TurnOutcome.COMPLETED)
        said = [piece async for piece in conversation.stream("Sure?")]
        assert "".join(e.text for e in said if isinstance(e, TextDelta)) == "Yes."
        messages = await conversation.messages()
        assert [m.role for m in messages] == [Role.USER, Role.ASSISTANT] * 2
        assert [hit.message for hit in await palaver.search("hundred")] == [messages[1].id]
        await conversation.set_title("More sums")
        assert [line.title for line in (await palaver.list()).items] == ["More sums"]
        assert (await palaver.open(conversation.id)).info.title == "More sums"
        await palaver.delete(conversation.id)
        await palaver.delete(conversation.id)
        with pytest.raises(NotFound):
            await palaver.open(conversation.id)


async def test_a_call_waits_for_a_decision(serving: Serving) -> None:
    """A stream ends where a person has to decide, and the reply goes on when they have."""
    sent: list[str] = []

    @tool(effect="effect")
    async def send(to: str) -> str:
        """Send it."""
        sent.append(to)
        return "sent"

    model = ScriptedModel([[Call("send", {"to": "Ada"})], "Done."])
    served = await serving(model, tools=[send])
    async with client.connect(served.address) as palaver:
        conversation = await palaver.create()
        reply = await conversation.say("Send it to Ada.")
        assert reply.outcome is None
        assert [call.name for call in reply.waiting] == ["send"]
        assert sent == []
        done = await conversation.resume({reply.waiting[0].id: True})
        assert done.text == "Done."
        assert sent == ["Ada"]


async def test_errors_are_ours(serving: Serving) -> None:
    """What the server refuses is raised as the type that the library raises."""
    pause = Pause(until=asyncio.Event())
    settings = Settings(retry=RetrySettings(network_attempts=1, resumes=0))
    served = await serving(ScriptedModel([[pause], [Say("half"), Cut()]]), settings=settings)
    async with client.connect(served.address) as palaver:
        conversation = await palaver.create()
        await conversation.start("?")
        with pytest.raises(ConversationBusy):
            await conversation.start("again?")
        await conversation.cancel()
        with pytest.raises(TurnFailure) as failed:
            await conversation.say("once more")
        assert failed.value.info().code == "stream_truncated"
        with pytest.raises(NotFound):
            await palaver.turn("turn_nobody")
    with pytest.raises(ConfigurationError):
        async with client.connect("localhost:8642"):
            pass


async def test_keys(serving: Serving) -> None:
    """A wrong key and a narrow one are told apart."""
    served = await serving()
    narrow = (await served.key("read"))["authorization"].partition(" ")[2]
    async with client.connect(served.address, key="pal_wrong") as palaver:
        with pytest.raises(NotAuthenticated):
            await palaver.list()
    async with client.connect(served.address, key=narrow) as palaver:
        assert (await palaver.list()).items == ()
        with pytest.raises(PermissionRefused):
            await palaver.create()


async def test_a_stream_that_breaks_goes_on(serving: Serving) -> None:
    """Wherever the connection is reset, every event comes once, in order."""
    served = await serving(ScriptedModel([[Say(LONG, piece=3)]]))
    async with FaultProxy(port_of(served)) as proxy:
        async with client.connect(served.address) as palaver:
            conversation = await palaver.create()
            turn = await conversation.start("?")
            whole = [each async for each in conversation.follow(turn)]
        await proxy.set("cut", Reset(after=3_000, times=3))
        async with client.connect(proxy.url) as palaver:
            assert [each async for each in palaver.follow(turn)] == whole
        assert proxy.connections >= 3
    assert not any(isinstance(each, Replaced) for each in whole)


async def test_a_message_whose_answer_got_lost_is_said_once(serving: Serving) -> None:
    """The connection breaks before the server's word comes back: there is one turn all the same."""
    model = ScriptedModel(["Once."])
    served = await serving(model)
    async with client.connect(served.address) as direct:
        made = await direct.create()
        async with (
            FaultProxy(port_of(served)) as proxy,
            client.connect(proxy.url) as palaver,
        ):
            conversation = await palaver.open(made.id)
            await proxy.set("cut", Reset(after=0, times=1))
            assert (await conversation.say("?")).text == "Once."
        assert [m.role for m in await made.messages()] == [Role.USER, Role.ASSISTANT]
    assert len(model.requests) == 1


async def test_long_events(serving: Serving) -> None:
    """An answer whose event is longer than any buffer comes whole."""
    text = "It is long. " * 60_000
    served = await serving(ScriptedModel([Say(text)], piece=len(text)))
    async with client.connect(served.address) as palaver:
        reply = await (await palaver.create()).say("Go on.")
        assert reply.text == text


async def test_a_prompt_that_is_kept(serving: Serving) -> None:
    """What waits, by itself or behind another, is told by the same error as in the library."""
    model = ScriptedModel()
    model.when("", ConnectionFailed("nobody"))
    outbox = OutboxSettings(on_unreachable="queue", automatic=False)
    settings = Settings(outbox=outbox, retry=RetrySettings(network_attempts=1))
    served = await serving(model, settings=settings)
    async with client.connect(served.address) as palaver:
        conversation = await palaver.create()
        for text in ("One.", "Two."):
            with pytest.raises(PromptKept) as caught:
                await conversation.say(text)
            assert caught.value.prompt


async def test_nobody_there(unused_tcp_port: int) -> None:
    """A server that is not there is said to be, after some tries, in words for people."""
    address = f"http://127.0.0.1:{unused_tcp_port}"
    async with client.connect(address) as palaver:
        with pytest.raises(ConnectionFailed) as caught:
            await palaver.create()
        assert str(caught.value) == f"no answer from {address}: connection refused"
        assert "palaver serve" in caught.value.hint


def test_it_needs_no_server_packages() -> None:
    """Whoever calls a server need not have what runs one."""
    code = (
        "import palaver.client, sys; "
        "print([m for m in ('fastapi', 'uvicorn', 'starlette', 'palaver.store.sqlite') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_without_async(serving: Serving) -> None:
    """The same for code without `async`; every method has its blocking twin."""
    served = await serving(ScriptedModel(["Four hundred."]))

    def talk() -> str:
        with sync.connect(served.address) as palaver:
            conversation = palaver.create(title="Sums")
            said = list(conversation.stream("20 * 20?"))
            assert conversation.messages()[-1].text == "Four hundred."
            return "".join(e.text for e in said if isinstance(e, TextDelta))

    assert await asyncio.to_thread(talk) == "Four hundred."
    pairs: list[tuple[type, type]] = [
        (client.Client, sync.Client),
        (client.Conversation, sync.Conversation),
    ]
    for one, other in pairs:
        names = {n for n in vars(one) if not n.startswith("_") and n != "aclose"}
        assert names == {n for n in vars(other) if not n.startswith("_")} - {"info"}
