"""The adapter against the strict provider server: conversations as a provider sees them."""

from collections.abc import AsyncIterator

import pytest

from palaver.domain.errors import Overloaded, ProviderError, RateLimited, StreamTruncated
from palaver.domain.ids import CallId, MessageId
from palaver.domain.messages import Message, Reasoning, Role, StopReason, Text, ToolResult
from palaver.domain.values import GenerationSettings
from palaver.providers.anthropic import AnthropicManager
from palaver.providers.base import Finished, ModelInfo, ModelRequest, TextPart, ToolSpec
from palaver.testing import Call, Fail, ProviderServer, Say, Think
from palaver.testing.script import Cut

ADD = ToolSpec(
    "add",
    "Adds.",
    {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
)
THINKING = GenerationSettings(reasoning="medium", max_tokens=20_000)


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with ProviderServer(piece=5) as server:
        yield server


@pytest.fixture(params=["claude-haiku-4-5", "claude-sonnet-4-5"])
async def model(
    server: ProviderServer, request: pytest.FixtureRequest
) -> AsyncIterator[AnthropicManager]:
    made = AnthropicManager(
        model=request.param,
        api_key="k",
        base_url=server.url,
        info=ModelInfo(f"anthropic:{request.param}"),
    )
    yield made
    await made.aclose()


async def finished(model: AnthropicManager, *history: Message, **fields: object) -> Finished:
    request = ModelRequest(history, **fields)  # type: ignore[arg-type]
    events = [event async for batch in model.stream(request) for event in batch]
    assert isinstance(events[-1], Finished)
    return events[-1]


def kept(done: Finished, id: str = "a1") -> Message:
    return Message(Role.ASSISTANT, done.content, MessageId(id), model="anthropic:x", stop=done.stop)


async def test_a_conversation_with_thinking_and_tools(
    server: ProviderServer, model: AnthropicManager
) -> None:
    """Thinking, three parallel calls and their results are accepted again, turn after turn."""
    calls = [Call("add", {"a": n, "b": 1}) for n in range(3)]
    server.script(
        [[Think("hm"), Think("", redacted=True), Say("I add. 👩‍⚕️"), *calls], "Done.", "Yes."]
    )
    hi = Message.user("hi", id="u1")
    first = await finished(model, hi, tools=(ADD,), settings=THINKING, system="Be brief.")
    assert first.stop is StopReason.TOOL_USE
    answer = kept(first)
    assert isinstance(answer.content[0], Reasoning)
    assert answer.content[0].signature
    assert [call.parsed() for call in answer.tool_calls] == [{"a": n, "b": 1} for n in range(3)]
    assert answer.text == "I add. 👩‍⚕️"
    results = Message(
        Role.TOOL,
        tuple(
            ToolResult(CallId(call.id), call.name, (Text("3"),), failed=number == 1)
            for number, call in enumerate(answer.tool_calls)
        ),
        MessageId("a1.results"),
    )
    second = await finished(model, hi, answer, results, tools=(ADD,), settings=THINKING)
    assert second.content == (Text("Done."),)
    more = (hi, answer, results, kept(second, "a2"), Message.user("sure?", id="u2"))
    third = await finished(model, *more, tools=(ADD,), settings=THINKING)
    assert third.content == (Text("Yes."),)
    assert third.usage is not None
    assert third.usage.prompt > 0


async def test_abort_and_go_on(server: ProviderServer, model: AnthropicManager) -> None:
    """What is kept of an aborted answer is accepted in the next request."""
    server.script(
        [[Think("hm"), Say("one two three "), Call("add", {"a": 1, "b": 2}, wait_s=600.0)], "Fine."]
    )
    hi = Message.user("hi", id="u1")
    stream = model.stream(ModelRequest((hi,), tools=(ADD,), settings=THINKING))
    async for batch in stream:
        if any(isinstance(event, TextPart) for event in batch):
            break
    await stream.aclose()
    partial = Message(Role.ASSISTANT, stream.partial(), MessageId("a1"), stop=StopReason.ABORTED)
    assert partial.text
    assert not partial.tool_calls
    go_on = Message.user("go on", id="u2")
    done = await finished(model, hi, partial, go_on, tools=(ADD,), settings=THINKING)
    assert done.content == (Text("Fine."),)


@pytest.mark.parametrize(
    "step,kind", [(Cut(), StreamTruncated), (Fail(Overloaded("no")), Overloaded)]
)
async def test_broken_streams(
    server: ProviderServer, model: AnthropicManager, step: Cut | Fail, kind: type[ProviderError]
) -> None:
    """A clean end without the end marker and an error within the stream are typed errors."""
    server.script([[Say("one two three"), step]])
    with pytest.raises(kind) as raised:
        await finished(model, Message.user("hi"))
    assert raised.value.in_stream
    server.script([Fail(RateLimited("slow down", retry_after_s=2.0))])
    with pytest.raises(RateLimited) as refused:
        await finished(model, Message.user("hi"))
    assert refused.value.retry_after_s == 2.0
    assert not refused.value.in_stream
