"""`OpenAIManager` over a real connection: what the engine sees of both APIs."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
from aiohttp import test_utils, web

from palaver.domain.errors import (
    AuthenticationFailed,
    ConfigurationError,
    InvalidRequest,
    ProviderError,
    ServerFailure,
    StreamTruncated,
)
from palaver.domain.messages import Message, Text, ToolCall
from palaver.domain.values import GenerationSettings, Usage
from palaver.providers.base import Finished, Model, ModelEvent, ModelInfo, ModelRequest, TextPart
from palaver.providers.openai import OpenAIManager
from palaver.providers.transport import Transport
from palaver.settings import Clocks
from tests.providers.replay import Answer, needs_data, serving, streamed, wire

KEY = "sk-very-secret-0123456789"
HI = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
REQUEST = ModelRequest((Message.user("Hello"),))


TRANSPORTS: list[Transport] = []


@pytest.fixture(autouse=True)
async def _closed() -> AsyncIterator[None]:
    yield
    while TRANSPORTS:
        await TRANSPORTS.pop().aclose()


def manager(
    url: str, api: Literal["auto", "chat", "responses"] = "auto", **fields: Any
) -> OpenAIManager:
    TRANSPORTS.append(Transport(proxy=lambda _: None))
    return OpenAIManager(
        model="gpt-x",
        api_key=KEY,
        base_url=f"{url}/v1",
        info=ModelInfo("openai:gpt-x"),
        clocks=Clocks(),
        api=api,
        transport=TRANSPORTS[-1],
        **fields,
    )


async def collect(model: OpenAIManager, into: list[ModelEvent] | None = None) -> list[ModelEvent]:
    events: list[ModelEvent] = [] if into is None else into
    async for batch in model.stream(REQUEST):
        events += batch
    return events


async def test_is_a_model() -> None:
    """It fits the protocol, picks the API by address, and shows no key."""
    info, clocks = ModelInfo("openai:gpt-x"), Clocks()
    model: Model = OpenAIManager(model="gpt-x", api_key=KEY, info=info, clocks=clocks)
    assert (model.name, model.info) == ("openai:gpt-x", info)
    assert "responses" in repr(model)
    assert "chat" in repr(manager("http://127.0.0.1:1"))
    assert KEY not in repr(model)
    assert not any(KEY in str(value) for value in vars(model.stream(REQUEST)).values())
    with pytest.raises(ConfigurationError):
        OpenAIManager(model="x", api_key=KEY, info=info, clocks=clocks, base_url="nonsense")


async def test_chat_turn() -> None:
    """Text comes, the message finishes, id and headers are those of the wire."""
    answer = Answer(HI + STOP + DONE)
    answer.headers["x-request-id"] = "req_1"
    async with serving(answer) as url:
        model = manager(url, organization="org", project="proj")
        stream = model.stream(REQUEST)
        events = [event async for batch in stream for event in batch]
        assert "".join(e.text for e in events if isinstance(e, TextPart)) == "Hi"
        last = events[-1]
        assert isinstance(last, Finished)
        assert (last.content, last.request_id) == ((Text("Hi"),), "req_1")
        assert stream.request_id == "req_1"
        await stream.aclose()
        await stream.aclose()
    sent, body = answer.seen[0]
    assert sent["authorization"] == f"Bearer {KEY}"
    assert (sent["openai-organization"], sent["openai-project"]) == ("org", "proj")
    assert json.loads(body)["messages"] == [{"role": "user", "content": "Hello"}]


@needs_data
@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_recordings_through_a_connection(api: Literal["chat", "responses"]) -> None:
    """Some recordings with calls, over HTTP; one connection serves all of them."""
    chosen = [r for r in streamed(f"recordings/openai_{api}") if r["tool_calls"]][:8]
    answer = Answer()
    async with serving(answer) as url:
        model = manager(url, api)
        for seed, record in enumerate(chosen):
            answer.body, answer.seed = wire(record), seed
            last = (await collect(model))[-1]
            assert isinstance(last, Finished)
            assert any(isinstance(block, ToolCall) for block in last.content)


async def test_truncation_is_never_an_answer() -> None:
    """A clean end without end marker is an error, and what had come is kept."""
    answer = Answer(HI)
    async with serving(answer) as url:
        model = manager(url)
        stream = model.stream(REQUEST)
        with pytest.raises(StreamTruncated) as raised:
            [batch async for batch in stream]
        assert raised.value.in_stream
        assert raised.value.provider == "openai"
        assert stream.partial() == (Text("Hi"),)
        # The server is lenient about [DONE] until it has once sent it.
        answer.body = HI + STOP
        assert isinstance((await collect(model))[-1], Finished)
        answer.body = HI + STOP + DONE
        assert isinstance((await collect(model))[-1], Finished)
        answer.body = HI + STOP
        with pytest.raises(StreamTruncated):
            await collect(model)


async def test_reset_in_mid_answer() -> None:
    """A broken connection is a truncation too."""
    answer = Answer(HI * 3)
    answer.reset = True
    async with serving(answer) as url:
        model = manager(url)
        with pytest.raises(ProviderError) as raised:
            await collect(model)
        assert raised.value.can_retry


async def test_abort_closes_the_connection() -> None:
    """`aclose` in mid-answer reaches the server; the text so far is kept."""
    answer = Answer(HI)
    answer.hang, answer.pings = True, b": ping\n\n"
    async with serving(answer) as url:
        model = manager(url)
        stream = model.stream(REQUEST)
        async for _ in stream:
            await stream.aclose()
            break
        await asyncio.wait_for(answer.gone.wait(), 60)
        assert stream.partial() == (Text("Hi"),)


async def test_text_before_an_error_is_shown() -> None:
    """What came in the same read as the error is delivered before it is raised."""
    error = b'event: error\ndata: {"error":{"message":"boom","code":"server_error"}}\n\n'
    answer = Answer(HI + error)
    async with serving(answer) as url:
        model = manager(url)
        events: list[ModelEvent] = []
        with pytest.raises(ServerFailure, match="boom") as raised:
            await collect(model, events)
        assert events == [TextPart("Hi")]
        assert raised.value.in_stream


async def test_refusals_hide_the_key() -> None:
    """An HTTP error is typed and does not repeat the key, even if the server does."""
    answer = Answer(json.dumps({"error": {"message": f"Incorrect API key: {KEY}"}}).encode())
    answer.status = 401
    async with serving(answer) as url:
        model = manager(url)
        with pytest.raises(AuthenticationFailed) as raised:
            await collect(model)
        assert KEY not in str(raised.value)
        assert not raised.value.in_stream


@asynccontextmanager
async def picky(refusals: dict[str, str], bodies: list[dict[str, Any]]) -> AsyncIterator[str]:
    """A server that refuses requests with one of these words in them, and notes all bodies."""

    async def handle(request: web.Request) -> web.Response:
        text = await request.text()
        bodies.append(json.loads(text))
        for word, message in refusals.items():
            if word in text:
                return web.json_response({"error": {"message": message}}, status=400)
        answer = HI + STOP + DONE
        return web.Response(body=answer, content_type="text/event-stream")

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    server = test_utils.TestServer(app)
    await server.start_server()
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()


async def test_refused_options_are_left_out() -> None:
    """A server that knows an option not is asked again without it, and never with it later."""
    bodies: list[dict[str, Any]] = []
    refusals = {
        "stream_options": "Unrecognized request argument supplied: stream_options",
        "max_tokens": "Unsupported parameter: 'max_tokens' is not supported with this model. "
        "Use 'max_completion_tokens' instead.",
    }
    request = ModelRequest(REQUEST.messages, settings=GenerationSettings(max_tokens=9))
    async with picky(refusals, bodies) as url:
        model = manager(url)
        for _ in range(2):
            last = [batch async for batch in model.stream(request)][-1][-1]
            assert isinstance(last, Finished)
    assert len(bodies) == 4
    assert bodies[2] == bodies[3]
    assert bodies[3].keys() == {"model", "stream", "messages", "max_completion_tokens"}


async def test_other_refusals_are_raised() -> None:
    """Any other 400 is the caller's; one request was made."""
    bodies: list[dict[str, Any]] = []
    async with picky({"model": "bad model"}, bodies) as url:
        model = manager(url)
        with pytest.raises(InvalidRequest, match="bad model"):
            await collect(model)
    assert len(bodies) == 1


async def test_plain_completion() -> None:
    """A server that does not stream is read all the same."""
    message = {"content": "Hi"}
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    body = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
    answer = Answer(json.dumps(body).encode())
    answer.headers = {"content-type": "application/json"}
    async with serving(answer) as url:
        model = manager(url)
        last = (await collect(model))[-1]
        assert isinstance(last, Finished)
        assert (last.content, last.usage) == ((Text("Hi"),), Usage(input=3, output=1))
