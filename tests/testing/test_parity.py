"""One script, said by the scripted model and by the provider server to the native adapters."""

from collections.abc import AsyncIterator, Callable

import pytest

from palaver.domain.errors import (
    ContextOverflow,
    Overloaded,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    ServerFailure,
)
from palaver.domain.messages import Message, Role, StopReason, Text, ToolResult
from palaver.domain.values import GenerationSettings
from palaver.providers.anthropic import AnthropicManager
from palaver.providers.base import Finished, Model, ModelInfo, ModelRequest, ToolSpec
from palaver.providers.openai import OpenAIManager
from palaver.settings import Clocks
from palaver.testing import Call, Cut, Fail, Line, ProviderServer, Say, ScriptedModel, Stop, Think
from palaver.testing.provider_server import Reply, Split

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TOOLS = (ToolSpec("add", "adds", SCHEMA),)
THINKING = GenerationSettings(max_tokens=8000, reasoning="low")
TURN: list[Line] = [Think("hm"), Say("Grüße 👩‍⚕️"), Call("add", {"a": 1}), Call("add", {"a": 2})]


def claude(server: ProviderServer) -> Model:
    info = ModelInfo("anthropic:claude-haiku-4-5", window=200_000, max_output=9000, reasoning=True)
    return AnthropicManager(model="claude-haiku-4-5", api_key="k", info=info, base_url=server.url)


def responses(server: ProviderServer) -> Model:
    info = ModelInfo("openai:gpt-5-mini", window=200_000, max_output=9000, reasoning=True)
    return OpenAIManager(
        model="gpt-5-mini",
        api_key="k",
        info=info,
        base_url=server.openai_url,
        api="responses",
        clocks=Clocks(),
    )


def chat(server: ProviderServer) -> Model:
    info = ModelInfo("openai:gpt-4o-mini", window=200_000, max_output=9000)
    return OpenAIManager(
        model="gpt-4o-mini",
        api_key="k",
        info=info,
        base_url=server.openai_url,
        api="chat",
        clocks=Clocks(),
    )


adapters = pytest.mark.parametrize("make", [claude, responses, chat])


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with ProviderServer(piece=5) as server:
        yield server


async def finished(model: Model, *messages: Message) -> Finished:
    settings = THINKING if model.info.reasoning else GenerationSettings(max_tokens=8000)
    request = ModelRequest(messages, system="Be brief.", tools=TOOLS, settings=settings)
    events = [event async for batch in model.stream(request) for event in batch]
    assert isinstance(events[-1], Finished)
    return events[-1]


def said(end: Finished) -> tuple[str, list[tuple[str, str]], StopReason]:
    message = Message(Role.ASSISTANT, end.content)
    return message.text, [(c.name, c.arguments) for c in message.tool_calls], end.stop


@adapters
async def test_same_content_and_valid_round_trip(
    server: ProviderServer, make: Callable[[ProviderServer], Model]
) -> None:
    """Adapters read what the scripted model says; what they send back is accepted."""
    turns: list[list[Line]] = [TURN, ["done", Stop(StopReason.MAX_TOKENS)]]
    server.script([Reply(turns[0], (Split(7),)), turns[1]])
    user = Message.user("go")
    seen = []
    model: Model
    for model in (ScriptedModel(turns), make(server)):
        first = await finished(model, user)
        reply = Message(Role.ASSISTANT, first.content, stop=first.stop, model=model.name)
        answers = tuple(ToolResult(c.id, c.name, (Text("3"),)) for c in reply.tool_calls)
        second = await finished(model, user, reply, Message(Role.TOOL, answers))
        seen.append((said(first), said(second)))
        await model.aclose()
    assert seen[0] == seen[1]
    assert [record.status for record in server.journal] == [200, 200]


@adapters
@pytest.mark.parametrize(
    "turn",
    [
        Overloaded("x"),
        RateLimited("x", retry_after_s=2),
        ContextOverflow("x"),
        QuotaExhausted("x"),
        ServerFailure("x"),
        ["half", Fail(ServerFailure("x"))],
        ["half", Fail(RateLimited("x"))],
        ["half", Cut()],
    ],
    ids=repr,
)
async def test_same_failures(
    server: ProviderServer,
    make: Callable[[ProviderServer], Model],
    turn: ProviderError | list[Line],
) -> None:
    """A scripted failure is the same typed error through the wire, and knows where it happened."""
    server.script([turn])
    seen = []
    model: Model
    for model in (ScriptedModel([turn]), make(server)):
        with pytest.raises(ProviderError) as caught:
            await finished(model, Message.user("go"))
        error = caught.value
        seen.append((type(error), error.in_stream, error.retry_after_s))
        await model.aclose()
    assert seen[0] == seen[1]
