"""The scripted model keeps the contract of a model."""

import asyncio
from collections.abc import Sequence

import pytest

from palaver.domain.errors import InvalidRequest, Overloaded, ProviderError, StreamTruncated
from palaver.domain.ids import CallId
from palaver.domain.messages import (
    Message,
    Reasoning,
    Refusal,
    Role,
    StopReason,
    Text,
    ToolCall,
    ToolResult,
)
from palaver.domain.values import Usage
from palaver.providers.base import (
    CallArguments,
    CallCompleted,
    CallStarted,
    Finished,
    Model,
    ModelEvent,
    ModelRequest,
    ModelStream,
    ReasoningPart,
    TextPart,
    UsageKnown,
)
from palaver.testing import (
    Call,
    Cut,
    Decline,
    Fail,
    Line,
    Pause,
    Report,
    Say,
    ScriptedModel,
    Stop,
    Think,
    ToldClock,
)

ASK = ModelRequest([Message.user("hi")])


async def read(stream: ModelStream) -> list[ModelEvent]:
    return [event async for batch in stream for event in batch]


async def test_text() -> None:
    """Text comes in pieces; one Finished ends the stream and holds all of it."""
    model: Model = ScriptedModel(["Hello, world!"], piece=5)
    *parts, finished = await read(model.stream(ASK))
    assert parts == [TextPart("Hello"), TextPart(", wor"), TextPart("ld!")]
    assert isinstance(finished, Finished)
    assert finished.content == (Text("Hello, world!"),)
    assert finished.stop is StopReason.END_TURN
    assert finished.usage is not None
    assert finished.usage.input > 0


async def test_calls() -> None:
    """A call starts, streams its arguments, and completes before the next one starts."""
    model = ScriptedModel([[Say("ok"), Call("add", {"a": 1}), Call("now", id="mine")]], piece=4)
    events = await read(model.stream(ASK))
    assert events[1:] == [
        CallStarted("call_1", "add"),
        CallArguments("call_1", '{"a"'),
        CallArguments("call_1", ":1}"),
        CallCompleted(ToolCall(CallId("call_1"), "add", '{"a":1}')),
        CallStarted("mine", "now"),
        CallArguments("mine", "{}"),
        CallCompleted(ToolCall(CallId("mine"), "now", "{}")),
        events[-1],
    ]
    assert isinstance(events[-1], Finished)
    assert events[-1].stop is StopReason.TOOL_USE
    assert [type(b) for b in events[-1].content] == [Text, ToolCall, ToolCall]


async def test_late_calls() -> None:
    """With `late_calls` all calls complete right before the end, as in chat completions."""
    model = ScriptedModel([[Call("a"), Call("b")]], late_calls=True, per_batch=100)
    (*_, last) = [batch async for batch in model.stream(ASK)]
    kinds = [type(event) for event in last]
    assert kinds[-3:] == [CallCompleted, CallCompleted, Finished]


async def test_reasoning_refusal_usage_and_stop() -> None:
    """Everything else that a provider can send can be scripted."""
    usage = Usage(input=5, output=7, cache_read=100)
    turn: list[Line] = [Think("hm"), Think("secret", redacted=True), Report(usage), Decline("no")]
    model = ScriptedModel([turn, ["cut sh", Stop(StopReason.MAX_TOKENS), Report(None)]])
    events = await read(model.stream(ASK))
    assert events[:3] == [ReasoningPart("hm"), ReasoningPart(""), UsageKnown(usage)]
    finished = events[-1]
    assert isinstance(finished, Finished)
    open_, hidden, refusal = finished.content
    assert isinstance(open_, Reasoning)
    assert open_.text == "hm"
    assert open_.signature
    assert isinstance(hidden, Reasoning)
    assert (hidden.text, bool(hidden.encrypted)) == ("", True)
    assert refusal == Refusal("no")
    assert (finished.stop, finished.usage) == (StopReason.REFUSAL, usage)
    (*_, second) = await read(model.stream(ASK))
    assert isinstance(second, Finished)
    assert (second.stop, second.usage) == (StopReason.MAX_TOKENS, None)


@pytest.mark.parametrize("per_batch", [1, 3, 100])
async def test_partial_is_what_was_read(per_batch: int) -> None:
    """At every point `partial` holds the text read, finished reasoning and complete calls."""
    turn: list[Line] = [
        Think("hmm"),
        "some text to read",
        Call("add", {"a": 1}),
        "more",
        Pause(),
        Cut(),
    ]
    model = ScriptedModel([turn], per_batch=per_batch, piece=3)
    stream = model.stream(ASK)
    text, calls = "", 0
    with pytest.raises(StreamTruncated) as caught:  # noqa: PT012 - the loop is what raises
        async for batch in stream:
            text += "".join(e.text for e in batch if isinstance(e, TextPart))
            calls += sum(isinstance(e, CallCompleted) for e in batch)
            partial = stream.partial()
            assert "".join(b.text for b in partial if isinstance(b, Text)) == text
            assert sum(isinstance(b, ToolCall) for b in partial) == calls
    assert caught.value.in_stream
    assert text == "some text to readmore"
    assert calls == 1


async def test_errors_before_and_within() -> None:
    """A provider error comes where it is scripted and says whether content had begun."""
    model = ScriptedModel([Overloaded("busy"), ["half", Fail(Overloaded("busy"))], "fine"])
    for in_stream, content in ((False, ()), (True, (Text("half"),))):
        stream = model.stream(ASK)
        with pytest.raises(Overloaded) as caught:
            await read(stream)
        assert (caught.value.in_stream, stream.partial()) == (in_stream, content)
    (*_, finished) = await read(model.stream(ASK))
    assert isinstance(finished, Finished)
    assert model.left == 0


async def test_pauses_by_clock_and_event() -> None:
    """A pause takes its time from the clock; what came before it was handed out before it."""
    clock, go = ToldClock(), asyncio.Event()
    model = ScriptedModel([["a", Pause(5), "b", Pause(until=go), "c"]], clock=clock, per_batch=9)
    stream = model.stream(ASK)
    task = asyncio.create_task(read(stream))
    await clock.advance(4)
    assert stream.partial() == (Text("a"),)
    await clock.advance(1)
    assert stream.partial() == (Text("ab"),)
    go.set()
    assert isinstance((await task)[-1], Finished)


async def test_aclose_ends_a_silent_read() -> None:
    """Closing wakes a reader out of a pause with an error, never with an end; twice is fine."""
    model = ScriptedModel([["a", Pause(until=asyncio.Event()), "b"]])
    stream = model.stream(ASK)
    task = asyncio.create_task(read(stream))
    await ToldClock().settle()
    await stream.aclose()
    await stream.aclose()
    with pytest.raises(StreamTruncated):
        await task
    assert stream.is_closed
    assert not stream.is_done


@pytest.mark.parametrize(
    "messages",
    [
        [Message.user("hi"), Message.assistant("hello")],
        [Message.user("hi"), Message.assistant((ToolCall(CallId("a"), "add"),))],
        [Message(Role.TOOL, (ToolResult(CallId("a"), "add"),))],
    ],
)
async def test_strict(messages: Sequence[Message]) -> None:
    """A request that a provider would refuse is refused and remembered; not so when not strict."""
    request = ModelRequest(messages)
    strict = ScriptedModel(["x"])
    with pytest.raises(InvalidRequest):
        await read(strict.stream(request))
    assert strict.problems
    assert strict.left == 1
    await read(ScriptedModel(["x"], strict=False).stream(request))


async def test_functions_keys_and_the_end_of_the_script() -> None:
    """A turn may look at the request; `when` goes by the user's words; an empty script says so."""
    model = ScriptedModel([lambda request: f"you said {request.messages[-1].text}"])
    model.when("weather", "sunny")
    for words, answer in (("The WEATHER?", "sunny"), ("hi", "you said hi"), ("weather", "sunny")):
        (*_, finished) = await read(model.stream(ModelRequest([Message.user(words)])))
        assert isinstance(finished, Finished)
        assert finished.content == (Text(answer),)
    with pytest.raises(ProviderError, match="nothing is scripted"):
        await read(model.stream(ASK))
    assert [r.messages[-1].text for r in model.requests][:2] == ["The WEATHER?", "hi"]
