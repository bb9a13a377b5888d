"""The bytes that a provider streams: Anthropic's Messages and OpenAI's chat completions."""

from typing import Protocol, TypeAlias

import msgspec

_json = msgspec.json.encode
Api: TypeAlias = str
"""`anthropic` or `openai`."""
APIS: tuple[Api, ...] = ("anthropic", "openai")
PATHS = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}
"""What follows the scenario in an address."""


WARM_UP = "Warm up."
"""A message that is answered with one word, whatever the scenario."""


class Frames(Protocol):
    """One answer, frame by frame. Empty bytes where a wire has no such frame."""

    def start(self) -> bytes: ...
    def open_text(self) -> bytes: ...
    def text(self, piece: str) -> bytes: ...
    def open_call(self, call_id: str, name: str) -> bytes: ...
    def arguments(self, piece: str) -> bytes: ...
    def close(self) -> bytes: ...
    def end(self, *, calls: bool) -> bytes: ...


class AnthropicFrames:
    """Messages API: named events, blocks that open and close."""

    def __init__(self) -> None:
        self._index = -1

    def start(self) -> bytes:
        usage = {"input_tokens": 1000, "output_tokens": 1}
        message: dict[str, object] = {
            "id": "msg_bench",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        return _event("message_start", {"message": message})

    def open_text(self) -> bytes:
        return self._open({"type": "text", "text": ""})

    def text(self, piece: str) -> bytes:
        return self._delta({"type": "text_delta", "text": piece})

    def open_call(self, call_id: str, name: str) -> bytes:
        return self._open({"type": "tool_use", "id": call_id, "name": name, "input": {}})

    def arguments(self, piece: str) -> bytes:
        return self._delta({"type": "input_json_delta", "partial_json": piece})

    def close(self) -> bytes:
        return _event("content_block_stop", {"index": self._index})

    def end(self, *, calls: bool) -> bytes:
        delta = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
        ending = _event("message_delta", {"delta": delta, "usage": {"output_tokens": 300}})
        return ending + _event("message_stop", {})

    def _open(self, block: dict[str, object]) -> bytes:
        self._index += 1
        return _event("content_block_start", {"index": self._index, "content_block": block})

    def _delta(self, delta: dict[str, object]) -> bytes:
        return _event("content_block_delta", {"index": self._index, "delta": delta})


class ChatFrames:
    """Chat completions: chunks without names, calls by index, an end marker."""

    def __init__(self) -> None:
        self._call = -1

    def start(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def open_text(self) -> bytes:
        return b""

    def text(self, piece: str) -> bytes:
        return self._chunk({"content": piece})

    def open_call(self, call_id: str, name: str) -> bytes:
        self._call += 1
        function = {"name": name, "arguments": ""}
        return self._tool({"id": call_id, "type": "function", "function": function})

    def arguments(self, piece: str) -> bytes:
        return self._tool({"function": {"arguments": piece}})

    def close(self) -> bytes:
        return b""

    def end(self, *, calls: bool) -> bytes:
        counts = {"prompt_tokens": 1000, "completion_tokens": 300, "total_tokens": 1300}
        last = self._chunk({}, finish="tool_calls" if calls else "stop")
        return last + _data(_chunk_fields([], usage=counts)) + b"data: [DONE]\n\n"

    def _tool(self, fields: dict[str, object]) -> bytes:
        return self._chunk({"tool_calls": [{"index": self._call, **fields}]})

    def _chunk(self, delta: dict[str, object], *, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _data(_chunk_fields([choice], usage=None))


def frames(api: Api) -> Frames:
    """A new answer on the wire of `api`."""
    return AnthropicFrames() if api == "anthropic" else ChatFrames()


def _event(kind: str, fields: dict[str, object]) -> bytes:
    return b"event: %b\n%b" % (kind.encode(), _data({"type": kind, **fields}))


def _data(fields: dict[str, object]) -> bytes:
    return b"data: %b\n\n" % _json(fields)


def _chunk_fields(choices: list[object], *, usage: object) -> dict[str, object]:
    return {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "gpt-5-mini",
        "service_tier": "default",
        "system_fingerprint": "fp_bench",
        "choices": choices,
        "usage": usage,
    }


class _Message(msgspec.Struct):
    role: str
    content: msgspec.Raw = msgspec.Raw(b"null")


class _Body(msgspec.Struct):
    messages: list[msgspec.Raw]


def last_said(body: bytes) -> str:
    """What a request ends with: `results` of tools, `warm up`, or a `question`."""
    last = msgspec.json.decode(msgspec.json.decode(body, type=_Body).messages[-1], type=_Message)
    content = bytes(last.content)
    if last.role == "tool" or b'"tool_result"' in content:
        return "results"
    return "warm up" if WARM_UP.encode() in content else "question"
