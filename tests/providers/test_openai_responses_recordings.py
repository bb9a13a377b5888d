"""Every recorded stream of the Responses API, replayed at random splits.

What is expected is read here with `json.loads` from the final event, without any code of ours.
"""

import json
from typing import Any

import pytest

from palaver.domain.errors import ProtocolViolation, ProviderError, StreamTruncated
from palaver.domain.messages import (
    Block,
    Reasoning,
    Refusal,
    StopReason,
    Text,
    ToolCall,
    Unknown,
)
from palaver.domain.values import Usage
from palaver.providers import failures
from palaver.providers.base import (
    CallArguments,
    CallCompleted,
    CallStarted,
    Finished,
    ModelEvent,
    TextPart,
)
from palaver.providers.openai_responses import ResponsesAssembler
from tests.providers.replay import batches, ids, needs_data, payloads, streamed, wire

NAMES = ("recordings/openai_responses", "provider_events/openai_responses")
CHAT = {"f30600b3bcf1e85a", "dfc7262a79c543ef"}
"""Chunks of chat completions under the wrong name; replayed with the others of that API too."""
BROKEN = {"bfd54d3e5f36e57e"}
"""Its first and last event lack their closing brace: no JSON."""
RECORDS = [r for r in streamed(*NAMES) if r["id"] not in CHAT | BROKEN]
RESTATED = {
    # The last event repeats items with other details than their own `done` events gave.
    "0f7b5f41dd5d7332",
    "0281b8d5283e7d26",
    "9725306a56c85a7c",
    "64bc2238fd3e1d88",
    "2fb75fd63ebea265",
    # Two responses spliced into one file: what the first said is not in the last event.
    "54fd60a397084247",
}
SHORTENED = {"6c31e9e32fbccf58"}
"""Edited by its authors: the deltas spell another text than the item that ends them."""
SEEDS = (1, 2, 3)
ENDS = ("response.completed", "response.incomplete", "response.failed")
pytestmark = needs_data


def failure(body: bytes) -> ProviderError:
    return failures.translate(200, {}, body, provider="openai", in_stream=True)


def run(body: bytes, *, seed: int) -> list[ModelEvent]:
    """All events; raises what the stream raises."""
    answer = ResponsesAssembler(failure=failure)
    events: list[ModelEvent] = []
    for batch in batches(body, seed=seed):
        for event in batch:
            answer.feed(event.data)
            if answer.ended:
                return events + answer.take()
        events += answer.take()
    answer.close()
    return events + answer.take()


def last_event(record: dict[str, Any]) -> dict[str, Any]:
    events = (json.loads(line) for line in payloads(record) if line != "[DONE]")
    return next(dict(event["response"]) for event in events if event["type"] in ENDS)


def items_done(record: dict[str, Any]) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for line in payloads(record):
        event = json.loads(line)
        if event["type"] == "response.output_item.done":
            found[event["output_index"]] = event["item"]
        if event["type"] in ENDS:
            break
    return [found[index] for index in sorted(found)]


def plain(content: tuple[Block, ...]) -> list[Any]:
    """Blocks in a form that can be compared with items."""
    found: list[Any] = []
    for block in content:
        match block:
            case Text(text=text, annotations=annotations):
                found.append(("text", text, json.loads(annotations or "[]")))
            case Refusal(text=text):
                found.append(("refusal", text))
            case ToolCall():
                found.append(("call", block.id, block.name, block.arguments))
            case Reasoning():
                found.append(json.loads(block.native))
            case Unknown(raw=raw):
                found.append(json.loads(raw))
            case _:
                pytest.fail(f"{block} in an answer")
    return found


def expected(items: list[dict[str, Any]]) -> list[Any]:
    found: list[Any] = []
    for item in items:
        if item["type"] == "message":
            for part in item["content"]:
                if part["type"] == "refusal":
                    found.append(("refusal", part["refusal"]))
                elif part["text"]:
                    found.append(("text", part["text"], part["annotations"]))
        elif item["type"] == "function_call":
            found.append(("call", item["call_id"], item["name"], item["arguments"] or "{}"))
        else:
            found.append(item)
    return found


def expected_usage(counts: dict[str, Any]) -> Usage:
    read = counts.get("input_tokens_details") or {}
    written = counts.get("output_tokens_details") or {}
    cached, created = read.get("cached_tokens") or 0, read.get("cache_write_tokens") or 0
    return Usage(
        input=counts["input_tokens"] - cached - created,
        output=counts["output_tokens"],
        cache_read=cached,
        cache_creation=created,
        reasoning=written.get("reasoning_tokens") or 0,
    )


def expected_stop(response: dict[str, Any], content: list[Any]) -> StopReason:
    if response["status"] == "incomplete":
        assert response["incomplete_details"]["reason"] == "max_output_tokens"
        return StopReason.MAX_TOKENS
    calls = [item for item in content if isinstance(item, tuple) and item[0] == "call"]
    return StopReason.TOOL_USE if calls else StopReason.END_TURN


@pytest.mark.parametrize("record", RECORDS, ids=ids)
def test_final_state(record: dict[str, Any]) -> None:
    """Message, calls, usage and stop reason are those of the stream's last event."""
    response = last_event(record)
    state = expected(response["output"])
    if record["id"] in RESTATED:
        assert state != expected(items_done(record))
        state = expected(items_done(record))
    for seed in SEEDS:
        events = run(wire(record), seed=seed)
        finished = events[-1]
        assert isinstance(finished, Finished)
        assert plain(finished.content) == state
        assert finished.usage == expected_usage(response["usage"])
        assert finished.stop == expected_stop(response, state)
        assert finished.native_id == response["id"]
        assert finished.model == response["model"]
        if record["id"] not in SHORTENED:
            consistent(events, finished)


def consistent(events: list[ModelEvent], finished: Finished) -> None:
    """What was shown piece by piece is what the message holds."""
    text = "".join(e.text for e in events if isinstance(e, TextPart))
    assert text == "".join(b.text for b in finished.content if isinstance(b, Text | Refusal))
    calls = {b.id: b for b in finished.content if isinstance(b, ToolCall)}
    assert {e.id for e in events if isinstance(e, CallStarted)} == set(calls)
    assert {e.call.id: e.call for e in events if isinstance(e, CallCompleted)} == calls
    for call in calls.values():
        pieces = [e.text for e in events if isinstance(e, CallArguments) and e.id == call.id]
        assert ("".join(pieces) or "{}") == call.arguments
    assert sum(isinstance(e, Finished) for e in events) == 1


@pytest.mark.parametrize("record", RECORDS, ids=ids)
def test_reasoning_is_kept_byte_by_byte(record: dict[str, Any]) -> None:
    """The item that goes back is a piece of the very bytes that came."""
    for block in run(wire(record), seed=4)[-1].content:  # type: ignore[union-attr]
        if isinstance(block, Reasoning):
            assert block.native.encode() in wire(record)


@pytest.mark.parametrize("record", RECORDS, ids=ids)
def test_cut_anywhere(record: dict[str, Any]) -> None:
    """A stream without its end marker never finishes."""
    body = wire(record)
    events = body.rstrip().split(b"\n\n")
    ends = [i for i, e in enumerate(events) if any(f'"type":"{t}"'.encode() in e for t in ENDS)]
    whole = len(b"\n\n".join(events[: ends[0] + 1])) if ends else body.rfind(b"\ndata:")
    for step in range(40):
        with pytest.raises(ProviderError):
            run(body[: whole * step // 40], seed=step)


def test_what_is_not_this_api() -> None:
    """Chunks of chat completions are no answer here, and broken JSON is a violation."""
    for record in streamed(*NAMES):
        if record["id"] in CHAT:
            with pytest.raises(StreamTruncated):
                run(wire(record), seed=1)
        if record["id"] in BROKEN:
            with pytest.raises(ProtocolViolation):
                run(wire(record), seed=1)


def test_counts() -> None:
    """All streamed records of the data are among those replayed here."""
    assert [len(streamed(name)) for name in NAMES] == [66, 30]
    assert len(RECORDS) == 93
