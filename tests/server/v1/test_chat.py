"""Chat completions, through the `openai` SDK as it is."""

import asyncio
from typing import Any

import pytest

from palaver.domain.access import KeyLimits
from palaver.domain.errors import RateLimited
from palaver.domain.messages import StopReason
from palaver.domain.values import Usage
from palaver.settings import AccessSettings, Settings
from palaver.testing import Call, Pause, Report, Say, ScriptedModel, Stop, Think
from tests.server.v1.conftest import Connecting

openai = pytest.importorskip("openai")

SMELL = {"type": "smell"}
TEXT = "Grüße, 世界! 👩‍⚕️ and some more text"


def ask(text: str = "hi") -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


async def test_a_question_is_answered(connected: Connecting) -> None:
    """With text, usage, finish reason and the model that answered."""
    usage = Usage(input=5, output=3, cache_read=2)
    to = await connected(ScriptedModel([[TEXT, Report(usage)]]))
    answer = await to.client.chat.completions.create(model="default", messages=ask())
    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == (TEXT, "stop")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 3)
    assert answer.usage.prompt_tokens_details.cached_tokens == 2
    assert (answer.model, answer.object) == ("scripted:model", "chat.completion")
    assert answer.id.startswith("chatcmpl-")


async def test_an_answer_is_streamed(connected: Connecting) -> None:
    """In chunks with one id, of which the last but one tells the usage where it is wanted."""
    to = await connected(ScriptedModel([[Think("hm"), TEXT], TEXT]))
    stream = await to.client.chat.completions.create(
        model="", messages=ask(), stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == TEXT
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[1].choices[0].delta.reasoning_content == "hm"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens > 0
    assert len({c.id for c in chunks}) == 1
    plain = await to.client.chat.completions.create(model="", messages=ask(), stream=True)
    assert all([chunk.usage is None and chunk.choices async for chunk in plain])


async def test_a_limit_is_told(connected: Connecting) -> None:
    """An answer that was cut by its limit ends with `length`."""
    to = await connected(ScriptedModel([[TEXT, Stop(StopReason.MAX_TOKENS)]]))
    answer = await to.client.chat.completions.create(model="", messages=ask(), max_tokens=3)
    assert answer.choices[0].finish_reason == "length"


async def test_failures_have_a_status(connected: Connecting) -> None:
    """What a provider refuses before anything was said is an error, streamed or not."""
    limited = RateLimited("too much", retry_after_s=700.0)
    to = await connected(ScriptedModel([limited, limited]))
    for stream in (False, True):
        with pytest.raises(openai.RateLimitError) as caught:
            await to.client.chat.completions.create(model="", messages=ask(), stream=stream)
        assert caught.value.code == "rate_limit_exceeded"
        assert caught.value.response.headers["retry-after"] == "700"


async def test_models(connected: Connecting) -> None:
    """Are listed, the server's own first, and found by their short names."""
    to = await connected(ScriptedModel())
    names = [model.id async for model in to.client.models.list()]
    assert names == ["scripted:model", "offline"]
    assert (await to.client.models.retrieve("model")).id == "scripted:model"
    with pytest.raises(openai.NotFoundError) as caught:
        await to.client.models.retrieve("langchain:os:path")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    "wrong, param",
    [
        ({"n": 2}, "n"),
        ({"temperature": "warm"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"messages": []}, "messages"),
        ({"logprobs": True}, "logprobs"),
        ({"messages": [{"role": "user", "content": [SMELL]}]}, "messages[0].content[0].type"),
    ],
    ids=["n", "type", "range", "messages", "logprobs", "part"],
)  # fmt: skip
async def test_wrong_requests(connected: Connecting, wrong: dict[str, Any], param: str) -> None:
    """Are 400, and the parameter is named."""
    to = await connected(ScriptedModel())
    with pytest.raises(openai.BadRequestError) as caught:
        await to.client.chat.completions.create(model="", messages=ask(), extra_body=wrong)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


async def test_who_may(connected: Connecting) -> None:
    """A wrong key is 401, one that lacks a scope 403, and no such path 404, in OpenAI's shape."""
    to = await connected(ScriptedModel())
    reads = await to.served.key("read")
    with pytest.raises(openai.AuthenticationError) as refused:
        await to.client.models.list()
    assert refused.value.code == "invalid_api_key"
    token = reads["authorization"].partition(" ")[2]
    reader = to.client.with_options(api_key=token)
    assert [model.id async for model in reader.models.list()]
    with pytest.raises(openai.PermissionDeniedError):
        await reader.chat.completions.create(model="", messages=ask())
    with pytest.raises(openai.NotFoundError) as missing:
        await reader.get("/nowhere", cast_to=object)
    assert missing.value.code == "not_found"


async def test_a_broken_answer_is_no_whole_one(connected: Connecting) -> None:
    """Where a turn fails in the middle the stream ends with an error."""
    to = await connected(ScriptedModel([[Say("half a"), RateLimited("gone", retry_after_s=9e3)]]))
    stream = await to.client.chat.completions.create(model="", messages=ask(), stream=True)
    said: list[str] = []

    async def read() -> None:
        async for chunk in stream:
            said.append(chunk.choices[0].delta.content)  # noqa: PERF401 - what came counts, too

    with pytest.raises(openai.APIError, match="Gone"):
        await read()
    assert "".join(said) == "half a"


async def test_all_that_is_sent_is_of_the_sdks_types(connected: Connecting) -> None:
    """Each answer and each chunk is what the SDK says it is, strictly."""
    types = pytest.importorskip("openai.types.chat")
    turn: list[Any] = [Think("hm"), Say("Let me look."), Call("weather", {"city": "Oslo"}, piece=4)]
    to = await connected(ScriptedModel([turn, turn, "Text.", "Text."]))
    tools = [{"type": "function", "function": {"name": "weather"}}]
    for more in ({"tools": tools}, {}):
        asked: dict[str, Any] = {"model": "", "messages": ask(), **more}
        async with to.served.http.post("/v1/chat/completions", json=asked) as got:
            types.ChatCompletion.model_validate_json(await got.read(), strict=True)
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
        async with to.served.http.post("/v1/chat/completions", json=asked) as got:
            assert got.headers["content-type"].startswith("text/event-stream")
            events = (await got.text()).removesuffix("\n\n").split("\n\n")
        assert events.pop() == "data: [DONE]"
        for event in events:
            data = event.removeprefix("data: ")
            types.ChatCompletionChunk.model_validate_json(data, strict=True)
    async with to.served.http.get("/v1/models") as got:
        page = await got.json()
    models = pytest.importorskip("openai.types").Model
    assert [models.model_validate(each, strict=True).id for each in page["data"]]


async def test_limits_are_told(connected: Connecting) -> None:
    """What is left of them in headers that clients know; what is over, as 429 with the time to come
    back. What nobody keeps is counted as all else is."""
    usage = Usage(input=100, output=20)
    limits = KeyLimits(requests_per_minute=3, tokens_per_minute=1_000)
    settings = Settings(access=AccessSettings(limits=limits))
    to = await connected(ScriptedModel([["hi", Report(usage)]]), settings=settings)
    raw = await to.client.chat.completions.with_raw_response.create(model="", messages=ask())
    assert raw.headers["x-ratelimit-limit-requests"] == "3"
    assert raw.headers["x-ratelimit-remaining-requests"] == "2"
    listed = await to.client.models.with_raw_response.list()
    assert listed.headers["x-ratelimit-remaining-tokens"] == "880"
    await to.client.models.list()
    with pytest.raises(openai.RateLimitError) as caught:
        await to.client.models.list()
    assert caught.value.code == "rate_limit_exceeded"
    assert int(caught.value.response.headers["retry-after"]) > 0
    assert len(to.server.tenants.open_managers()) == 1


async def test_a_server_that_ends(connected: Connecting) -> None:
    """A stream that it has to close ends with an error, so that nobody takes it for a whole one."""
    hang = asyncio.Event()
    to = await connected(ScriptedModel([[Say("Begun"), Pause(until=hang)]]))
    stream = await to.client.chat.completions.create(model="", messages=ask(), stream=True)
    chunks = aiter(stream)
    await anext(chunks)
    draining = asyncio.ensure_future(to.server.drain())

    async def read() -> None:
        async for _ in chunks:
            pass

    with pytest.raises(openai.APIError, match="closed the stream"):
        await read()
    await draining


async def test_no_room_for_a_stream(connected: Connecting) -> None:
    """A stream that the server does not take is 429, and its turn does not run on."""
    hang = asyncio.Event()
    model = ScriptedModel([[Say("Begun"), Pause(until=hang)]] * 2)
    to = await connected(model, streams_per_caller=1)
    first = await to.client.chat.completions.create(model="", messages=ask(), stream=True)
    with pytest.raises(openai.RateLimitError):
        await to.client.chat.completions.create(model="", messages=ask(), stream=True)
    assert model.streams[1].is_closed
    assert len(to.server.tenants.open_managers()) == 2
    await first.close()
