"""The whole of Palaver against a strict provider, over each of the three wires."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import pytest

import palaver
from palaver import (
    Conversation,
    MessageCompleted,
    Model,
    Reasoning,
    StreamEvent,
    TextDelta,
    ToolStarted,
    TurnFailed,
    tool,
)
from palaver.domain.errors import (
    AuthenticationFailed,
    ContextOverflow,
    Overloaded,
    ProviderError,
    ProviderTimeout,
    RateLimited,
    StreamTruncated,
)
from palaver.domain.messages import Flag
from palaver.providers.base import ModelInfo
from palaver.settings import Clocks, RetrySettings, Settings
from palaver.store.blobs import MemoryBlobStore
from palaver.store.memory import MemoryStore
from palaver.testing import Call, Cut, Fail, Line, Pause, Say, Think, valid_history
from palaver.testing.provider_server import (
    Answer,
    Broken,
    End,
    Hang,
    Linger,
    Pings,
    ProviderServer,
    Reply,
    Reset,
    Split,
    Stray,
)

WIRES = ("messages", "chat", "responses")
PATIENT = Clocks(connect_s=60.0)
"""No clock that a slow machine could let fire."""
ONCE = Settings(retry=RetrySettings(network_attempts=1, rate_limit_attempts=1, resumes=0))
Talk: TypeAlias = Any
"""`await talk(…)` begins a conversation; `talk.manager` is its manager."""


def model_of(wire: str, server: ProviderServer, clocks: Clocks, *, prefill: bool = False) -> Model:
    """An adapter for `wire` that talks to `server`."""
    if wire == "messages":
        info = ModelInfo(
            "anthropic:claude-haiku-4-5", 200_000, 8_192, reasoning=True, prefill=prefill
        )
        return palaver.AnthropicManager(
            model="claude-haiku-4-5", api_key="k", base_url=server.url, info=info, clocks=clocks
        )
    info = ModelInfo("openai:gpt-5-mini", 200_000, 8_192, reasoning=True)
    api: Any = wire
    return palaver.OpenAIManager(
        model="gpt-5-mini",
        api_key="k",
        base_url=server.openai_url,
        info=info,
        clocks=clocks,
        api=api,
    )


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with ProviderServer(piece=6) as server:
        yield server


@pytest.fixture(params=WIRES)
async def talk(request: Any, server: ProviderServer) -> AsyncIterator[Talk]:
    """`await talk(tools=…, clocks=…)` gives a new conversation over one of the wires."""
    async with AsyncExitStack() as stack:

        async def begin(*, clocks: Clocks | None = None, **options: Any) -> Conversation:
            model = model_of(request.param, server, clocks or PATIENT)
            stack.push_async_callback(model.aclose)
            options.setdefault("settings", ONCE)
            door = palaver.open(":memory:", model=model, **options)
            manager = await stack.enter_async_context(door)
            begin.manager = manager  # type: ignore[attr-defined]
            return await manager.create(reasoning="medium")

        yield begin


@tool(effect="read")
async def weather(city: str) -> str:
    """Weather in a city."""
    return f"sunny in {city}"


async def events_of(conversation: Conversation, text: str) -> list[StreamEvent]:
    return [event async for event in conversation.stream(text)]


async def test_text(server: ProviderServer, talk: Talk) -> None:
    """Text arrives whole, whatever it is made of, with usage and the provider's request id."""
    said = 'Grüße, 世界! 👩\u200d⚕️ \\ " \n• done'
    server.script([said])
    conversation = await talk()
    reply = await conversation.say("hi")
    assert reply.text == said == conversation.messages[-1].text
    assert reply.usage.input > 0
    assert reply.usage.output > 0
    assert not reply.usage.estimated


async def test_three_parallel_calls(server: ProviderServer, talk: Talk) -> None:
    """The first starts before the stream ends; results go back in call order; the turn goes on."""
    first_ran = asyncio.Event()

    @tool(effect="read")
    async def note(name: str) -> str:
        """Notes that it ran."""
        first_ran.set()
        return f"noted {name}"

    calls = [Call("note", {"name": n}) for n in "abc"]
    # The server sends the rest only when the first tool has run: a late starter would hang here.
    server.script([[Say("ok"), calls[0], calls[1], Pause(until=first_ran), calls[2]], "Done."])
    conversation = await talk(tools=[note])
    async with asyncio.timeout(60):
        events = await events_of(conversation, "go")
    starts = [i for i, e in enumerate(events) if isinstance(e, ToolStarted)]
    completed = next(i for i, e in enumerate(events) if isinstance(e, MessageCompleted))
    assert starts[0] < completed
    assert len(starts) == 3
    results = conversation.messages[2].tool_results
    assert [r.text for r in results] == ["noted a", "noted b", "noted c"]
    assert conversation.messages[-1].text == "Done."
    assert [r.error for r in server.journal] == ["", ""]


async def test_reasoning_returns_unchanged(server: ProviderServer, talk: Talk) -> None:
    """The server accepts only proofs that it issued, for exactly the text that it thought."""
    thinking: list[Line] = [Think("Let me think. 思考"), Call("weather", {"city": "Oslo"})]
    server.script([thinking, [Think("More."), Say("Sunny.")], "Again."])
    conversation = await talk(tools=[weather])
    reply = await conversation.say("weather?")
    assert reply.text == "Sunny."
    assert (await conversation.say("again?")).text == "Again."
    assert [r.error for r in server.journal] == ["", "", ""]
    blocks = [b for m in conversation.messages for b in m.content if isinstance(b, Reasoning)]
    assert blocks


async def test_abort_in_mid_text(server: ProviderServer, talk: Talk) -> None:
    """The connection closes although the answer would go on, what came is kept, and the next turn
    is accepted."""
    server.script([[Say("Once upon a time"), Pause(until=asyncio.Event())], "Fine."])
    conversation = await talk()
    session = await conversation.start("story")
    text = ""
    async for event in session.events():
        text += event.text if isinstance(event, TextDelta) else ""
        if text == "Once upon a time":
            session.cancel()
    await server.wait_for(1)
    assert server.journal[0].client_gone_at is not None
    assert conversation.messages[-1].flags == (Flag.PARTIAL,)
    assert (await conversation.say("and?")).text == "Fine."
    assert server.journal[1].error == ""


async def test_abort_in_mid_tool(server: ProviderServer, talk: Talk) -> None:
    """The running tool is cancelled, its call answered, and the next turn is accepted."""
    began = asyncio.Event()

    @tool(effect="read")
    async def forever() -> str:
        """Never ends."""
        began.set()
        await asyncio.Event().wait()
        return ""

    server.script([[Think("hm"), Say("Looking."), Call("forever"), Call("forever")], "Fine."])
    conversation = await talk(tools=[forever])
    await conversation.start("go")
    await began.wait()
    await conversation.cancel()
    assert valid_history(list(conversation.messages)) == []
    assert (await conversation.say("and?")).text == "Fine."
    assert server.journal[1].error == ""


@pytest.mark.parametrize("frames", range(1, 9))
async def test_a_clean_end_without_end_marker(
    server: ProviderServer, talk: Talk, frames: int
) -> None:
    """Wherever the body ends early, it is noticed: a cut answer is never passed off as complete."""
    server.script([Reply([Say("a long answer in many pieces " * 3)], (End(frames),)), "Whole."])
    conversation = await talk()
    with pytest.raises(ProviderError) as caught:
        await conversation.say("?")
    assert isinstance(caught.value, StreamTruncated)
    assert conversation.state.turn is None
    assert (await conversation.say("again")).text == "Whole."
    assert server.journal[1].error == ""


async def test_a_cut_at_the_very_end(server: ProviderServer, talk: Talk) -> None:
    """All text came, the end marker did not: still no complete answer."""
    server.script([[Say("everything"), Cut()]])
    events = await events_of(await talk(), "?")
    assert isinstance(events[-1], TurnFailed)


@pytest.mark.parametrize("fault", [Reset(5), Broken(5), Fail(Overloaded("busy"))])
async def test_what_breaks_in_mid_stream(server: ProviderServer, talk: Talk, fault: Any) -> None:
    """A reset, a broken event, an error event: one typed error, the partial answer kept."""
    text = Say("some words in many pieces", piece=3)
    broken: Any = [text, fault] if isinstance(fault, Fail) else Reply([text], (fault,))
    server.script([broken, "Whole."])
    conversation = await talk()
    with pytest.raises(ProviderError):
        await conversation.say("?")
    assert conversation.state.turn is None
    assert (await conversation.say("again")).text == "Whole."


@pytest.mark.parametrize("fault", [Stray(3), Split(1), Split(7), Linger()])
async def test_what_must_not_matter(server: ProviderServer, talk: Talk, fault: Any) -> None:
    """Unknown events, bytes one by one, a connection left open behind the end marker."""
    said = "Schöne Grüße 👩\u200d👧, alles gut"
    server.script([Reply([Say(said)], (fault,))])
    async with asyncio.timeout(60):
        assert (await (await talk()).say("?")).text == said


@pytest.mark.parametrize(
    "clock, clocks, reply",
    [
        ("first_token", Clocks(connect_s=60.0, first_token_s=0.15), Reply(["x"], (Hang(),))),
        (
            "idle",
            Clocks(connect_s=60.0, idle_s=0.15),
            Reply([Say("some words", piece=2)], (Pings(6),)),
        ),
    ],
    ids=["no headers", "pings only"],
)
async def test_clocks(
    server: ProviderServer, talk: Talk, clock: str, clocks: Clocks, reply: Reply
) -> None:
    """No headers: first-token. Pings only: idle, however many come."""
    server.script([reply])
    conversation = await talk(clocks=clocks)
    with pytest.raises(ProviderTimeout) as caught:
        await conversation.say("?")
    assert caught.value.clock == clock


@pytest.mark.parametrize(
    "answer, expected",
    [
        (Fail(AuthenticationFailed("wrong key")), AuthenticationFailed),
        (Fail(RateLimited("slow", retry_after_s=9_999)), RateLimited),
        (Fail(Overloaded("busy")), Overloaded),
        (Fail(ContextOverflow("too long")), ContextOverflow),
        (Answer(502, "<html><title>Bad gateway</title></html>"), ProviderError),
    ],
)
async def test_errors_before_the_stream(
    server: ProviderServer, talk: Talk, answer: Any, expected: type[ProviderError]
) -> None:
    """Each comes in the provider's own form and leaves as our type; the key is never in it."""
    server.script([answer])
    with pytest.raises(expected) as caught:
        await (await talk()).say("?")
    assert caught.value.code == caught.value.info().code
    assert caught.value.hint or caught.value.message


async def test_a_picture(server: ProviderServer, talk: Talk) -> None:
    """An attached picture reaches the model as its bytes."""
    server.script(["A dot."])
    conversation = await talk()
    png = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010806000000")
    picture = await talk.manager.attach(png, name="dot.png")
    reply = await conversation.say([palaver.Text("What is it?"), picture])
    assert reply.text == "A dot."
    assert server.journal[0].error == ""


async def test_a_schema(server: ProviderServer, talk: Talk) -> None:
    """A reply in a shape is asked for natively."""
    server.script(['{"city": "Oslo"}'])
    conversation = await talk()
    schema = {
        "title": "Place",
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    }
    reply = await conversation.say("?", output=schema)
    assert reply.output == {"city": "Oslo"}
    assert server.journal[0].error == ""


async def test_a_conversation_moves_from_wire_to_wire(server: ProviderServer) -> None:
    """Calls, results and reasoning of one provider are valid history for the next one."""
    look: list[Line] = [Think("hm"), Say("Look."), Call("weather", {"city": "Rome"})]
    server.script([look, "Done."] * 3)
    path: list[str] = []
    store, blobs, identity = MemoryStore(), MemoryBlobStore(), ""
    async with AsyncExitStack() as stack:
        for wire in WIRES:
            model = model_of(wire, server, PATIENT)
            stack.push_async_callback(model.aclose)
            door = palaver.open(model=model, tools=[weather], store=store, blobs=blobs)
            manager = await stack.enter_async_context(door)
            conversation = await (manager.open(identity) if identity else manager.create())
            identity = conversation.id
            path.append((await conversation.say(f"over {wire}")).text)
    assert path == ["Look.Done."] * 3
    assert {r.error for r in server.journal} == {""}


@pytest.mark.parametrize("wire", WIRES)
async def test_unstorable_text_of_a_model_is_flagged(server: ProviderServer, wire: str) -> None:
    """A NUL in an answer becomes U+FFFD, and the message says so."""
    server.script(["a\x00b"])
    model = model_of(wire, server, PATIENT)
    async with palaver.open(":memory:", model=model) as manager:
        conversation = await manager.create()
        assert (await conversation.say("?")).text == "a\ufffdb"
    assert conversation.messages[-1].flags == (Flag.SANITISED,)
