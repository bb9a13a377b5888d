"""OpenAI chat completions as it looks on the wire.

No event names; each chunk repeats id and model and carries a random `obfuscation`; usage comes in a
chunk without choices when asked for; the end is `[DONE]`. Reasoning is sent as compatible servers
do, in `reasoning_content`.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec

from palaver.domain.messages import StopReason
from palaver.domain.values import Usage
from palaver.testing.provider_server.refusal import Refused, openai_body
from palaver.testing.provider_server.reply import Prepared, Signal
from palaver.testing.script import Call, Cut, Decline, Fail, Pause, Report, Say, Stop, Think, pieces

_encode = msgspec.json.encode
OBFUSCATIONS = [
    b"rW", b"nVttzR4Sf", b"eRDpsorh", b"Okoxa", b"qZ8", b"pvXxBw2", b"Lm0QkT", b"ArSAgz99Yq1",
]  # fmt: skip
STOPS = {
    StopReason.TOOL_USE: "tool_calls",
    StopReason.MAX_TOKENS: "length",
    StopReason.CONTEXT_FULL: "length",
    StopReason.CONTENT_FILTER: "content_filter",
}
PING = b": keep-alive\n\n"
BROKEN = b'data: {"id":"chatcmpl-0","object":"chat.completion.ch\n\n'
STRAY = b'event: weather_changed\ndata: {"object":"weather.changed","sky":["blue"]}\n\n'
DONE = b"data: [DONE]\n\n"


def error_frame(refused: Refused, request_id: str) -> bytes:
    """An error within the stream."""
    return b"data: " + _encode(openai_body(refused)) + b"\n\n"


def frames(reply: Prepared) -> Iterator[bytes | Signal]:
    """The stream, one chunk each."""
    return _Frames(reply).run()


class _Frames:
    def __init__(self, reply: Prepared) -> None:
        self._reply = reply
        options = reply.body.get("stream_options") or {}
        self._with_usage = options.get("include_usage") is True
        is_plain = options.get("include_obfuscation") is False
        self._noise = itertools.cycle([b""] if is_plain else [_noise(o) for o in OBFUSCATIONS])
        self._head = (
            b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,'
            b'"service_tier":"default","system_fingerprint":"fp_5f1c8a30e7","choices":['
            % (_encode(reply.id), reply.created, _encode(reply.model))
        )
        self._usage = b',"usage":null' if self._with_usage else b""
        self._calls = 0

    def run(self) -> Iterator[bytes | Signal]:
        steps = self._reply.steps
        speaks = any(isinstance(s, Say) for s in steps) or not any(
            isinstance(s, Call) for s in steps
        )
        yield self._chunk({"role": "assistant", "content": "" if speaks else None, "refusal": None})
        for step in steps:
            match step:
                case Say(text=text, piece=piece):
                    yield from self._deltas(b'{"content":', b"}", text, piece)
                case Decline(text=text):
                    yield from self._deltas(b'{"refusal":', b"}", text, 0)
                case Think(text=text, piece=piece, redacted=False):
                    yield from self._deltas(b'{"reasoning_content":', b"}", text, piece)
                case Call():
                    yield from self._call(step)
                case Pause() | Fail() | Cut():
                    yield step
                case Think() | Report() | Stop():
                    pass
        yield self._chunk({}, finish=STOPS.get(self._reply.stop, "stop"))
        if self._with_usage and not any(isinstance(s, Report) and s.usage is None for s in steps):
            usage = _encode(_usage(self._reply.usage))
            yield b'%b],"usage":%b%b}\n\n' % (self._head, usage, next(self._noise))
        yield DONE

    def _call(self, step: Call) -> Iterator[bytes | Signal]:
        index, self._calls = self._calls, self._calls + 1
        function = {"name": step.name, "arguments": ""}
        start = {"index": index, "id": step.id, "type": "function", "function": function}
        yield self._chunk({"tool_calls": [start]})
        head = b'{"tool_calls":[{"index":%d,"function":{"arguments":' % index
        text, tail = step.json, b"}}]}"
        if not (step.wait_s or step.until):
            yield from self._deltas(head, tail, text, step.piece)
            return
        half = len(text) // 2
        yield from self._deltas(head, tail, text[:half], step.piece)
        yield Pause(step.wait_s, step.until)
        yield from self._deltas(head, tail, text[half:], step.piece)

    def _deltas(self, head: bytes, tail: bytes, text: str, piece: int) -> Iterator[bytes]:
        # The hot path: everything but the text and the noise is made once.
        head = self._head + b'{"index":0,"delta":' + head
        tail = tail + b',"logprobs":null,"finish_reason":null}]' + self._usage
        noise = self._noise
        for part in pieces(text, piece or self._reply.piece):
            yield b"%b%b%b%b}\n\n" % (head, _encode(part), tail, next(noise))

    def _chunk(self, delta: dict[str, Any], *, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return b"%b%b]%b%b}\n\n" % (self._head, _encode(choice), self._usage, next(self._noise))


def _noise(text: bytes) -> bytes:
    return b',"obfuscation":"%b"' % text


def whole(reply: Prepared) -> dict[str, Any]:
    """The answer without a stream."""
    return {
        "id": reply.id,
        "object": "chat.completion",
        "created": reply.created,
        "model": reply.model,
        "choices": [
            {
                "index": 0,
                "message": _message(reply),
                "logprobs": None,
                "finish_reason": STOPS.get(reply.stop, "stop"),
            }
        ],
        "usage": _usage(reply.usage),
        "service_tier": "default",
        "system_fingerprint": "fp_5f1c8a30e7",
    }


def _message(reply: Prepared) -> dict[str, Any]:
    def joined(*kinds: type[Say | Decline | Think]) -> str | None:
        return "".join(s.text for s in reply.steps if isinstance(s, kinds)) or None

    message: dict[str, Any] = {"role": "assistant", "content": joined(Say)}
    calls = [
        {
            "id": step.id,
            "type": "function",
            "function": {"name": step.name, "arguments": step.json},
        }
        for step in reply.steps
        if isinstance(step, Call)
    ]
    if calls:
        message["tool_calls"] = calls
    if thought := joined(Think):
        message["reasoning_content"] = thought
    return {**message, "refusal": joined(Decline), "annotations": []}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
