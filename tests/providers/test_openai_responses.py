"""The Responses API, event by event."""

import json
from typing import Any

import pytest

from palaver.domain.errors import (
    ContextOverflow,
    ProtocolViolation,
    ProviderError,
    ServerFailure,
    StreamTruncated,
)
from palaver.domain.messages import Reasoning, Refusal, StopReason, Text, ToolCall, Unknown
from palaver.domain.values import Usage
from palaver.providers import failures
from palaver.providers.base import (
    CallArguments,
    CallCompleted,
    CallStarted,
    Finished,
    ModelEvent,
    ReasoningPart,
    TextPart,
)
from palaver.providers.openai_responses import CUSTOM, ResponsesAssembler


def assembler() -> ResponsesAssembler:
    def failure(body: bytes) -> ProviderError:
        return failures.translate(200, {}, body, provider="test", in_stream=True)

    return ResponsesAssembler(failure=failure)


def event(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": f"response.{kind}", **fields}).encode()


def added(index: int | None, **item: Any) -> bytes:
    return event("output_item.added", output_index=index, item=item)


def done(index: int | None, **item: Any) -> bytes:
    return event("output_item.done", output_index=index, item=item)


def over(kind: str = "completed", **fields: Any) -> bytes:
    return event(kind, response={"id": "r1", "model": "m-1", "status": kind, **fields})


def feed(answer: ResponsesAssembler, *payloads: bytes) -> list[ModelEvent]:
    for payload in payloads:
        answer.feed(payload)
    return answer.take()


def finished(*payloads: bytes) -> Finished:
    last = feed(assembler(), *payloads)[-1]
    assert isinstance(last, Finished)
    return last


def message(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "id": "msg", "role": "assistant", "content": list(parts)}


def said(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": text, **fields}


CALL = {"type": "function_call", "id": "fc", "call_id": "a", "name": "look", "arguments": ""}


def test_calls_complete_while_the_stream_goes_on() -> None:
    """The wire says when a call's arguments are whole; the next item may come later."""
    answer = assembler()
    events = feed(
        answer,
        added(0, **CALL),
        event("function_call_arguments.delta", output_index=0, delta='{"x"'),
        event("function_call_arguments.delta", output_index=0, delta=":1}"),
        event("function_call_arguments.done", output_index=0, arguments='{"x":1}'),
    )
    assert events == [
        CallStarted("a", "look"),
        CallArguments("a", '{"x":1}'),
        CallCompleted(ToolCall("a", "look", '{"x":1}')),  # type: ignore[arg-type]
    ]
    assert answer.partial() == (ToolCall("a", "look", '{"x":1}'),)  # type: ignore[arg-type]
    last = feed(answer, done(0, **{**CALL, "arguments": '{"x":1}'}), over())[-1]
    assert isinstance(last, Finished)
    assert last.content == answer.partial()
    assert (last.stop, last.native_id, last.model) == (StopReason.TOOL_USE, "r1", "m-1")


def test_items_without_deltas() -> None:
    """What only the final item, or only the last event, tells is shown all the same."""
    call = {**CALL, "arguments": '{"x":1}'}
    events = feed(assembler(), done(0, **message(said("Hi"))), done(1, **call), over())
    assert TextPart("Hi") in events
    assert CallArguments("a", '{"x":1}') in events
    assert isinstance(events[-1], Finished)
    alone = feed(assembler(), over(output=[message(said("Hi")), call]))
    assert alone == events


def test_order_is_that_of_the_items() -> None:
    """Items may end in another order than they stand in."""
    thought = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "xyz"}
    last = finished(
        added(0, type="reasoning", id="rs"),
        added(1, **message()),
        done(1, **message(said("A"), said("B", annotations=[{"type": "url_citation"}]))),
        done(0, **thought),
        over(),
    )
    assert [type(block) for block in last.content] == [Reasoning, Text, Text]
    first, _, third = last.content
    assert isinstance(first, Reasoning)
    assert (first.encrypted, first.id, first.origin) == ("xyz", "rs", "openai.responses")
    assert json.loads(first.native) == thought
    assert third == Text("B", '[{"type": "url_citation"}]')


def test_thinking() -> None:
    """Summary parts are paragraphs; the block says what was shown."""
    summary = [{"type": "summary_text", "text": t} for t in ("One.", "Two.")]
    deltas = [
        event("reasoning_summary_text.delta", output_index=0, summary_index=i, delta=t)
        for i, t in ((0, "On"), (0, "e."), (1, "Two."))
    ]
    item = {"type": "reasoning", "id": "rs", "summary": summary}
    events = feed(assembler(), added(0, type="reasoning"), *deltas, done(0, **item), over())
    assert events[0] == ReasoningPart("One.\n\nTwo.")
    last = events[-1]
    assert isinstance(last, Finished)
    assert isinstance(last.content[0], Reasoning)
    assert last.content[0].text == "One.\n\nTwo."


def test_custom_tools_refusals_and_foreign_items() -> None:
    """Free text stays free text, a refusal is one, what is not ours is kept."""
    custom = {"type": "custom_tool_call", "id": "ct", "call_id": "c", "name": "sum", "input": "4+4"}
    search = {"type": "web_search_call", "id": "ws", "status": "completed"}
    last = finished(
        done(0, **search),
        added(1, **{**custom, "input": ""}),
        event("custom_tool_call_input.delta", output_index=1, delta="4+4"),
        event("custom_tool_call_input.done", output_index=1, input="4+4"),
        done(1, **custom),
        over(),
    )
    kept, call = last.content
    assert isinstance(kept, Unknown)
    assert (kept.kind, json.loads(kept.raw)) == ("web_search_call", search)
    assert call == ToolCall("c", "sum", "4+4", origin="openai.responses", native=CUSTOM)  # type: ignore[arg-type]
    refused = finished(
        event("refusal.delta", output_index=0, content_index=0, delta="No"),
        done(0, **message({"type": "refusal", "refusal": "No."})),
        over(),
    )
    assert (refused.content, refused.stop) == ((Refusal("No."),), StopReason.REFUSAL)


@pytest.mark.parametrize(
    "reason, stop",
    [
        ("max_output_tokens", StopReason.MAX_TOKENS),
        ("content_filter", StopReason.CONTENT_FILTER),
        (None, StopReason.OTHER),
    ],
)
def test_incomplete(reason: str | None, stop: StopReason) -> None:
    """An incomplete response is an end, and never a good one, calls or not."""
    last = finished(done(0, **CALL), over("incomplete", incomplete_details={"reason": reason}))
    assert last.stop is stop


def test_usage_of_a_failure() -> None:
    """What a failed response has cost is known."""
    answer = assembler()
    usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
    with pytest.raises(ProviderError):
        answer.feed(over("failed", error={"message": "boom"}, usage=usage))
    assert answer.usage == Usage(input=5, output=2)


def test_foreign_items_may_have_any_shape() -> None:
    """Fields that have our names and other types are not looked at."""
    odd = {"type": "some_call", "content": {"a": 1}, "name": 7, "summary": "x", "arguments": []}
    (kept,) = finished(added(0, **odd), done(0, **odd), over()).content
    assert isinstance(kept, Unknown)
    assert json.loads(kept.raw) == odd


def test_failures() -> None:
    """Failed, cancelled, `error` and a missing end are typed errors."""
    failed = over("failed", error={"code": "server_error", "message": "boom"})
    with pytest.raises(ServerFailure, match="boom"):
        finished(failed)
    error = {"type": "error", "code": "context_length_exceeded", "message": "too long"}
    with pytest.raises(ContextOverflow):
        finished(json.dumps(error).encode())
    with pytest.raises(ServerFailure):
        finished(over("cancelled"))
    with pytest.raises(StreamTruncated):
        finished(done(0, **message(said("Hi"))), b"[DONE]")
    with pytest.raises(ProtocolViolation):
        finished(b"{")
    with pytest.raises(ProtocolViolation):
        finished(event("completed"))


def test_indices_may_be_missing() -> None:
    """Without output_index the item's id tells, and text goes to the newest item."""
    last = finished(
        added(None, **CALL),
        added(None, **message()),
        event("output_text.delta", item_id="msg", delta="Hi"),
        event("function_call_arguments.delta", item_id="fc", delta="{}"),
        done(None, **{**CALL, "arguments": "{}"}),
        done(None, **message(said("Hi"))),
        over(),
    )
    assert last.content == (ToolCall("a", "look", "{}"), Text("Hi"))  # type: ignore[arg-type]


def test_half_characters_are_joined() -> None:
    """An emoji split over two deltas is whole, in the deltas and in the item."""
    events = feed(
        assembler(),
        b'{"type":"response.output_text.delta","output_index":0,"delta":"a\\ud83d"}',
        b'{"type":"response.output_text.delta","output_index":0,"delta":"\\ude00"}',
        b'{"type":"response.output_item.done","output_index":0,"item":{"type":"message",'
        b'"content":[{"type":"output_text","text":"a\\ud83d\\ude00\\ud83d"}]}}',
        over(),
    )
    assert events[0] == TextPart("a😀\ufffd")
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.content == (Text("a😀\ufffd"),)


def test_plain_response() -> None:
    """A response that was not streamed gives the same message."""
    answer = assembler()
    answer.document(
        b'{"id":"r","status":"completed","output":[%s]}' % json.dumps(message(said("Hi"))).encode()
    )
    last = answer.take()[-1]
    assert isinstance(last, Finished)
    assert last.content == (Text("Hi"),)
    with pytest.raises(ProviderError):
        assembler().document(b'{"status":"failed","error":{"message":"x"}}')
