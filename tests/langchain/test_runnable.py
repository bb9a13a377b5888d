"""Runnables as what answers a conversation."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

pytest.importorskip("langchain_core")
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableGenerator, RunnableLambda

import palaver
from palaver import TextDelta
from palaver.domain.errors import ProviderError
from palaver.domain.messages import StopReason
from palaver.langchain import RunnableModel


def fake(*answers: str | AIMessage) -> Any:
    return GenericFakeChatModel(messages=iter(answers))


class Whole(BaseChatModel):
    """A chat model that does not stream."""

    answers: list[AIMessage]

    @property
    def _llm_type(self) -> str:
        return "whole"

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.answers.pop(0))])

    def bind_tools(self, *args: Any, **options: Any) -> Any:
        return self


async def asked(runnable: Runnable[Any, Any], *said: str, **options: Any) -> list[str]:
    """What it answers, turn by turn."""
    model = RunnableModel(runnable, **options)
    async with palaver.open(":memory:", model=model, system="Be kind.") as manager:
        conversation = await manager.create()
        return [(await conversation.say(each)).text for each in said]


async def test_a_chain_with_a_parser() -> None:
    """`prompt | model | parser` streams its text into the conversation."""
    prompt = ChatPromptTemplate([("placeholder", "{messages}"), ("human", "Rhyme!")])
    chain = prompt | fake("a b c") | StrOutputParser()
    model = RunnableModel(chain, wrap=lambda messages: {"messages": messages})
    async with palaver.open(":memory:", model=model) as manager:
        conversation = await manager.create()
        events = [event async for event in conversation.stream("hi")]
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["a", " ", "b", " ", "c"]
    assert conversation.messages[-1].stop is StopReason.END_TURN


async def test_it_sees_the_whole_conversation() -> None:
    """System prompt, earlier turns and the question arrive as LangChain messages."""

    def told(messages: list[BaseMessage]) -> str:
        return " ".join(f"{m.type}:{m.content}" for m in messages)

    first, second = await asked(RunnableLambda(told), "one", "two")
    assert first == "system:Be kind. human:one"
    assert second == f"{first} ai:{first} human:two".replace("ai:", "ai:", 1)


async def test_a_parser_of_objects() -> None:
    """Values other than text are shown once, the last one, as JSON."""
    chain = fake('{"a": [1, 2], "b": "x"}') | JsonOutputParser()
    assert await asked(chain, "?") == ['{"a":[1,2],"b":"x"}']


async def test_message_chunks_and_calls() -> None:
    """A chain that ends in a model keeps its calls: Palaver runs them."""
    call: Any = {"type": "tool_call", "id": "c1", "name": "look", "args": {"at": "x"}}
    seen: list[str] = []

    @palaver.tool(effect="read")
    async def look(at: str) -> str:
        """Looks."""
        seen.append(at)
        return "found"

    said = [AIMessage("", tool_calls=[call]), AIMessage("So")]
    chain = RunnableLambda(lambda messages: messages) | Whole(answers=said)
    model = RunnableModel(chain)
    async with palaver.open(":memory:", model=model, tools=[look]) as manager:
        reply = await (await manager.create()).say("look")
    assert (seen, reply.text) == (["x"], "So")


async def test_a_graph() -> None:
    """A LangGraph agent runs its own tools; what its models say is the answer."""
    graphs = pytest.importorskip("langchain.agents")
    from langchain_core.tools import tool

    @tool
    def look(at: str) -> str:
        """Looks."""
        return f"found {at}"

    call: Any = {"type": "tool_call", "id": "c1", "name": "look", "args": {"at": "x"}}
    answers = [AIMessage("Let me see.", tool_calls=[call]), AIMessage("There.")]
    agent = graphs.create_agent(Whole(answers=answers), [look])
    assert await asked(agent, "look") == ["Let me see.\n\nThere."]


async def test_a_failure_is_typed() -> None:
    """What a Runnable raises fails the turn with a ProviderError; the conversation goes on."""

    async def broken(stream: AsyncIterator[Any]) -> AsyncIterator[str]:
        async for _ in stream:
            yield "some"
        raise RuntimeError("no")

    with pytest.raises(ProviderError):
        await asked(RunnableGenerator(broken), "?")


async def test_closing_ends_it() -> None:
    """Cancelling the turn closes the Runnable's stream."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def endless(stream: AsyncIterator[Any]) -> AsyncIterator[AIMessageChunk]:
        async for _ in stream:
            pass
        try:
            yield AIMessageChunk(content="some")
            began.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    model = RunnableModel(RunnableGenerator(endless))
    async with palaver.open(":memory:", model=model) as manager:
        conversation = await manager.create()
        await conversation.start("?")
        await began.wait()
        await conversation.cancel()
        async with asyncio.timeout(60):
            await ended.wait()
        assert conversation.messages[-1].text == "some"
