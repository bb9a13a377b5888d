"""OpenAI responses as it looks on the wire.

Every event has a name, a type and a `sequence_number`; each output item is added, filled, done, and
once more whole in `response.completed` (or `.incomplete`), which is the end. Summaries of reasoning
come only when the request asks for them, encrypted content only when it includes it.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec

from palaver.domain.messages import StopReason
from palaver.domain.values import Usage
from palaver.testing.provider_server.openai_chat import OBFUSCATIONS
from palaver.testing.provider_server.refusal import Refused
from palaver.testing.provider_server.reply import Prepared, Signal, new_id
from palaver.testing.script import Call, Cut, Decline, Fail, Pause, Report, Say, Stop, Think, pieces

_encode = msgspec.json.encode
_INCOMPLETE = {
    StopReason.MAX_TOKENS: "max_output_tokens",
    StopReason.CONTEXT_FULL: "max_output_tokens",
    StopReason.CONTENT_FILTER: "content_filter",
}
_ECHOED: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
    "metadata": {},
}
PING = b'event: keepalive\ndata: {"type":"keepalive","sequence_number":0}\n\n'
BROKEN = b'event: response.output_text.delta\ndata: {"type":"response.output_text.del\n\n'
STRAY = (
    b'event: response.weather_changed\ndata: {"type":"response.weather_changed","sky":["b"]}\n\n'
)


def error_frame(refused: Refused, request_id: str) -> bytes:
    """An error within the stream: `response.failed` when the model failed, else `error`."""
    if refused.code == "server_error":
        return _failed_frame(refused)
    error = {
        "type": refused.kind,
        "code": refused.code or refused.kind,
        "message": refused.message,
        "param": refused.param,
    }
    event = {"type": "error", "error": error, "sequence_number": 2}
    return b"event: error\ndata: " + _encode(event) + b"\n\n"


def _failed_frame(refused: Refused) -> bytes:
    response = {
        "id": new_id("resp_"),
        "object": "response",
        "created_at": 0,
        "status": "failed",
        "background": False,
        "error": {"code": refused.code, "message": refused.message},
        "incomplete_details": None,
        "model": "",
        "output": [],
        **_ECHOED,
        "usage": None,
    }
    event = {"type": "response.failed", "sequence_number": 2, "response": response}
    return b"event: response.failed\ndata: " + _encode(event) + b"\n\n"


def frames(reply: Prepared) -> Iterator[bytes | Signal]:
    """The stream, one event each."""
    return _Frames(reply).run()


class _Frames:
    def __init__(self, reply: Prepared) -> None:
        self._reply = reply
        self._numbers = itertools.count()
        options = reply.body.get("stream_options") or {}
        is_plain = options.get("include_obfuscation") is False
        noise = [b',"obfuscation":"%b"' % o for o in OBFUSCATIONS]
        self._noise = itertools.cycle([b""] if is_plain else noise)
        self._output: list[dict[str, Any]] = []
        self._message: dict[str, Any] | None = None

    def run(self) -> Iterator[bytes | Signal]:
        opening = {"response": _response(self._reply, "in_progress", [])}
        yield self._event("response.created", opening)
        yield self._event("response.in_progress", opening)
        for step in self._reply.steps:
            match step:
                case Say(text=text, piece=piece):
                    yield from self._say(text, piece or self._reply.piece, refusal=False)
                case Decline(text=text):
                    yield from self._say(text, self._reply.piece, refusal=True)
                case Think():
                    yield from self._close_message()
                    yield from self._think(step)
                case Call():
                    yield from self._close_message()
                    yield from self._call(step)
                case Pause() | Fail() | Cut():
                    yield step
                case Report() | Stop():
                    pass
        yield from self._close_message()
        status = _status(self._reply)
        whole = _response(self._reply, status, self._output)
        yield self._event(f"response.{status}", {"response": whole})

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self._output[-1]["id"], "output_index": len(self._output) - 1}

    def _add(self, item: dict[str, Any]) -> bytes:
        self._output.append(item)
        fields = {"output_index": len(self._output) - 1, "item": item}
        return self._event("response.output_item.added", fields)

    def _done(self, item: dict[str, Any]) -> bytes:
        self._output[-1] = item
        before = self._output[-2] if len(self._output) > 1 else {}
        needed = before["id"] if before.get("type") == "reasoning" else ""
        self._reply.terms.items.note(item["id"], needed)
        fields = {"output_index": len(self._output) - 1, "item": item}
        return self._event("response.output_item.done", fields)

    def _say(self, text: str, size: int, *, refusal: bool) -> Iterator[bytes]:
        if self._message is not None and ("refusal" in self._message) != refusal:
            yield from self._close_message()
        if self._message is None:
            yield self._add(_message_item("in_progress", []))
            self._message = _part("", refusal=refusal)
            fields = {**self._place, "content_index": 0, "part": self._message}
            yield self._event("response.content_part.added", fields)
        kind = "refusal" if refusal else "output_text"
        self._message["refusal" if refusal else "text"] += text
        extra = b"" if refusal else b',"logprobs":[]'
        place = {**self._place, "content_index": 0}
        yield from self._deltas(f"response.{kind}.delta", place, pieces(text, size), extra)

    def _close_message(self) -> Iterator[bytes]:
        part, self._message = self._message, None
        if part is None:
            return
        place = {**self._place, "content_index": 0}
        if "refusal" in part:
            yield self._event("response.refusal.done", {**place, "refusal": part["refusal"]})
        else:
            done = {**place, "text": part["text"], "logprobs": []}
            yield self._event("response.output_text.done", done)
        yield self._event("response.content_part.done", {**place, "part": part})
        item = _message_item(_item_status(self._reply), [part])
        yield self._done({**item, "id": self._output[-1]["id"]})

    def _think(self, step: Think) -> Iterator[bytes]:
        item = reasoning_item(self._reply, step)
        yield self._add({**item, "summary": []})
        if item["summary"]:
            place = {**self._place, "summary_index": 0}
            empty = {"type": "summary_text", "text": ""}
            yield self._event("response.reasoning_summary_part.added", {**place, "part": empty})
            parts = pieces(step.text, step.piece or self._reply.piece)
            yield from self._deltas("response.reasoning_summary_text.delta", place, parts, b"")
            done = {**place, "text": step.text}
            yield self._event("response.reasoning_summary_text.done", done)
            part = {**place, "part": item["summary"][0]}
            yield self._event("response.reasoning_summary_part.done", part)
        # Sealed anew each time, as the original does: never compare two forms of one item.
        yield self._done({**reasoning_item(self._reply, step), "id": item["id"]})

    def _call(self, step: Call) -> Iterator[bytes | Signal]:
        item = call_item(step, "in_progress", "")
        yield self._add(item)
        kind, text = "response.function_call_arguments.delta", step.json
        parts = list(pieces(text, step.piece or self._reply.piece))
        half = len(parts) // 2
        yield from self._deltas(kind, self._place, iter(parts[:half]), b"")
        if step.wait_s or step.until:
            yield Pause(step.wait_s, step.until)
        yield from self._deltas(kind, self._place, iter(parts[half:]), b"")
        done = {**self._place, "arguments": text}
        yield self._event("response.function_call_arguments.done", done)
        yield self._done({**call_item(step, "completed", text), "id": item["id"]})

    def _deltas(
        self, kind: str, place: dict[str, Any], texts: Iterator[str], extra: bytes
    ) -> Iterator[bytes]:
        # The hot path: everything but number, text and noise is made once.
        head = f'event: {kind}\ndata: {{"type":"{kind}","sequence_number":'.encode()
        where = b"," + _encode(place)[1:-1] + b',"delta":'
        noise, numbers = self._noise, self._numbers
        for text in texts:
            yield b"%b%d%b%b%b%b}\n\n" % (
                head, next(numbers), where, _encode(text), extra, next(noise),
            )  # fmt: skip

    def _event(self, kind: str, fields: dict[str, Any]) -> bytes:
        data = {"type": kind, "sequence_number": next(self._numbers), **fields}
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(data))


def whole(reply: Prepared) -> dict[str, Any]:
    """The answer without a stream."""
    frames = _Frames(reply)
    for _ in frames.run():
        pass
    return _response(reply, _status(reply), frames._output)


def reasoning_item(reply: Prepared, step: Think) -> dict[str, Any]:
    """A reasoning item with what the request asked to see of it."""
    item: dict[str, Any] = {"id": new_id("rs_"), "type": "reasoning", "summary": []}
    if (reply.body.get("reasoning") or {}).get("summary") and not step.redacted:
        item["summary"] = [{"type": "summary_text", "text": step.text}]
    if "reasoning.encrypted_content" in (reply.body.get("include") or ()):
        item["encrypted_content"] = reply.terms.proofs.seal(step.text)
    return item


def call_item(step: Call, status: str, arguments: str) -> dict[str, Any]:
    """A function call item."""
    return {
        "id": new_id("fc_"),
        "type": "function_call",
        "status": status,
        "arguments": arguments,
        "call_id": step.id,
        "name": step.name,
    }


def _message_item(status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": new_id("msg_"),
        "type": "message",
        "status": status,
        "content": content,
        "role": "assistant",
    }


def _part(text: str, *, refusal: bool) -> dict[str, Any]:
    if refusal:
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _status(reply: Prepared) -> str:
    return "incomplete" if reply.stop in _INCOMPLETE else "completed"


_item_status = _status


def _response(reply: Prepared, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    is_open = status == "in_progress"
    reason = None if is_open else _INCOMPLETE.get(reply.stop)
    echoed = {k: reply.body.get(k, default) for k, default in _ECHOED.items()}
    return {
        "id": reply.id,
        "object": "response",
        "created_at": reply.created,
        "status": status,
        "background": bool(reply.body.get("background")),
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "model": reply.model,
        "output": list(output),
        **echoed,
        "usage": None if is_open else _usage(reply.usage),
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cache_read},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }
