"""Chat completions: the stream's chunks become one answer.

When is an answer complete? The end marker is `[DONE]`. Three cases are not plain:

* `finish_reason` came, and the stream ended without `[DONE]`: complete, because some compatible
  servers never send it; but a truncation with a server that is known to (`marker_expected`).
* `[DONE]` came without `finish_reason`: complete when the final usage came too and every call is
  whole (OpenRouter and Snowflake send such streams), else a truncation.
* Neither came: a truncation.

A call is complete when its arguments are a closed object, when a later delta goes on with another
call (for calls without arguments), or at the end. An empty object is not believed before that: some
servers send `{}` first and the arguments behind it.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from palaver.domain.errors import (
    Overloaded,
    ProtocolViolation,
    ProviderError,
    ServerFailure,
    StreamTruncated,
)
from palaver.domain.messages import Block, Reasoning, Refusal, StopReason, Text
from palaver.domain.values import Usage
from palaver.providers.base import Finished, ModelEvent
from palaver.providers.openai_answer import Answer, Growing, GrowingCall
from palaver.providers.openai_chat_wire import (
    Choice,
    Chunk,
    Custom,
    Delta,
    Function,
    Part,
    ToolDelta,
    usage_of,
)
from palaver.providers.openai_payload import PayloadDecoder
from palaver.providers.openai_reasoning import ReasoningDetails

ORIGIN = "openai.chat"
"""Of blocks that any server with this API may get back; thinking belongs to one server."""
CUSTOM = '{"type":"custom"}'
"""`ToolCall.native` of a custom tool's call: its arguments are free text."""

_STOPS = {
    "stop": StopReason.END_TURN,
    "eos": StopReason.END_TURN,
    "end_turn": StopReason.END_TURN,
    "tool_calls": StopReason.TOOL_USE,
    "function_call": StopReason.TOOL_USE,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "length": StopReason.MAX_TOKENS,
    "max_tokens": StopReason.MAX_TOKENS,
    "model_length": StopReason.CONTEXT_FULL,
    "content_filter": StopReason.CONTENT_FILTER,
}
_FAILED: dict[str, type[ProviderError]] = {
    "insufficient_system_resource": Overloaded,
    "error": ServerFailure,
    "network_error": ServerFailure,
    "abort": ServerFailure,
}
"""Finish reasons that say the server broke off."""

_decoder = PayloadDecoder(Chunk)


class ChatAssembler:
    """One stream of chunks, or one plain completion."""

    def __init__(
        self,
        *,
        failure: Callable[[bytes], ProviderError],
        request_id: Callable[[], str] = lambda: "",
        origin: str = ORIGIN,
        marker_expected: bool = False,
        on_marker: Callable[[], None] = lambda: None,
    ) -> None:
        self.ended = False
        self._on_marker = on_marker
        self._failure, self._request_id = failure, request_id
        self._marker_expected = marker_expected
        self._origin = origin
        self._answer = Answer(origin=ORIGIN)
        self._text, self._refusal, self._thinking = Growing(), Growing(), Growing()
        self._details = ReasoningDetails()
        self._annotations: list[dict[str, Any]] = []
        self._field = ""
        self._calls: dict[int, GrowingCall] = {}
        self._order: list[GrowingCall] = []
        self._legacy: GrowingCall | None = None
        self._finish = ""
        self._native_id = self._model = ""

    @property
    def usage(self) -> Usage | None:
        """What was reported so far."""
        return self._answer.known

    def take(self) -> list[ModelEvent]:
        """The events since the last call."""
        return self._answer.take()

    def feed(self, payload: bytes) -> bool:
        """Take one chunk. Returns whether the answer went on. Raises ProviderError."""
        if payload.startswith(b"[DONE]"):
            self._on_marker()
            self._end(complete=bool(self._finish) or self._is_whole())
            return False
        chunk, halves = _decoder.decode(payload)
        if halves:
            self._answer.halves = True
        if chunk.error or chunk.object == "error":
            raise self._failure(payload)
        return self._take(chunk)

    def document(self, payload: bytes) -> None:
        """Take a plain completion. Raises ProviderError."""
        chunk, halves = _decoder.decode(payload)
        self._answer.halves = halves
        if chunk.error or chunk.object == "error":
            raise self._failure(payload)
        if not chunk.choices:
            raise ProtocolViolation("the answer is neither a stream nor a completion")
        self._take(chunk)
        self._end(complete=True)

    def close(self) -> None:
        """The stream is over. Raises StreamTruncated unless the answer is complete."""
        if not self.ended:
            self._end(complete=bool(self._finish) and not self._marker_expected)

    def partial(self) -> tuple[Block, ...]:
        """Thinking and text so far, and the complete calls."""
        return self._content()

    def _take(self, chunk: Chunk) -> bool:
        if chunk.id and not self._native_id:
            self._native_id = chunk.id
        if chunk.model and not self._model:
            self._model = chunk.model
        went_on = False
        for choice in chunk.choices or ():
            if not choice.index:
                went_on = self._choice(choice) or went_on
        counts = chunk.usage or (chunk.x_groq and chunk.x_groq.usage)
        if counts:
            self._answer.count(usage_of(counts))
        return went_on

    def _choice(self, choice: Choice) -> bool:
        delta = choice.delta or choice.message
        went_on = delta is not None and self._delta(delta)
        if choice.finish_reason:
            self._finish = choice.finish_reason
            if failed := _FAILED.get(self._finish):
                raise failed(f"the provider broke off ({self._finish})", in_stream=True)
            self._complete_all()
            return True
        return went_on

    def _delta(self, delta: Delta) -> bool:
        content = delta.content
        went_on = bool(content)
        if (
            delta.reasoning_content
            or delta.tool_calls
            or delta.reasoning
            or delta.reasoning_details
            or delta.refusal
            or delta.function_call is not None
            or delta.annotations
        ):
            self._think(delta)
            self._annotations += delta.annotations or ()
            went_on = True
        if isinstance(content, str):
            self._answer.say(self._text, content)
        elif content:
            self._parts(content)
        if delta.refusal:
            self._answer.say(self._refusal, delta.refusal)
        if delta.tool_calls:
            self._tools(delta.tool_calls)
        if delta.function_call is not None:
            self._old_function(delta.function_call)
        return went_on

    def _parts(self, parts: list[Part]) -> None:
        for part in parts:
            if part.thinking is not None:
                self._field = "thinking"
                self._answer.think(self._thinking, _plain(part.thinking))
            elif part.text:
                self._answer.say(self._text, part.text)

    def _think(self, delta: Delta) -> None:
        """Take thinking from the fields of compatible servers; several may repeat the same text."""
        told = ""
        for name, value in (
            ("reasoning_content", delta.reasoning_content),
            ("reasoning", delta.reasoning),
        ):
            if value and isinstance(value, str):
                self._field, told = name, value
                break
        if delta.reasoning_details:
            added = self._details.add(delta.reasoning_details)
            told = told or added
        if told:
            self._answer.think(self._thinking, told)

    def _tools(self, deltas: list[ToolDelta]) -> None:
        begun_before = len(self._order)
        for delta in deltas:
            call = self._call_of(delta)
            self._extend(call, delta.function, delta.custom)
            for earlier in self._order[:begun_before]:
                if earlier is call:
                    break
                # The model has gone on to another call, so this one stays without arguments.
                if earlier.call is None and (earlier.scanner.closed or not earlier):
                    self._complete(earlier)

    def _call_of(self, delta: ToolDelta) -> GrowingCall:
        index, name = delta.index, _name(delta)
        wire_id = str(delta.id) if delta.id is not None else ""
        if index is None:
            # A server without indices sends whole calls, or goes on with the last one.
            index = len(self._calls) - 1
            last = self._calls.get(index)
            if last is None or (wire_id and wire_id != last.wire_id) or (not wire_id and name):
                index += 1
        known = self._calls.get(index)
        if known is not None and not _another(known, wire_id, name):
            known.wire_id = known.wire_id or wire_id
            return known
        call = GrowingCall(wire_id=wire_id, custom=delta.custom is not None)
        self._calls[index] = call
        self._order.append(call)
        return call

    def _extend(self, call: GrowingCall, function: Function | None, custom: Custom | None) -> None:
        name, text = "", ""
        if function is not None:
            name, text = function.name or "", _arguments(function)
        elif custom is not None:
            name, text = custom.name or "", custom.input or ""
        if name and not call.name:
            call.name = name
        closed = self._answer.fill(call, text)
        if call.name and not call.id:
            self._answer.begin(call)
        if closed and not call.custom and call.name and call.text.strip() != "{}":
            self._complete(call)

    def _old_function(self, function: Function) -> None:
        if not function.name and not function.arguments:
            return
        if self._legacy is None:
            self._legacy = GrowingCall()
            self._order.append(self._legacy)
        self._extend(self._legacy, function, None)

    def _complete(self, call: GrowingCall) -> None:
        self._answer.complete(call, native=CUSTOM if call.custom else "")

    def _complete_all(self) -> None:
        # A call without name, id and arguments is a server's empty placeholder.
        self._order = [call for call in self._order if call.name or call.wire_id or call]
        for call in self._order:
            self._complete(call)

    def _end(self, *, complete: bool) -> None:
        if not complete:
            raise StreamTruncated(
                "the answer was cut off before its end",
                in_stream=bool(self._text or self._thinking or self._order),
            )
        self._answer.end_run(self._thinking, thought=True)
        self._answer.end_run(self._text)
        self._answer.end_run(self._refusal)
        self._complete_all()
        self.ended = True
        self._answer.finish(
            Finished(
                self._content(),
                self._stop(),
                self._answer.known,
                self._native_id,
                self._request_id(),
                self._model,
                self._text.sanitised or self._refusal.sanitised or self._thinking.sanitised,
            )
        )

    def _is_whole(self) -> bool:
        """Whether an answer without finish reason shows all signs of its end."""
        if self._answer.known is None or not (self._text or self._refusal or self._order):
            return False
        return all(call.scanner.closed or not call for call in self._order)

    def _stop(self) -> StopReason:
        stop = _STOPS.get(self._finish, StopReason.OTHER if self._finish else StopReason.END_TURN)
        if stop in (StopReason.END_TURN, StopReason.TOOL_USE):
            if self._order:
                return StopReason.TOOL_USE
            return StopReason.REFUSAL if self._refusal else StopReason.END_TURN
        return stop

    def _content(self) -> tuple[Block, ...]:
        blocks: list[Block] = []
        if self._thinking or self._details:
            text = self._thinking.text
            blocks.append(Reasoning(text, origin=self._origin, native=self._native_reasoning(text)))
        if self._text:
            cited = msgspec.json.encode(self._annotations).decode() if self._annotations else ""
            blocks.append(Text(self._text.text, cited))
        if self._refusal:
            blocks.append(Refusal(self._refusal.text))
        blocks.extend(call.call for call in self._order if call.call is not None)
        return tuple(blocks)

    def _native_reasoning(self, text: str) -> str:
        """The fields in which this server wants its thinking back, as one JSON object."""
        fields: dict[str, Any] = {self._field: text} if self._field and text else {}
        if self._details:
            fields = {"reasoning_details": self._details.joined()}
        return msgspec.json.encode(fields).decode() if fields else ""


def _plain(thinking: str | list[Part]) -> str:
    if isinstance(thinking, str):
        return thinking
    return "".join(part.text or "" for part in thinking)


def _name(delta: ToolDelta) -> str:
    if delta.function is not None:
        return delta.function.name or ""
    return (delta.custom.name or "") if delta.custom is not None else ""


def _another(known: GrowingCall, wire_id: str | None, name: str) -> bool:
    """Whether a delta under a known index begins another call: Gemini gives all calls index 0."""
    return bool(
        wire_id and known.wire_id and wire_id != known.wire_id and name and known.scanner.closed
    )


def _arguments(function: Function) -> str:
    given = function.arguments
    if isinstance(given, dict):
        return msgspec.json.encode(given).decode()
    return given or ""
