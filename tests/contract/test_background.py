"""OpenAI's responses in background mode: a broken answer is read on exactly where it broke."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

import palaver
from palaver import BlockReset, ConversationManager, TextDelta, ToolStarted, tool
from palaver.domain.messages import Flag
from palaver.providers.base import ModelInfo, ResumableStream
from palaver.settings import Clocks
from palaver.testing import Call, Line, Pause, Say, Think, valid_history
from palaver.testing.provider_server import (
    Answer,
    End,
    ProviderServer,
    Reply,
    Severed,
    continuing,
)
from tests.contract.test_cuts import AT_ONCE

TEXT = "All of it, to the last word: " + "na " * 40 + "Batman."


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with ProviderServer(piece=4) as server:
        yield server


@pytest.fixture
async def manager(server: ProviderServer) -> AsyncIterator[ConversationManager]:
    model = palaver.OpenAIManager(
        model="gpt-5-mini",
        api_key="k",
        base_url=server.openai_url,
        info=ModelInfo("openai:gpt-5-mini", 400_000, 8_192, reasoning=True),
        clocks=Clocks(),
        api="responses",
        background=True,
    )
    options: Any = {"model": model, "settings": AT_ONCE, "tools": [look]}
    async with palaver.open(":memory:", **options) as manager:
        yield manager
    await model.aclose()


ran: list[str] = []


@tool(effect="read")
async def look(at: str) -> str:
    """Look at something."""
    ran.append(at)
    return f"seen {at}"


async def test_text_is_read_on(server: ProviderServer, manager: ConversationManager) -> None:
    """Twice in one answer; the second reading begins behind the last event that came. It is one
    message, billed once."""
    server.script([Reply(TEXT, (End(20),))])
    server.background.faults = [(Severed(3_000),)]
    conversation = await manager.create()
    reply = await conversation.say("?")
    assert reply.text == conversation.messages[-1].text == TEXT
    assert conversation.messages[-1].flags == (Flag.JOINED,)
    assert [r.path.rpartition("/")[0] for r in server.journal] == ["/v1", *["/v1/responses"] * 2]
    body = server.journal[0].body
    assert (body["store"], body["background"]) == (True, True)
    assert not reply.usage.estimated
    assert server.background.cancelled == []


async def test_calls_and_thoughts_go_on(
    server: ProviderServer, manager: ConversationManager
) -> None:
    """Nothing is made anew, and no tool runs twice, wherever it breaks."""
    chance = random.Random(3)
    conversation = await manager.create(reasoning="medium")
    calls = [Call("look", {"at": "it"}), Call("look")]
    turn: list[Line] = [Think("let me see"), Say("I look. "), *calls]
    server.script([Reply(turn), "Fine."])
    await conversation.say("first, whole")
    size = server.journal[0].sent_bytes
    for _ in range(25):
        ran.clear()
        server.script([Reply(turn, (Severed(chance.randrange(2_500, size)),)), "Fine."])
        events = [event async for event in conversation.stream("?")]
        assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "I look. Fine."
        assert sum(isinstance(e, ToolStarted) for e in events) == 2
        assert not any(isinstance(e, BlockReset) for e in events)
        assert ran == ["it"]
    assert valid_history(list(conversation.messages)) == []


async def test_what_the_provider_has_forgotten_is_asked_for(
    server: ProviderServer, manager: ConversationManager
) -> None:
    """The next way of continuing is taken."""
    server.script([Reply(continuing(TEXT), (End(20),)), continuing(TEXT)])
    server.background.faults = [(Answer(404),)]
    reply = await (await manager.create()).say("?")
    assert reply.text == TEXT
    assert len(server.journal) - len(server.background.cancelled) == 3


async def test_a_cancelled_answer_is_ended_at_the_provider(
    server: ProviderServer, manager: ConversationManager
) -> None:
    """It would go on, and be paid for."""
    server.script([["Well, ", Pause(until=asyncio.Event())]])
    conversation = await manager.create()
    session = await conversation.start("?")
    async for event in session.events():
        if isinstance(event, TextDelta):
            await conversation.cancel()
    await server.wait_for(2)
    assert server.background.cancelled == [server.background.newest]


def test_only_these_streams_can_be_read_on() -> None:
    """Others are continued in other ways."""
    model = palaver.testing.ScriptedModel(["x"])
    assert not isinstance(model.stream(palaver.ModelRequest(())), ResumableStream)
