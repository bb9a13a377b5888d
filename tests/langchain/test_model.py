"""A LangChain chat model as a Model: names, objects, ends, errors, closing."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

pytest.importorskip("langchain_core")
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.exceptions import ModelRateLimitError
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field

import palaver
from palaver.domain.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    ContentBlocked,
    ContextOverflow,
    InvalidRequest,
    Overloaded,
    PalaverError,
    ProtocolViolation,
    ProviderTimeout,
    QuotaExhausted,
    RateLimited,
    ServerFailure,
    StreamTruncated,
)
from palaver.domain.messages import Message, Reasoning, StopReason, Text, ToolCall
from palaver.domain.values import GenerationSettings, OutputSchema, Usage
from palaver.environment import Environment
from palaver.providers.base import CallCompleted, Finished, ModelEvent, ModelRequest, ToolSpec
from palaver.providers.langchain import is_chat_model
from palaver.providers.langchain.endings import usage_of
from palaver.providers.langchain.failures import translated
from palaver.providers.langchain.model import LangChainModel
from palaver.settings import Clocks
from palaver.testing import Pause, Say
from palaver.testing.provider_server import Answer, ProviderServer, Reply
from palaver.wiring import Models
from tests.langchain.conftest import WIRES, chat_model, model_of

ASK = ModelRequest((Message.user("?", id="m1"),))
LOOK = ToolSpec("look", "Looks.", {"type": "object", "properties": {"a": {"type": "integer"}}})


class Streams(BaseChatModel):
    """A chat model of no known wire that streams these chunks; an exception is raised."""

    script: list[Any]
    temperature: float | None = None
    asked: list[Any] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "streams"

    def bind_tools(self, tools: Sequence[Any], **options: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("not streamed"))])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        self.asked.append((messages, stop, options))
        for each in self.script:
            if isinstance(each, Exception):
                raise each
            if isinstance(each, float):
                await asyncio.sleep(each)
                continue
            chunk = AIMessageChunk(content=each) if isinstance(each, str) else each
            yield ChatGenerationChunk(message=chunk.model_copy())


def made(*script: Any, **options: Any) -> LangChainModel:
    return LangChainModel(Streams(script=list(script)), **options)


async def events(model: Any, request: ModelRequest = ASK) -> list[ModelEvent]:
    found: list[ModelEvent] = []
    async for batch in model.stream(request):
        found += batch
    return found


async def finished(model: Any, request: ModelRequest = ASK) -> Finished:
    last = (await events(model, request))[-1]
    assert isinstance(last, Finished)
    return last


def piece(args: str, **fields: Any) -> AIMessageChunk:
    chunk = tool_call_chunk(**{"name": None, "id": None, "index": 0, **fields}, args=args)
    return AIMessageChunk(content="", tool_call_chunks=[chunk])


def ending(**metadata: Any) -> AIMessageChunk:
    return AIMessageChunk(content="", response_metadata=metadata)


def test_recognised_without_import() -> None:
    """A chat model is told by its classes."""
    assert is_chat_model(Streams(script=[]))
    assert not is_chat_model(made())
    assert not is_chat_model("langchain:x:y")


async def test_an_end_without_reason() -> None:
    """A model that never tells a stop reason may end without; a half call is a truncation."""
    answer = await finished(made("a", "b"))
    assert (answer.content, answer.stop) == ((Text("ab"),), StopReason.END_TURN)
    for cut in ([piece('{"a', name="look", id="c")], []):
        with pytest.raises(StreamTruncated):
            await events(made(*cut))


async def test_a_model_that_told_its_end_once() -> None:
    """After one answer with a stop reason an answer without one is cut."""
    model = made("a", ending(finish_reason="STOP"))
    assert (await finished(model)).stop is StopReason.END_TURN
    model._model.script.pop()
    with pytest.raises(StreamTruncated):
        await events(model)


@pytest.mark.parametrize(
    "word, stop",
    [
        ("length", StopReason.MAX_TOKENS),
        ("MAX_TOKENS", StopReason.MAX_TOKENS),
        ("SAFETY", StopReason.CONTENT_FILTER),
        ("FinishReason.STOP", StopReason.END_TURN),
        ("something_new", StopReason.OTHER),
    ],
)
async def test_stop_reasons(word: str, stop: StopReason) -> None:
    """The words of other providers; an unknown one is not good."""
    assert (await finished(made("a", ending(finish_reason=word)))).stop is stop


async def test_calls_complete_early() -> None:
    """A closed object completes its call at once, an empty one when the answer goes on."""
    model = made(
        piece("", name="look", id="a"),
        piece('{"a": 1'),
        piece("}"),
        piece("{}", name="look", id="b", index=1),
        piece("", name="look", id="c", index=2),
        "end",
    )
    found = await events(model)
    order = [e.call.id if isinstance(e, CallCompleted) else type(e).__name__ for e in found]
    assert order == [
        *("CallStarted", "CallArguments", "CallArguments", "a"),
        *("CallStarted", "CallArguments", "b", "CallStarted", "c", "TextPart", "Finished"),
    ]
    last = found[-1]
    assert isinstance(last, Finished)
    assert last.stop is StopReason.TOOL_USE
    assert [b.arguments for b in last.content if isinstance(b, ToolCall)] == [
        '{"a": 1}',
        "{}",
        "{}",
    ]


async def test_calls_without_index() -> None:
    """Whole calls that share an index, or have none, are told apart by their ids."""
    for place in (0, None):
        model = made(*[piece(f'{{"a":{i}}}', name="look", id=i, index=place) for i in "123"])
        calls = (await finished(model)).content
        assert [(c.id, c.parsed()["a"]) for c in calls if isinstance(c, ToolCall)] == [
            ("1", 1),
            ("2", 2),
            ("3", 3),
        ]


async def test_other_reasoning_goes_back() -> None:
    """Blocks of an unknown provider are put together and go back to it as they came."""
    thought = {"type": "reasoning", "index": 0}
    model = made(
        AIMessageChunk(content=[{**thought, "reasoning": "so "}]),
        AIMessageChunk(content=[{**thought, "reasoning": "so", "extras": {"signature": "s"}}]),
        AIMessageChunk(content=[{"type": "text", "text": "x", "index": 1}]),
    )
    answer = await finished(model)
    assert isinstance(answer.content[0], Reasoning)
    assert answer.content[0].text == "so so"
    said = Message.assistant(answer.content, id="m2")
    request = ModelRequest((*ASK.messages, said, Message.user("and?", id="m3")))
    await events(model, request)
    sent = model._model.asked[-1][0][1].content
    assert sent[0] == {"type": "reasoning", "reasoning": "so so", "extras": {"signature": "s"}}


@pytest.mark.looptime
async def test_clocks() -> None:
    """Silence before the first chunk and between chunks; chunks without content do not count."""
    clocks = Clocks(first_token_s=0.05, idle_s=0.05)
    nothing = AIMessageChunk(content="")
    for script, clock in (([0.4, "x"], "first_token"), (["x", *[0.02, nothing] * 20], "idle")):
        with pytest.raises(ProviderTimeout) as caught:
            await events(made(*script, clocks=clocks))
        assert caught.value.clock == clock


async def test_settings_and_schemas() -> None:
    """Unknown models get what their class has a field for; a schema is refused clearly."""
    model = made("a")
    settings = GenerationSettings(temperature=0.5, top_p=0.5, stop=("x",))
    await events(model, ModelRequest(ASK.messages, settings=settings))
    assert model._model.asked[-1][1:] == (["x"], {"temperature": 0.5})
    with pytest.raises(InvalidRequest, match="schema"):
        await events(model, ModelRequest(ASK.messages, output=OutputSchema("r", {})))


def test_usage_categories_do_not_overlap() -> None:
    """Cache and reasoning are taken out of the sums, whatever the service tier calls them."""
    read = {"cache_read": 10, "cache_creation": 0, "ephemeral_5m_input_tokens": 5}
    counts = {"input_tokens": 20, "output_tokens": 7, "total_tokens": 27}
    written = {"output_token_details": {"reasoning": 3}}
    assert usage_of({**counts, "input_token_details": read, **written}) == Usage(5, 7, 10, 5, 3)
    tier = {"flex_cache_read": 10, "flex": 10}
    assert usage_of({**counts, "input_token_details": tier}) == Usage(10, 7, 10)
    assert usage_of({**counts, "total_tokens": 30}) == Usage(20, 10, reasoning=3)


def named(name: str, base: type[Exception] = Exception, **fields: Any) -> Exception:
    """An exception as an SDK has it, without the SDK."""
    error: Exception = type(name, (base,), fields)("it said no")
    return error


OVERFLOW = {"code": "context_length_exceeded", "message": "This model's maximum context length"}


@pytest.mark.parametrize(
    "error, in_stream, expected",
    [
        (named("APIStatusError", body={"error": {"type": "overloaded_error"}}), True, Overloaded),
        (named("BadRequestError", body=OVERFLOW, status_code=400), False, ContextOverflow),
        (named("RateLimitError", body={"code": "insufficient_quota"}, status_code=429), False,
         QuotaExhausted),
        (named("Odd", status_code=401), False, AuthenticationFailed),
        (named("ContextOverflowError", status_code=400), False, ContextOverflow),
        (ModelRateLimitError("slow"), False, RateLimited),
        (ValueError("rate_limit_exceeded: slow down"), True, RateLimited),
        (ValueError("code='server_error' message='oops'"), True, ServerFailure),
        (ValueError("No generation chunks were returned"), False, StreamTruncated),
        (ValueError("content_filter: blocked"), True, ContentBlocked),
        (named("RemoteProtocolError", type("TransportError", (Exception,), {})), True,
         StreamTruncated),
        (named("ConnectError", type("TransportError", (Exception,), {})), False, ConnectionFailed),
        (named("ConnectTimeout", TimeoutError), False, ProviderTimeout),
        (named("StreamChunkTimeoutError", TimeoutError), True, ProviderTimeout),
        (ConnectionResetError(), True, StreamTruncated),
        (json.JSONDecodeError("x", "y", 0), True, ProtocolViolation),
        (KeyError("content"), True, ProtocolViolation),
        (TypeError("Could not resolve authentication method"), False, AuthenticationFailed),
        (ValueError("cannot make that"), False, InvalidRequest),
    ],
)  # fmt: skip
def test_errors(error: Exception, in_stream: bool, expected: type[PalaverError]) -> None:
    """Whatever is raised becomes one of ours, told by names, status and body."""
    assert type(translated(error, in_stream=in_stream, provider="x")) is expected


def test_a_flaw_is_not_retried() -> None:
    """An error of the adapter itself would come again; unreadable JSON may not."""
    flaw = translated(KeyError("content"), in_stream=True, provider="x")
    broken = translated(json.JSONDecodeError("x", "y", 0), in_stream=True, provider="x")
    assert not flaw.info().retryable
    assert broken.info().retryable


async def test_a_failure_of_the_model() -> None:
    """Typed, with what came before it kept."""
    model = made("some", ValueError("overloaded: busy"))
    stream = model.stream(ASK)
    with pytest.raises(Overloaded) as caught:
        async for _ in stream:
            pass
    assert caught.value.in_stream
    assert stream.partial() == (Text("some"),)


@pytest.mark.parametrize("wire", WIRES)
async def test_one_attempt_is_one_request(server: ProviderServer, wire: str) -> None:
    """The SDK does not retry; the provider's wish to wait is passed on."""
    answer = Answer(429, {"error": {"message": "slow"}}, {"retry-after": "7"})
    server.script([Reply(["x"], (answer,)), "second"])
    model = model_of(wire, server)
    with pytest.raises(RateLimited) as caught:
        await events(model)
    assert caught.value.retry_after_s == 7.0
    assert len(server.journal) == 1
    await model.aclose()


@pytest.mark.parametrize("wire", WIRES)
async def test_closing_from_outside(server: ProviderServer, wire: str) -> None:
    """`aclose` from another task ends the reader and the connection."""
    server.script([[Say("some"), Pause(until=asyncio.Event())]])
    model = model_of(wire, server)
    stream = model.stream(ASK)
    await anext(aiter(stream))

    async def read() -> None:
        async for _ in stream:
            pass

    reader = asyncio.create_task(read())
    await asyncio.sleep(0.02)
    await stream.aclose()
    with pytest.raises(ConnectionFailed):
        await reader
    await server.wait_for(1)
    assert server.journal[0].client_gone_at is not None
    await stream.aclose()
    await model.aclose()


@pytest.mark.parametrize("wire", WIRES)
async def test_the_object_is_left_alone(server: ProviderServer, wire: str) -> None:
    """A given chat model is not changed, and works on after our copy was closed."""
    given = chat_model(wire, server)
    before = given.model_dump()
    server.script(["one"])
    model = LangChainModel(given)
    assert model.name.startswith("langchain:")
    assert (await finished(model)).content == (Text("one"),)
    await model.aclose()
    assert given.model_dump() == before
    assert given.max_retries != 0


def environment(server: ProviderServer, tmp_path: Any) -> Environment:
    return Environment(
        home=tmp_path,
        model="",
        keys={"anthropic": "k"},
        addresses={"anthropic": server.url, "openai": server.openai_url},
    )


@pytest.mark.parametrize("name", ["anthropic:claude-haiku-4-5", "openai:gpt-5-mini"])
async def test_by_name(server: ProviderServer, tmp_path: Any, name: str) -> None:
    """`langchain:provider:model` works as a model's name, with the provider's key and address."""
    server.script(["Hello."])
    model = f"langchain:{name}"
    found = environment(server, tmp_path)
    async with palaver.open(":memory:", model=model, environment=found) as manager:
        reply = await (await manager.create()).say("hi")
    assert reply.text == "Hello."
    assert reply.cost
    assert server.journal[0].error == ""


@pytest.mark.parametrize(
    "name, told",
    [
        ("langchain:anthropic:x", "ANTHROPIC_API_KEY"),
        ("langchain:mistralai:x", "pip install langchain-mistralai"),
        ("langchain:nobody:x", "provider"),
        ("langchain:x", "provider:model"),
        ("langchain:", "provider:model"),
    ],
)
def test_what_cannot_be_made(tmp_path: Any, name: str, told: str) -> None:
    """A missing key or package and a wrong name are said at once, with what to do."""
    models = Models(Environment(home=tmp_path, model=""), default="offline")
    with pytest.raises(ConfigurationError) as caught:
        models(name)
    assert told in f"{caught.value.message} {caught.value.hint}"


async def test_an_object_in_open() -> None:
    """`palaver.open(model=…)` takes a chat model; tools are bound to it."""
    given = Streams(script=["Hi."])
    async with palaver.open(":memory:", model=given) as manager:
        assert (await (await manager.create()).say("?")).text == "Hi."
        assert [m.type for m in given.asked[-1][0]] == ["human"]


async def test_a_model_without_tools() -> None:
    """A class that cannot bind tools is told apart from a broken one."""

    class Bare(Streams):
        def bind_tools(self, tools: Sequence[Any], **options: Any) -> Any:
            raise NotImplementedError

    model = LangChainModel(Bare(script=["x"]))
    with pytest.raises(InvalidRequest, match="tools"):
        await events(model, ModelRequest(ASK.messages, tools=(LOOK,)))


@pytest.mark.parametrize("wire", WIRES)
async def test_what_is_asked(server: ProviderServer, wire: str) -> None:
    """Settings, tools and the choice among them reach the provider in its own words."""
    server.script(["x"])
    model = model_of(wire, server)
    settings = GenerationSettings(max_tokens=50, tool_choice="look")
    await events(model, ModelRequest(ASK.messages, "Be kind.", (LOOK,), settings))
    body = server.journal[0].body
    assert list(server.journal[0].tools) == ["look"]
    assert "Be kind." in json.dumps(body)
    limits = {"max_tokens", "max_completion_tokens", "max_output_tokens"} & set(body)
    assert [body[name] for name in limits] == [50]
    assert "look" in json.dumps(body["tool_choice"])
    assert (body.get("store") is False) == (wire == "langchain-responses")
    await model.aclose()
