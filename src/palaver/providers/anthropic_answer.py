"""A Messages API stream becomes one message.

The answer is a list of open and finished blocks. Deltas of one batch for the same block are
gathered and become one event and one piece of text, so that a burst costs little more than its
decoding. Kinds of blocks that have no type of ours are opaque: their JSON is kept and completed.
"""

import json
from typing import Any

import msgspec

from palaver.domain.errors import ProtocolViolation
from palaver.domain.ids import CallId
from palaver.domain.messages import Block, Reasoning, Text, ToolCall, Unknown
from palaver.domain.text import clean
from palaver.domain.values import Usage
from palaver.providers import anthropic_wire as wire
from palaver.providers.anthropic_wire import BlockDelta, JsonDelta, TextDelta, ThinkingDelta
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
from palaver.providers.sse import Sse

ORIGIN = "anthropic.messages"


class _Open:
    """One block: its first JSON, and the pieces that have come since."""

    __slots__ = ("call_id", "done", "finished", "held", "kind", "pieces", "start")

    def __init__(self, kind: str, start: dict[str, Any]) -> None:
        self.kind = kind
        self.start = start
        self.pieces: list[str] = []
        self.held = ""
        """A high surrogate that waits for its other half."""
        self.call_id = ""
        self.done = False
        self.finished: Block | None = None


class ErrorEvent(Exception):
    """The stream holds an error object; `data` is its event."""

    def __init__(self, data: bytes) -> None:
        super().__init__("error event")
        self.data = data


class AnthropicAnswer:
    """Told batches of events, it says what is new; `finished` is set by the end marker."""

    def __init__(self) -> None:
        self.finished: Finished | None = None
        self.has_news = False
        """Whether the last batch held anything of the answer itself: more than pings and counts."""
        self._blocks: list[_Open] = []
        self._open: dict[int, _Open] = {}
        self._ids: set[str] = set()
        self._stop: str | None = None
        self._usage: Usage | None = None
        self._native_id = self._model = ""
        self._sanitised = False
        self._run: list[str] = []
        """Pieces for `_run_block` that no event has said yet."""
        self._run_block: _Open | None = None
        self._out: list[ModelEvent] = []

    @property
    def usage(self) -> Usage | None:
        """What has been reported so far."""
        return self._usage

    def feed(self, batch: list[Sse]) -> list[ModelEvent]:
        """What the batch says. Raises ErrorEvent or ProtocolViolation (then see `taken`)."""
        self.has_news = False
        run = self._run
        for sse in batch:
            event = _decoded(sse)
            if type(event) is BlockDelta:
                block = self._open.get(event.index)
                if block is None:
                    block = self._implied(event)
                delta = event.delta
                if type(delta) is TextDelta:
                    piece = delta.text
                elif type(delta) is JsonDelta:
                    piece = delta.partial_json
                elif type(delta) is ThinkingDelta:
                    piece = delta.thinking
                else:
                    self._annotate(block, delta)
                    continue
                if block is not self._run_block:
                    self._flush()
                    self._run_block = block
                run.append(piece)
            elif event is not None:
                self._flush()
                self._apply(event, sse.data)
                if self.finished is not None:
                    break
        return self.taken()

    def taken(self) -> list[ModelEvent]:
        """The events that are ready, also those before a failure; they are handed out once."""
        self._flush()
        out, self._out = self._out, []
        return out

    def whole(self, body: bytes) -> list[ModelEvent]:
        """The events of a message that came as one JSON text. Raises ProtocolViolation."""
        try:
            plain = json.loads(body)
            self._apply(
                msgspec.convert({"message": plain, "type": "message_start"}, wire.MessageStart)
            )
            for index, block in enumerate(plain["content"]):
                self._begin(index, block)
                self._end(index)
            self._stop = plain["stop_reason"]
        except (ValueError, KeyError, TypeError, msgspec.ValidationError):
            raise ProtocolViolation("the answer is neither a stream nor a message") from None
        self._finish()
        return self.taken()

    def partial(self) -> tuple[Block, ...]:
        """What may be kept of an answer that was cut: text, signed thinking, complete calls.

        A provider's own tool call is kept only together with its result.
        """
        self._flush()
        answered = {
            str(block.start.get("tool_use_id")) for block in self._blocks if block.done
        }  # results are opaque blocks that come whole
        kept = (self._partial(block, answered) for block in self._blocks)
        return tuple(block for block in kept if block is not None)

    def _partial(self, block: _Open, answered: set[str]) -> Block | None:
        made = block.finished
        if made is None:
            text = "".join(block.pieces)
            return Text(text, _citations(block)) if block.kind == "text" and text else None
        if isinstance(made, Reasoning) and not (made.signature or made.encrypted):
            return None
        if isinstance(made, Unknown) and made.kind.endswith("tool_use"):
            return made if str(block.start.get("id")) in answered else None
        return made

    def _apply(self, event: "wire.WireEvent | dict[str, Any]", data: bytes = b"") -> None:
        match event:
            case wire.BlockStart(index=index, content_block=start):
                self._begin(index, start)
            case wire.BlockStop(index=index):
                self._end(index)
            case wire.MessageStart(message=head):
                self._native_id = clean(head.id or self._native_id)[0]
                self._model = clean(head.model or self._model)[0]
                self._count(head.usage)
            case wire.MessageDelta(delta=ending, usage=counts):
                self._stop = ending.stop_reason or self._stop
                self._count(counts)
            case wire.MessageStop():
                self._finish()
            case wire.Failed():
                raise ErrorEvent(data)
            case dict():
                self._unlisted(event)
            case _:
                pass

    def _begin(self, index: int, start: dict[str, Any]) -> None:
        self._end(index)
        kind = _word(start, "type")
        block = _Open(kind, start)
        self._blocks.append(block)
        self._open[index] = block
        if kind == "tool_use":
            self.has_news = True
            block.call_id = self._unique(_word(start, "id"))
            self._out.append(CallStarted(block.call_id, _word(start, "name")))
            if start.get("input"):
                self._say(block, json.dumps(start["input"], ensure_ascii=False))
        elif kind in ("text", "thinking"):
            self._say(block, _word(start, kind))
        else:
            self.has_news = True

    def _implied(self, event: wire.BlockDelta) -> _Open:
        """The block of a delta that came without a start."""
        thinking = isinstance(event.delta, wire.ThinkingDelta | wire.SignatureDelta)
        self._flush()
        self._begin(event.index, {"type": "thinking" if thinking else "text"})
        return self._open[event.index]

    def _annotate(self, block: _Open, delta: wire.Delta) -> None:
        self.has_news = True
        if isinstance(delta, wire.SignatureDelta):
            block.start["signature"] = _word(block.start, "signature") + delta.signature
        elif isinstance(delta, wire.CitationsDelta):
            block.start["citations"] = [*(block.start.get("citations") or ()), delta.citation]

    def _unlisted(self, plain: dict[str, Any]) -> None:
        """A delta of unknown kind: its fields continue the fields of the block."""
        index = plain.get("index")
        block = self._open.get(index) if isinstance(index, int) else None
        if block is None:
            return
        self.has_news = True
        for name, value in plain["delta"].items():
            if name == "type" or value is None:
                continue
            before = block.start.get(name)
            grows = isinstance(before, str | list) and type(before) is type(value)
            block.start[name] = before + value if grows else value

    def _say(self, block: _Open, text: str) -> None:
        if text:
            self._run_block = block
            self._run.append(text)
            self._flush()

    def _flush(self) -> None:
        block, self._run_block = self._run_block, None
        if block is None:
            return
        text = "".join(self._run)
        self._run.clear()
        if block.held or not text.isascii():
            text = block.held + text
            block.held = ""
            if text and "\ud800" <= text[-1] <= "\udbff":
                text, block.held = text[:-1], text[-1]
        text, lost = clean(text)
        self._sanitised = self._sanitised or lost
        if not text:
            return
        self.has_news = True
        block.pieces.append(text)
        if block.kind == "text":
            self._out.append(TextPart(text))
        elif block.kind == "tool_use":
            self._out.append(CallArguments(block.call_id, text))
        elif block.kind == "thinking":
            self._out.append(ReasoningPart(text))

    def _end(self, index: int) -> None:
        block = self._open.pop(index, None)
        if block is None:
            return
        if block.held:
            block.held = ""
            self._sanitised = True
            self._say(block, "\ufffd")
        block.done = True
        block.finished = _finished(block)
        if isinstance(block.finished, ToolCall):
            self._out.append(CallCompleted(block.finished))

    def _unique(self, call_id: str) -> str:
        base, number = call_id or "call", 1
        while not call_id or call_id in self._ids:
            call_id = f"{base}_{number}"
            number += 1
        self._ids.add(call_id)
        return call_id

    def _count(self, counts: wire.UsageCounts | None) -> None:
        if counts is not None:
            self._usage = wire.merged(self._usage, counts)
            self._out.append(UsageKnown(self._usage))

    def _finish(self) -> None:
        for index in list(self._open):
            self._end(index)
        content = tuple(block.finished for block in self._blocks if block.finished is not None)
        if self._stop is None and not content:
            raise ProtocolViolation("the message ended without content and without a reason")
        stop = wire.stop_reason(self._stop)
        self.finished = Finished(
            content,
            stop,
            self._usage,
            native_id=self._native_id,
            model=self._model,
            sanitised=self._sanitised,
        )


def _decoded(sse: Sse) -> "wire.WireEvent | dict[str, Any] | None":
    try:
        return wire.decode(sse.data)
    except ValueError as error:
        if sse.data.strip() in (b"", b"[DONE]"):
            return None
        raise ProtocolViolation(f"an event of the stream cannot be read: {error}") from None


def _finished(block: _Open) -> Block | None:
    text, start = "".join(block.pieces), block.start
    match block.kind:
        case "text":
            return Text(text, _citations(block)) if text else None
        case "thinking":
            return Reasoning(text, signature=_word(start, "signature"), origin=ORIGIN)
        case "redacted_thinking":
            return Reasoning(encrypted=_word(start, "data"), origin=ORIGIN)
        case "tool_use":
            more = {k: v for k, v in start.items() if k not in ("type", "id", "name", "input")}
            return ToolCall(
                CallId(block.call_id),
                _word(start, "name"),
                text if text.strip() else "{}",
                origin=ORIGIN,
                native=_json(more) if more else "",
            )
        case _:
            return Unknown(ORIGIN, block.kind, _json(_with_input(start, text)))


def _with_input(start: dict[str, Any], text: str) -> dict[str, Any]:
    """An opaque block with the input that came in pieces; broken input leaves it as it began."""
    if not text.strip():
        return start
    try:
        return {**start, "input": json.loads(text)}
    except (ValueError, RecursionError):
        return start


def _word(start: dict[str, Any], name: str) -> str:
    """A field that should be text; empty where it is not."""
    value = start.get(name)
    return clean(value)[0] if isinstance(value, str) else ""


def _citations(block: _Open) -> str:
    found = block.start.get("citations")
    return _json(found) if found else ""


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (UnicodeEncodeError, msgspec.MsgspecError):
        return json.dumps(value)
