"""What a provider streams: Anthropic's Messages, OpenAI's chat completions and responses."""

from functools import lru_cache
from typing import Protocol, TypeAlias

import msgspec

_json = msgspec.json.encode
Api: TypeAlias = str
"""`anthropic`, `openai` (chat completions) or `responses`."""
PATHS: dict[Api, str] = {
    "anthropic": "/v1/messages",
    "openai": "/v1/chat/completions",
    "responses": "/v1/responses",
}
"""What follows the scenario in an address."""
APIS: tuple[Api, ...] = tuple(PATHS)

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


class ResponsesFrames:
    """Responses API: numbered events; an item is told when it begins, as it grows, and whole."""

    def __init__(self) -> None:
        self._number, self._index = 0, -1
        self._item: dict[str, object] = {}
        self._pieces: list[str] = []
        self._output: list[dict[str, object]] = []

    def start(self) -> bytes:
        response = self._response("in_progress")
        created = self._send("response.created", {"response": response})
        return created + self._send("response.in_progress", {"response": response})

    def open_text(self) -> bytes:
        item: dict[str, object] = {"type": "message", "role": "assistant", "content": []}
        added = self._open(f"msg_bench_{self._index + 1}", item)
        return added + self._of_item("response.content_part.added", part=_part(""), content_index=0)

    def text(self, piece: str) -> bytes:
        self._pieces.append(piece)
        return self._of_item(
            "response.output_text.delta", content_index=0, delta=piece, logprobs=[]
        )

    def open_call(self, call_id: str, name: str) -> bytes:
        item: dict[str, object] = {"type": "function_call", "call_id": call_id, "name": name}
        return self._open(f"fc_{call_id}", item | {"arguments": ""})

    def arguments(self, piece: str) -> bytes:
        self._pieces.append(piece)
        return self._of_item("response.function_call_arguments.delta", delta=piece)

    def close(self) -> bytes:
        whole = "".join(self._pieces)
        self._item["status"] = "completed"
        if self._item["type"] == "message":
            part = _part(whole)
            self._item["content"] = [part]
            told = self._of_item("response.output_text.done", content_index=0, text=whole)
            told += self._of_item("response.content_part.done", content_index=0, part=part)
        else:
            self._item["arguments"] = whole
            told = self._of_item("response.function_call_arguments.done", arguments=whole)
        self._output.append(self._item)
        done = {"output_index": self._index, "item": self._item}
        return told + self._send("response.output_item.done", done)

    def end(self, *, calls: bool) -> bytes:
        return self._send("response.completed", {"response": self._response("completed")})

    def _open(self, item_id: str, item: dict[str, object]) -> bytes:
        self._index += 1
        self._item = {"id": item_id, "status": "in_progress", **item}
        self._pieces = []
        return self._send(
            "response.output_item.added", {"output_index": self._index, "item": self._item}
        )

    def _of_item(self, kind: str, **fields: object) -> bytes:
        place = {"item_id": self._item["id"], "output_index": self._index}
        return self._send(kind, {**place, **fields})

    def _send(self, kind: str, fields: dict[str, object]) -> bytes:
        self._number += 1
        return _event(kind, {"sequence_number": self._number - 1, **fields})

    def _response(self, status: str) -> dict[str, object]:
        usage = {
            "input_tokens": 1000,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 300,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 1300,
        }
        return {
            "id": "resp_bench",
            "object": "response",
            "created_at": 1700000000,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": "gpt-5-mini",
            "output": self._output,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": usage if status == "completed" else None,
        }


_FRAMES: dict[Api, type[Frames]] = {
    "anthropic": AnthropicFrames,
    "openai": ChatFrames,
    "responses": ResponsesFrames,
}


def frames(api: Api) -> Frames:
    """A new answer on the wire of `api`."""
    return _FRAMES[api]()


@lru_cache(8192)
def chunk(frame: bytes) -> bytes:
    """A frame as HTTP carries it; an empty one is the end."""
    return b"%x\r\n%b\r\n" % (len(frame), frame)


def api_of(path: str) -> Api | None:
    """Whose wire an address speaks, by how it ends."""
    return next((api for api, ending in PATHS.items() if path.endswith(ending)), None)


def _part(text: str) -> dict[str, object]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


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
    role: str = ""
    type: str = ""
    content: msgspec.Raw = msgspec.Raw(b"null")


class _Body(msgspec.Struct):
    messages: list[msgspec.Raw] = []
    input: list[msgspec.Raw] = []


def last_said(body: bytes) -> str:
    """What a request ends with: `results` of tools, `warm up`, or a `question`."""
    request = msgspec.json.decode(body, type=_Body)
    last = msgspec.json.decode((request.messages or request.input)[-1], type=_Message)
    content = bytes(last.content)
    if last.role == "tool" or last.type == "function_call_output" or b'"tool_result"' in content:
        return "results"
    return "warm up" if WARM_UP.encode() in content else "question"
