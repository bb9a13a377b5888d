"""Every recorded Messages API stream, replayed; the expectation is folded by plain `json`."""

import json
import random
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from palaver.domain.errors import ProtocolViolation, ProviderError, StreamTruncated
from palaver.domain.messages import Block, Message, Reasoning, StopReason, Text, ToolCall, Unknown
from palaver.domain.values import Usage
from palaver.providers.anthropic import AnthropicManager
from palaver.providers.anthropic_answer import AnthropicAnswer, ErrorEvent
from palaver.providers.base import (
    CallArguments,
    CallCompleted,
    CallStarted,
    Finished,
    ModelEvent,
    ModelInfo,
    ModelRequest,
    ReasoningPart,
    TextPart,
    UsageKnown,
)
from palaver.providers.sse import Sse
from palaver.settings import Clocks
from tests.providers import replay
from tests.providers.replay import Answer, batches, needs_data, payloads, serving, streamed, wire

RECORDS = streamed("recordings/anthropic_messages", "provider_events/anthropic_messages")
WHOLE = [
    record
    for name in ("recordings/anthropic_messages", "provider_events/anthropic_messages")
    for record in replay.records(name)
    if record.get("form") != "events" and not record.get("stream")
]
pytestmark = needs_data

STOPS = {
    "end_turn": StopReason.END_TURN,
    "tool_use": StopReason.TOOL_USE,
    "max_tokens": StopReason.MAX_TOKENS,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "refusal": StopReason.REFUSAL,
    "pause_turn": StopReason.PAUSE,
}


def folded(lines: Iterable[str]) -> dict[str, Any]:
    """The message that the events make: a plain fold over plain JSON."""
    message: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    usage: dict[str, Any] = {}
    for line in lines:
        event = json.loads(line)
        match event["type"]:
            case "message_start":
                message = event["message"]
                usage |= message["usage"]
            case "content_block_start":
                blocks[event["index"]] = event["content_block"] | {"json": ""}
            case "content_block_delta":
                grow(blocks[event["index"]], event["delta"])
            case "message_delta":
                message |= event["delta"]
                usage |= event.get("usage") or {}
            case "message_stop":
                break  # one fixture holds two answers, one behind the other
            case _:
                pass
    return message | {"content": list(blocks.values()), "usage": usage}


def grow(block: dict[str, Any], delta: dict[str, Any]) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "input_json_delta":
            block["json"] += delta["partial_json"]
        case "citations_delta":
            block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
        case "compaction_delta":
            block["content"] = delta["content"]
        case _:
            raise AssertionError(delta)


def check(finished: Finished, expected: dict[str, Any]) -> None:
    blocks = [b for b in expected["content"] if b["type"] != "text" or b["text"]]
    assert len(finished.content) == len(blocks)
    for block, wanted in zip(finished.content, blocks, strict=True):
        check_block(block, wanted)
    assert finished.stop is STOPS[expected["stop_reason"]]
    assert finished.native_id == expected["id"]
    assert finished.model == expected["model"]
    counts = expected["usage"]
    details = counts.get("output_tokens_details") or {}
    assert finished.usage == Usage(
        counts["input_tokens"],
        counts["output_tokens"],
        counts.get("cache_read_input_tokens") or 0,
        counts.get("cache_creation_input_tokens") or 0,
        details.get("thinking_tokens") or 0,
    )


def check_block(block: Block, wanted: dict[str, Any]) -> None:
    given = wanted.pop("json", "")
    match wanted["type"]:
        case "text":
            assert isinstance(block, Text)
            assert block.text == wanted["text"]
            assert json.loads(block.annotations or "[]") == (wanted.get("citations") or [])
        case "thinking":
            assert isinstance(block, Reasoning)
            assert (block.text, block.signature) == (
                wanted["thinking"],
                wanted.get("signature", ""),
            )
        case "redacted_thinking":
            assert isinstance(block, Reasoning)
            assert block.encrypted == wanted["data"]
        case "tool_use":
            assert isinstance(block, ToolCall)
            assert (block.id, block.name) == (wanted["id"], wanted["name"])
            if given:
                assert block.arguments == given
            assert block.parsed() == (json.loads(given) if given else wanted["input"])
        case kind:
            assert isinstance(block, Unknown)
            assert block.kind == kind
            assert json.loads(block.raw) == wanted | ({"input": json.loads(given)} if given else {})


def check_events(events: list[ModelEvent], finished: Finished) -> None:
    """What was streamed is what the message holds, and calls complete in their order."""
    text = "".join(e.text for e in events if isinstance(e, TextPart))
    assert text == "".join(b.text for b in finished.content if isinstance(b, Text))
    thought = "".join(e.text for e in events if isinstance(e, ReasoningPart))
    assert thought == "".join(b.text for b in finished.content if isinstance(b, Reasoning))
    calls = [b for b in finished.content if isinstance(b, ToolCall)]
    assert [e.call for e in events if isinstance(e, CallCompleted)] == calls
    assert [(e.id, e.name) for e in events if isinstance(e, CallStarted)] == [
        (call.id, call.name) for call in calls
    ]
    for call in calls:
        pieces = [e.text for e in events if isinstance(e, CallArguments) and e.id == call.id]
        assert "".join(pieces) in (call.arguments, "" if call.arguments == "{}" else None)
    assert [e.usage for e in events if isinstance(e, UsageKnown)][-1] == finished.usage


def told(pieces: Iterable[list[Sse]]) -> tuple[list[ModelEvent], Finished | None]:
    answer = AnthropicAnswer()
    events: list[ModelEvent] = []
    for batch in pieces:
        events += answer.feed(batch)
        if answer.finished is not None:
            break
    return events, answer.finished


@pytest.mark.parametrize("record", RECORDS, ids=replay.ids)
def test_replayed_at_random_splits(record: dict[str, Any]) -> None:
    """Every split gives the message, calls, usage and stop reason of the stream's final state."""
    for seed in range(8):
        events, finished = told(batches(wire(record), seed=seed))
        assert finished is not None
        check(finished, folded(payloads(record)))
        check_events(events, finished)


def manager(url: str) -> AnthropicManager:
    return AnthropicManager(
        model="claude-sonnet-4-5",
        api_key="sk-ant-test",
        base_url=url,
        info=ModelInfo("anthropic:claude-sonnet-4-5"),
        clocks=Clocks(connect_s=60.0),
    )


async def drained(model: AnthropicManager) -> None:
    async for batch in model.stream(REQUEST):
        assert not any(isinstance(event, Finished) for event in batch)


REQUEST = ModelRequest((Message.user("hello"),))


@pytest.mark.looptime  # so that no connection is given up because the machine is slow
async def test_through_a_server() -> None:
    """Over a real connection the streams give the same, and one connection serves them all."""
    answer = Answer()
    async with serving(answer) as url:
        model = manager(url)
        for number, record in enumerate(RECORDS):
            answer.body, answer.seed = wire(record), number
            stream = model.stream(REQUEST)
            events = [event async for batch in stream for event in batch]
            finished = events.pop()
            assert isinstance(finished, Finished)
            check(finished, folded(payloads(record)))
            check_events(events, finished)
        await model.aclose()
    assert len(answer.seen) == len(RECORDS)
    assert len(answer.peers) <= len(RECORDS) // 4


async def test_cut_anywhere() -> None:
    """A stream that ends before its end marker is an error, never an answer."""
    chance = random.Random(11)
    answer = Answer()
    async with serving(answer) as url:
        model = manager(url)
        for record in RECORDS:
            body = wire(record)
            end = body.index(b'"message_stop"')
            for cut in (chance.randrange(end), end - 1):
                answer.body, answer.reset = body[:cut], chance.random() < 0.3
                with pytest.raises(ProviderError) as raised:
                    await drained(model)
                if not answer.reset:
                    assert isinstance(raised.value, StreamTruncated)
        await model.aclose()


@pytest.mark.parametrize("record", RECORDS, ids=replay.ids)
def test_cut_anywhere_directly(record: dict[str, Any]) -> None:
    """No cut before the end marker finishes; what is kept of it is text, signed thoughts, calls."""
    body = wire(record)
    end = body.index(b'"message_stop"')
    for seed in range(10):
        answer = AnthropicAnswer()
        for batch in batches(body[: random.Random(seed).randrange(end)], seed=seed):
            answer.feed(batch)
        assert answer.finished is None
        for block in answer.partial():
            assert isinstance(block, Text | Reasoning | ToolCall | Unknown)
            if isinstance(block, ToolCall):
                block.parsed()
            if isinstance(block, Reasoning):
                assert block.signature or block.encrypted


async def test_whole_messages_are_understood() -> None:
    """A server that answers a stream request with one JSON message is understood."""
    answer = Answer()
    answer.headers = {"content-type": "application/json"}
    count = 0
    async with serving(answer) as url:
        model = manager(url)
        for record in WHOLE:
            message = json.loads(record["body"])
            if message.get("type") != "message":
                continue
            count += 1
            answer.body = record["body"].encode()
            events = [event async for batch in model.stream(REQUEST) for event in batch]
            assert isinstance(events[-1], Finished)
            check(events[-1], message)
        await model.aclose()
    assert count > 200


def damaged(lines: list[bytes], chance: random.Random) -> None:
    """Lose, repeat, cut, or change one event."""
    at = chance.randrange(len(lines))
    match chance.randrange(4):
        case 0 if len(lines) > 1:
            del lines[at]
        case 1:
            lines.insert(chance.randrange(len(lines)), lines[at])
        case 2:
            lines[at] = lines[at][: chance.randrange(len(lines[at]) + 1)]
        case _:
            flipped = bytearray(lines[at] or b"x")
            flipped[chance.randrange(len(flipped))] = chance.randrange(256)
            lines[at] = bytes(flipped)


def test_damaged_streams() -> None:
    """Whatever a stream has lost or gained, it is read or refused; nothing else is raised."""
    chance = random.Random(5)
    for _ in range(1500):
        lines = [line.encode() for line in payloads(chance.choice(RECORDS))[:80]]
        for _ in range(chance.randint(1, 4)):
            damaged(lines, chance)
        answer = AnthropicAnswer()
        try:
            for line in lines:
                answer.feed([Sse(b"", line)])
                if answer.finished is not None:
                    break
        except (ProtocolViolation, ErrorEvent):
            pass
        msgspec.json.encode(answer.partial())
        msgspec.json.encode(answer.finished)
