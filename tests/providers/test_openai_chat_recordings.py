"""Every recorded stream of chat completions, replayed at random splits.

What is expected is folded here from the data lines with `json.loads`, without any code of ours.
"""

import json
from typing import Any

import pytest

from palaver.domain.errors import ContextOverflow, InvalidRequest, ProviderError, StreamTruncated
from palaver.domain.messages import Reasoning, Refusal, StopReason, Text, ToolCall
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
    UsageKnown,
)
from palaver.providers.openai_chat import ChatAssembler
from tests.providers.replay import batches, ids, needs_data, payloads, records, streamed, wire

NAMES = (
    "recordings/openai_chat",
    "recordings/openai_compatible_chat",
    "provider_events/openai_chat",
)
RECORDS = streamed(*NAMES)
WITHOUT_FINISH = {"d2e1832c2b8e879f", "a4b39d7165b511ac", "546b4da5f0d5be70"}
"""Recordings that end with usage and `[DONE]` and never give a finish reason."""
SEEDS = (1, 2, 3)
pytestmark = needs_data


def failure(body: bytes) -> ProviderError:
    return failures.translate(200, {}, body, provider="openai", in_stream=True)


def assembler(*, strict: bool = False) -> ChatAssembler:
    return ChatAssembler(failure=failure, marker_expected=strict)


def run(body: bytes, *, seed: int, strict: bool = False) -> list[ModelEvent]:
    """All events; raises what the stream raises."""
    answer = assembler(strict=strict)
    events: list[ModelEvent] = []
    for batch in batches(body, seed=seed):
        for event in batch:
            answer.feed(event.data)
            if answer.ended:
                return events + answer.take()
        events += answer.take()
    answer.close()
    return events + answer.take()


def reasoning_of(delta: dict[str, Any]) -> str:
    for name in ("reasoning_content", "reasoning"):
        if delta.get(name):
            return str(delta[name])
    details = delta.get("reasoning_details") or []
    return "".join(d.get("text") or d.get("summary") or "" for d in details)


def fold(lines: list[str]) -> dict[str, Any]:
    """The final state of a stream, by the plainest means."""
    found: dict[str, Any] = {
        "text": "",
        "reasoning": "",
        "refusal": "",
        "usage": None,
        "finish": "",
    }
    calls: dict[int, dict[str, str]] = {}
    for line in lines:
        if line == "[DONE]":
            break
        chunk = json.loads(line)
        assert not chunk.get("error")
        counts = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage")
        found["usage"] = counts or found["usage"]
        for choice in chunk["choices"]:
            if choice["index"] != 0:
                continue
            found["finish"] = choice.get("finish_reason") or found["finish"]
            delta = choice.get("delta") or {}
            content = delta.get("content") or ""
            if isinstance(content, list):
                for part in content:
                    if part["type"] == "thinking":
                        found["reasoning"] += "".join(t["text"] for t in part["thinking"])
                    else:
                        found["text"] += part["text"]
            else:
                found["text"] += content
            found["reasoning"] += reasoning_of(delta)
            found["refusal"] += delta.get("refusal") or ""
            for tool in delta.get("tool_calls") or []:
                call = calls.setdefault(
                    tool.get("index", 0), {"id": "", "name": "", "arguments": ""}
                )
                call["id"] = call["id"] or tool.get("id") or ""
                function = tool.get("function") or {}
                call["name"] = call["name"] or function.get("name") or ""
                call["arguments"] += function.get("arguments") or ""
    found["calls"] = [calls[index] for index in sorted(calls)]
    return found


def expected_usage(counts: dict[str, Any] | None) -> Usage | None:
    if counts is None:
        return None
    read, written = (counts.get(f"{n}_tokens_details") or {} for n in ("prompt", "completion"))
    cached = read.get("cached_tokens") or counts.get("prompt_cache_hit_tokens") or 0
    created = read.get("cache_write_tokens") or counts.get("cache_creation_input_tokens") or 0
    if cached + created > counts["prompt_tokens"]:  # 2168 tokens, 2161 of them counted twice
        created = counts["prompt_tokens"] - cached
    return Usage(
        input=counts["prompt_tokens"] - cached - created,
        # xAI and Gemini count reasoning beside the completion, all others within it.
        output=counts["total_tokens"] - counts["prompt_tokens"],
        cache_read=cached,
        cache_creation=created,
        reasoning=written.get("reasoning_tokens")
        or counts["total_tokens"] - counts["prompt_tokens"] - counts["completion_tokens"],
    )


def expected_stop(state: dict[str, Any]) -> StopReason:
    if state["finish"] == "length":
        return StopReason.MAX_TOKENS
    return StopReason.TOOL_USE if state["calls"] else StopReason.END_TURN


@pytest.mark.parametrize("record", RECORDS, ids=ids)
def test_final_state(record: dict[str, Any]) -> None:
    """Message, calls, usage and stop reason are those of the stream's final state."""
    state = fold(payloads(record))
    for seed in SEEDS:
        events = run(wire(record), seed=seed)
        finished = events[-1]
        assert isinstance(finished, Finished)
        content = finished.content
        assert "".join(b.text for b in content if isinstance(b, Text)) == state["text"]
        assert "".join(b.text for b in content if isinstance(b, Reasoning)) == state["reasoning"]
        assert "".join(b.text for b in content if isinstance(b, Refusal)) == state["refusal"]
        calls = [b for b in content if isinstance(b, ToolCall)]
        assert [(c.id, c.name, c.arguments) for c in calls] == [
            (c["id"], c["name"], c["arguments"] or "{}") for c in state["calls"]
        ]
        assert finished.usage == expected_usage(state["usage"])
        assert finished.stop == expected_stop(state)
        consistent(events, finished)


def consistent(events: list[ModelEvent], finished: Finished) -> None:
    """What was shown piece by piece is what the message holds."""
    text = "".join(e.text for e in events if isinstance(e, TextPart))
    assert text == "".join(b.text for b in finished.content if isinstance(b, Text | Refusal))
    thought = "".join(e.text for e in events if isinstance(e, ReasoningPart))
    assert thought == "".join(b.text for b in finished.content if isinstance(b, Reasoning))
    calls = [b for b in finished.content if isinstance(b, ToolCall)]
    assert [e.id for e in events if isinstance(e, CallStarted)] == [c.id for c in calls]
    assert {e.call.id: e.call for e in events if isinstance(e, CallCompleted)} == {
        c.id: c for c in calls
    }
    for call in calls:
        pieces = [e.text for e in events if isinstance(e, CallArguments) and e.id == call.id]
        assert ("".join(pieces) or "{}") == call.arguments
    used = [e.usage for e in events if isinstance(e, UsageKnown)]
    assert (used[-1] if used else None) == finished.usage
    assert sum(isinstance(e, Finished) for e in events) == 1


@pytest.mark.parametrize("record", RECORDS, ids=ids)
def test_cut_anywhere(record: dict[str, Any]) -> None:
    """A stream that was cut never finishes with a server that sends `[DONE]`; with one that may
    not, it finishes only when the whole message had come."""
    body = wire(record)
    whole = run(body, seed=0)[-1]
    assert isinstance(whole, Finished)
    end = body.rfind(b"[DONE]")
    end = len(body) if end < 0 else end
    for step in range(40):
        cut = body[: end * step // 40]
        with pytest.raises(ProviderError):
            run(cut, seed=step, strict=True)
        try:
            last = run(cut, seed=step)[-1]
        except ProviderError:
            continue
        assert isinstance(last, Finished)
        assert (last.content, last.stop) == (whole.content, whole.stop)


@pytest.mark.parametrize("record", RECORDS, ids=ids)
def test_end_marker(record: dict[str, Any]) -> None:
    """Nothing behind `[DONE]` is read; the recordings without finish reason are known."""
    body = wire(record)
    if b"data: [DONE]" in body:
        before = run(body, seed=1)
        assert run(body + b'data: {"error":{"message":"late"}}\n\n', seed=1) == before
        without = body[: body.rfind(b"data: [DONE]")]
        if record["id"] in WITHOUT_FINISH:
            with pytest.raises(StreamTruncated):
                run(without, seed=1)
        else:
            assert run(without, seed=1)[-1] == before[-1]


@pytest.mark.parametrize("seed", range(5))
def test_errors_within_streams(seed: int) -> None:
    """The two recorded streams that carry an error raise it, with what came before it kept."""
    found = {r["id"]: r for r in streamed("recordings/errors") if r["endpoint"] == "openai.chat"}
    assert set(found) == {"bffc60e8b7bb5ec7", "8e7338308823fe67"}
    with pytest.raises(InvalidRequest, match="Tool choice is required"):
        run(wire(found["bffc60e8b7bb5ec7"]), seed=seed)
    with pytest.raises(ContextOverflow, match="Token limit reached"):
        run(wire(found["8e7338308823fe67"]), seed=seed)


def test_plain_completions() -> None:
    """Completions that were not streamed give text, calls and usage by the same code."""
    read = 0
    for record in (r for name in NAMES for r in records(name) if r not in RECORDS):
        body = json.loads(record["body"])
        answer = assembler()
        if "choices" not in body:
            with pytest.raises(ProviderError):
                answer.document(record["body"].encode())
            continue
        answer.document(record["body"].encode())
        last, read = answer.take()[-1], read + 1
        assert isinstance(last, Finished)
        message = body["choices"][0].get("message") or {}
        content = message.get("content") or ""
        if isinstance(content, list):
            content = "".join(part.get("text", "") for part in content)
        assert "".join(b.text for b in last.content if isinstance(b, Text)) == content
        old = message.get("function_call") or {}
        asked = [t.get("function") or t["custom"] for t in message.get("tool_calls") or []]
        asked += [old] if old.get("name") else []
        assert [b.name for b in last.content if isinstance(b, ToolCall)] == [
            a["name"] for a in asked
        ]
        assert last.usage == expected_usage(body.get("usage"))
    assert read == 653


def test_counts() -> None:
    """All streamed records of the data are among those replayed here."""
    assert [len(streamed(name)) for name in NAMES] == [161, 62, 11]
    assert len(RECORDS) == 234
