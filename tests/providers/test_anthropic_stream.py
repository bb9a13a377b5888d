"""What the adapter makes of odd streams."""

import json
from typing import Any

import pytest

from palaver.domain.errors import (
    Overloaded,
    ProtocolViolation,
    ProviderError,
    ProviderTimeout,
    StreamTruncated,
)
from palaver.domain.messages import Message, Reasoning, StopReason, Text, ToolCall, Unknown
from palaver.domain.values import Usage
from palaver.providers.anthropic import AnthropicManager
from palaver.providers.anthropic_answer import AnthropicAnswer
from palaver.providers.base import (
    CallArguments,
    CallCompleted,
    CallStarted,
    Finished,
    Model,
    ModelEvent,
    ModelInfo,
    ModelRequest,
    TextPart,
)
from palaver.providers.sse import Sse
from palaver.settings import Clocks
from tests.providers.replay import Answer, serving

START = {
    "type": "message_start",
    "message": {"id": "msg_1", "model": "m-1", "usage": {"input_tokens": 3, "output_tokens": 1}},
}
STOP = {"type": "message_stop"}


def begin(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind} | fields}


def delta(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind} | fields}


def end(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def ending(reason: str, **usage: int) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


def sse(*events: dict[str, Any] | str) -> list[Sse]:
    texts = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return [Sse(b"", text.encode()) for text in texts]


def answered(*batches: list[Sse]) -> tuple[list[ModelEvent], AnthropicAnswer]:
    answer = AnthropicAnswer()
    return [event for batch in batches for event in answer.feed(batch)], answer


def finished(*batches: list[Sse]) -> Finished:
    done = answered(*batches)[1].finished
    assert done is not None
    return done


def texts(*pieces: str) -> list[dict[str, Any]]:
    return [begin(0, "text", text=""), *(delta(0, "text_delta", text=piece) for piece in pieces)]


def test_deltas_of_one_read_are_one_event() -> None:
    """A burst of deltas is handed out as one piece."""
    events, _ = answered(sse(START, *texts("a", "b", "c")))
    assert [event for event in events if isinstance(event, TextPart)] == [TextPart("abc")]


@pytest.mark.parametrize("apart", [False, True])
def test_halves_of_a_character(apart: bool) -> None:
    """A character whose halves come in two deltas is joined; a lone half is replaced."""
    stream = sse(
        START,
        begin(0, "text", text=""),
        r'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a\ud83d"}}',
        r'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\ude00b"}}',
        r'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\ude00\ud83d"}}',
        delta(0, "text_delta", text="c\x00"),
        r'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\ud83d"}}',
        end(0),
        ending("end_turn"),
        STOP,
    )
    batches = [[event] for event in stream] if apart else [stream]
    events, answer = answered(*batches)
    wanted = "a😀b\ufffd\ufffdc\ufffd\ufffd"
    assert "".join(event.text for event in events if isinstance(event, TextPart)) == wanted
    assert answer.finished is not None
    assert answer.finished.content == (Text(wanted),)


def test_calls() -> None:
    """Arguments are kept as written, empty ones are an object, and ids are made unique."""
    events, answer = answered(
        sse(
            START,
            begin(0, "tool_use", id="t", name="a", input={}),
            delta(0, "input_json_delta", partial_json='{"x": '),
            delta(0, "input_json_delta", partial_json="1}"),
            end(0),
            begin(1, "tool_use", id="t", name="b", input={}),
            delta(1, "input_json_delta", partial_json=""),
            end(1),
            begin(2, "tool_use", id="", name="c", input={"y": 2}),
            end(2),
            ending("tool_use"),
            STOP,
        )
    )
    assert answer.finished is not None
    calls = answer.finished.content
    assert all(isinstance(call, ToolCall) for call in calls)
    assert [(c.id, c.arguments) for c in calls if isinstance(c, ToolCall)] == [
        ("t", '{"x": 1}'),
        ("t_1", "{}"),
        ("call_1", '{"y": 2}'),
    ]
    assert [event.call for event in events if isinstance(event, CallCompleted)] == list(calls)
    assert CallStarted("t_1", "b") in events
    assert CallArguments("t", '{"x": 1}') in events
    assert answer.finished.stop is StopReason.TOOL_USE


def test_a_call_completes_with_its_block() -> None:
    """A call may start while the rest of the message is still to come."""
    events, answer = answered(
        sse(
            START,
            begin(0, "tool_use", id="t", name="a", input={}),
            end(0),
            begin(1, "text", text=""),
        )
    )
    assert any(isinstance(event, CallCompleted) for event in events)
    assert answer.finished is None


def test_unknown_events_blocks_and_deltas() -> None:
    """What is not known does no harm, and unknown blocks are kept whole."""
    done = finished(
        sse(
            START,
            {"type": "brand_new_event", "index": 0},
            begin(0, "hologram", data="a", frames=[1], none=None),
            delta(0, "hologram_delta", data="b", frames=[2], none="x"),
            end(0),
            *texts("t"),
            delta(0, "text_delta", text=None),
            ending("brand_new_reason"),
            STOP,
        )
    )
    unknown, text = done.content
    assert isinstance(unknown, Unknown)
    assert json.loads(unknown.raw) == {
        "type": "hologram",
        "data": "ab",
        "frames": [1, 2],
        "none": "x",
    }
    assert text == Text("t")
    assert (done.stop, done.stop.is_good) == (StopReason.OTHER, False)


def test_usage_is_cumulative() -> None:
    """The last value counts, also for input; what is not repeated stays."""
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 1}}}
    start["message"]["usage"] |= {"cache_read_input_tokens": 7}  # type: ignore[index]
    done = finished(
        sse(start, *texts("x"), ending("end_turn", output_tokens=5, input_tokens=30), STOP)
    )
    assert done.usage == Usage(input=30, output=5, cache_read=7)


def test_partial() -> None:
    """Of a cut answer only text, signed thinking, complete calls and answered server calls stay."""
    events = sse(
        START,
        begin(0, "thinking", thinking=""),
        delta(0, "thinking_delta", thinking="hm"),
        delta(0, "signature_delta", signature="sig"),
        end(0),
        begin(1, "server_tool_use", id="s1", name="web_search", input={}),
        end(1),
        begin(2, "web_search_tool_result", tool_use_id="s1", content=[]),
        end(2),
        begin(3, "server_tool_use", id="s2", name="web_search", input={}),
        end(3),
        begin(4, "tool_use", id="t1", name="a", input={}),
        end(4),
        begin(5, "thinking", thinking="unsigned"),
        end(5),
        begin(6, "text", text="so fa"),
        delta(6, "text_delta", text="r"),
        begin(7, "tool_use", id="t2", name="b", input={}),
        delta(7, "input_json_delta", partial_json='{"x'),
    )
    _, answer = answered(events)
    kept = answer.partial()
    assert [type(block) for block in kept] == [Reasoning, Unknown, Unknown, ToolCall, Text]
    assert kept[0] == Reasoning("hm", signature="sig", origin="anthropic.messages")
    assert kept[-1] == Text("so far")


def test_nonsense() -> None:
    """What is no event is a violation, not a crash."""
    for data in (
        "nonsense",
        "[]",
        "{",
        '{"type":"content_block_start","index":"x"}',
        "[" * 100_000,
    ):
        with pytest.raises(ProtocolViolation):
            answered(sse(START, data))
    with pytest.raises(ProtocolViolation):
        answered(sse(START, STOP))


def manager(url: str, clocks: Clocks | None = None) -> AnthropicManager:
    return AnthropicManager(
        model="claude-sonnet-4-5",
        api_key="sk-ant-secret-secret",
        base_url=f"{url}/v1/",
        info=ModelInfo("anthropic:claude-sonnet-4-5"),
        clocks=clocks or Clocks(),
    )


REQUEST = ModelRequest((Message.user("hello"),))


def body(*events: dict[str, Any]) -> bytes:
    return "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events).encode()


async def failed(model: Model) -> tuple[list[ModelEvent], ProviderError]:
    events: list[ModelEvent] = []
    try:
        async for batch in model.stream(REQUEST):
            events += batch
    except ProviderError as error:
        return events, error
    raise AssertionError("no error")


async def test_error_within_the_stream() -> None:
    """An error event is typed, and said to be within the stream only when content had come."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    answer = Answer()
    answer.headers |= {"request-id": "req_9"}
    async with serving(answer) as url:
        model = manager(url)
        for seed in range(4):
            answer.seed = seed
            answer.body = body(START, error)
            events, raised = await failed(model)
            assert isinstance(raised, Overloaded)
            assert (raised.in_stream, raised.request_id) == (False, "req_9")
            answer.body = body(START, *texts("so far"), error)
            events, raised = await failed(model)
            assert isinstance(raised, Overloaded)
            assert raised.in_stream
            said = "".join(event.text for event in events if isinstance(event, TextPart))
            assert said == "so far"
        await model.aclose()


async def test_end_marker_ends_the_reading() -> None:
    """Nothing behind the end marker is waited for."""
    answer = Answer(body(START, *texts("x"), end(0), ending("end_turn"), STOP))
    answer.hang = True
    async with serving(answer) as url:
        model = manager(url)
        stream = model.stream(REQUEST)
        events = [event async for batch in stream for event in batch]
        assert isinstance(events[-1], Finished)
        assert events[-1].content == (Text("x"),)
        await stream.aclose()
        await model.aclose()
        assert answer.seen[0][0]["x-api-key"] == "sk-ant-secret-secret"
        assert answer.seen[0][0]["anthropic-version"] == "2023-06-01"


async def test_pings_are_no_content() -> None:
    """A server that only pings is timed out, and is not said to have begun."""
    answer = Answer(body(START, {"type": "ping"}, begin(0, "text", text="")))
    answer.hang, answer.pings = True, body({"type": "ping"})
    async with serving(answer) as url:
        model = manager(url, Clocks(first_token_s=0.05, idle_s=0.05))
        _, error = await failed(model)
        assert isinstance(error, ProviderTimeout)
        assert (error.clock, error.in_stream) == ("first_token", False)
        await model.aclose()


async def test_abort_in_mid_text() -> None:
    """Closing in mid-text ends the connection; what came is kept."""
    answer = Answer(body(START, *texts("half")))
    answer.hang = True
    async with serving(answer) as url:
        model = manager(url)
        stream = model.stream(REQUEST)
        async for batch in stream:
            if any(isinstance(event, TextPart) for event in batch):
                break
        await stream.aclose()
        await stream.aclose()
        assert stream.partial() == (Text("half"),)
        assert stream.usage() == Usage(3, 1)
        await answer.gone.wait()
        await model.aclose()


async def test_clean_end_before_anything() -> None:
    """An empty stream is a truncation that may be tried again."""
    answer = Answer(b"")
    async with serving(answer) as url:
        model = manager(url)
        _, error = await failed(model)
        assert isinstance(error, StreamTruncated)
        assert (error.in_stream, error.can_retry) == (False, True)
        await model.aclose()


def test_key_is_not_shown() -> None:
    """The key appears in no representation of the model."""
    model = manager("http://x")
    assert "secret" not in repr(model)
    assert model.name == "anthropic:claude-sonnet-4-5"
