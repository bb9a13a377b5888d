"""Anthropic Messages as it looks on the wire.

Data lines carry padding spaces inside the JSON, a ping follows the first block's start, and the end
is `message_stop`.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from palaver.domain.messages import StopReason
from palaver.domain.values import Usage
from palaver.testing.provider_server.refusal import Refused, anthropic_body
from palaver.testing.provider_server.reply import Prepared, Signal
from palaver.testing.script import Call, Cut, Decline, Fail, Pause, Report, Say, Stop, Think, pieces

_encode = msgspec.json.encode
_PADS = [b" " * n for n in (0, 7, 2, 13, 4, 10, 1, 15, 6, 3, 12, 9, 5, 14, 8, 11)]
STOPS = {
    StopReason.END_TURN: "end_turn",
    StopReason.TOOL_USE: "tool_use",
    StopReason.STOP_SEQUENCE: "stop_sequence",
    StopReason.MAX_TOKENS: "max_tokens",
    StopReason.REFUSAL: "refusal",
    StopReason.CONTENT_FILTER: "refusal",
    StopReason.PAUSE: "pause_turn",
    StopReason.CONTEXT_FULL: "model_context_window_exceeded",
}
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
BROKEN = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"del\n\n'
STRAY = b'event: weather_changed\ndata: {"type":"weather_changed","sky":["blue"]}\n\n'
REDACTED = "EmwK"
"""How redacted thinking begins."""


def error_frame(refused: Refused, request_id: str) -> bytes:
    """An error within the stream."""
    return b"event: error\ndata: " + _encode(anthropic_body(refused, request_id)) + b"\n\n"


def frames(reply: Prepared) -> Iterator[bytes | Signal]:
    """The stream, one event each."""
    _remember(reply)
    return _Frames(reply).run()


class _Frames:
    def __init__(self, reply: Prepared) -> None:
        self._reply = reply
        self._pads = itertools.cycle(_PADS)
        self._index = -1
        self._text_open = False

    def run(self) -> Iterator[bytes | Signal]:
        yield self._event("message_start", {"message": _message(self._reply, start=True)})
        for step in self._reply.steps:
            match step:
                case Say(text=text, piece=piece):
                    yield from self._text(text, piece or self._reply.piece)
                case Decline(text=text):
                    yield from self._text(text, self._reply.piece)
                case Think():
                    yield from self._close_text()
                    yield from self._think(step)
                case Call():
                    yield from self._close_text()
                    yield from self._call(step)
                case Pause() | Fail() | Cut():
                    yield step
                case Report() | Stop():
                    pass
        yield from self._close_text()
        stopped = {
            "stop_reason": STOPS.get(self._reply.stop, "end_turn"),
            "stop_sequence": _sequence(self._reply),
            "stop_details": None,
        }
        yield self._event("message_delta", {"delta": stopped, "usage": _usage(self._reply.usage)})
        yield self._event("message_stop", {})

    def _text(self, text: str, size: int) -> Iterator[bytes]:
        if not self._text_open:
            self._text_open = True
            yield from self._start({"type": "text", "text": ""})
        yield from self._deltas("text_delta", "text", pieces(text, size))

    def _close_text(self) -> Iterator[bytes]:
        if self._text_open:
            self._text_open = False
            yield self._stop()

    def _think(self, step: Think) -> Iterator[bytes]:
        if step.redacted:
            yield from self._start(_thinking(self._reply, step))
        else:
            yield from self._start({"type": "thinking", "thinking": "", "signature": ""})
            size = step.piece or self._reply.piece
            yield from self._deltas("thinking_delta", "thinking", pieces(step.text, size))
            signature = self._reply.terms.proofs.sign(step.text)
            yield from self._deltas("signature_delta", "signature", iter([signature]))
        yield self._stop()

    def _call(self, step: Call) -> Iterator[bytes | Signal]:
        yield from self._start(_tool_use(step, {}))
        yield from self._deltas("input_json_delta", "partial_json", iter([""]))
        # A call without arguments has no text at all on this wire.
        parts = list(pieces(step.json, step.piece or self._reply.piece))
        parts = [] if step.arguments == {} else parts
        half = len(parts) // 2
        yield from self._deltas("input_json_delta", "partial_json", iter(parts[:half]))
        if step.wait_s or step.until:
            yield Pause(step.wait_s, step.until)
        yield from self._deltas("input_json_delta", "partial_json", iter(parts[half:]))
        yield self._stop()

    def _start(self, block: dict[str, Any]) -> Iterator[bytes]:
        self._index += 1
        yield self._event("content_block_start", {"index": self._index, "content_block": block})
        if self._index == 0:
            yield PING

    def _stop(self) -> bytes:
        return self._event("content_block_stop", {"index": self._index})

    def _deltas(self, kind: str, field: str, texts: Iterator[str]) -> Iterator[bytes]:
        # The hot path: everything but the text and the padding is made once.
        head = (
            'event: content_block_delta\ndata: {"type":"content_block_delta","index":'
            f'{self._index},"delta":{{"type":"{kind}","{field}":'
        ).encode()
        pads = self._pads
        for text in texts:
            yield b"%b%b}%b}\n\n" % (head, _encode(text), next(pads))

    def _event(self, kind: str, fields: Mapping[str, Any]) -> bytes:
        data = _encode({"type": kind, **fields})[:-1]
        return b"event: %b\ndata: %b%b}\n\n" % (kind.encode(), data, next(self._pads))


def whole(reply: Prepared) -> dict[str, Any]:
    """The answer without a stream."""
    _remember(reply)
    return _message(reply, start=False)


def _remember(reply: Prepared) -> None:
    """Note the calls that came behind thinking: it has to come back with them."""
    thought = False
    for step in reply.steps:
        if isinstance(step, Think):
            thought = True
        elif isinstance(step, Call) and thought:
            reply.terms.thought_calls.note(step.id, "thought")


def _message(reply: Prepared, *, start: bool) -> dict[str, Any]:
    usage = reply.usage
    return {
        "model": reply.model,
        "id": reply.id,
        "type": "message",
        "role": "assistant",
        "content": [] if start else _content(reply),
        "stop_reason": None if start else STOPS.get(reply.stop, "end_turn"),
        "stop_sequence": None if start else _sequence(reply),
        "stop_details": None,
        "usage": {
            # What the answer will cost is not known at its start.
            **_usage(msgspec.structs.replace(usage, reasoning=0) if start else usage),
            "cache_creation": {
                "ephemeral_5m_input_tokens": usage.cache_creation,
                "ephemeral_1h_input_tokens": 0,
            },
            # Above 0 already in message_start; clients must take the last value.
            "output_tokens": min(3, usage.output) if start else usage.output,
            "service_tier": "standard",
            "inference_geo": "not_available",
        },
    }


def _content(reply: Prepared) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    for step in reply.steps:
        if isinstance(step, Say | Decline):
            if content and content[-1]["type"] == "text":
                content[-1]["text"] += step.text
            else:
                content.append({"type": "text", "text": step.text})
        elif isinstance(step, Think):
            content.append(_thinking(reply, step))
        elif isinstance(step, Call):
            content.append(_tool_use(step, _input(step)))
    return content


def _thinking(reply: Prepared, step: Think) -> dict[str, Any]:
    if step.redacted:
        sealed = reply.terms.proofs.seal(step.text, prefix=REDACTED)
        return {"type": "redacted_thinking", "data": sealed}
    return {
        "type": "thinking",
        "thinking": step.text,
        "signature": reply.terms.proofs.sign(step.text),
    }


def _tool_use(step: Call, arguments: object) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": step.id,
        "name": step.name,
        "input": arguments,
        "caller": {"type": "direct"},
    }


def _input(step: Call) -> object:
    try:
        return msgspec.json.decode(step.json)
    except msgspec.DecodeError:
        return {}


def _usage(usage: Usage) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_creation,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    }
    if usage.reasoning:
        fields["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return fields


def _sequence(reply: Prepared) -> str | None:
    if reply.stop is not StopReason.STOP_SEQUENCE:
        return None
    return next(iter(reply.body.get("stop_sequences") or ()), None)
