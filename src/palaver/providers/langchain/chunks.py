"""LangChain's message chunks become events for the reader and blocks for the history.

A chunk holds text, a list of the provider's blocks, pieces of tool calls, or facts about the
answer. Pieces belong together by their `index`; blocks without one go on with the block before.
ChatAnthropic and ChatOpenAI drop the wire's word for "this call is complete", so it is found here:
the arguments are a closed object, or the answer goes on with something later, or it is over.
"""

from collections.abc import Mapping
from typing import Any

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
from palaver.providers.base import Finished, ModelEvent
from palaver.providers.langchain.endings import reason_in, stop_of, usage_of
from palaver.providers.langchain.pieces import (
    annotations,
    call_pieces,
    encoded,
    merged,
    thoughts,
    with_input,
)
from palaver.providers.langchain.recognise import Spoken, Wire
from palaver.providers.openai_answer import Answer, Growing, GrowingCall

_TEXTS = ("text", "text_delta", "output_text")
_THOUGHTS = ("thinking", "reasoning", "reasoning_content", "thinking_delta")
_CALLS = ("tool_use", "function_call", "tool_call", "tool_call_chunk", "custom_tool_call")
_NOT_OURS = ("lc_", "run-")
"""Beginnings of ids that LangChain makes up."""
_PARAGRAPH = "\n\n"


class _Slot:
    """One block while it grows."""

    __slots__ = ("call", "kind", "part", "pieces", "run")

    def __init__(self, kind: str, call: GrowingCall | None = None) -> None:
        self.kind, self.call = kind, call
        self.run = Growing()
        self.pieces: list[dict[str, Any]] = []
        self.part: Any = None
        """Which part of a summary the thinking is in."""


class ChunkReader:
    """Chunks in, events out. Waits for nothing."""

    def __init__(self, spoken: Spoken) -> None:
        self._spoken, self._wire = spoken, spoken.wire
        self._answer = Answer(origin=spoken.origin)
        self._answer.halves = True
        self._slots: list[_Slot] = []
        self._places: dict[Any, _Slot] = {}
        self.reason = ""
        """The provider's word for why the answer ended, once it has come."""
        self.native_id = self.model = ""

    @property
    def usage(self) -> Usage | None:
        """What was reported so far."""
        return self._answer.known

    @property
    def is_whole(self) -> bool:
        """Whether there is an answer and none of its calls is cut."""
        calls = (s.call for s in self._slots if s.call is not None)
        return bool(self._slots) and all(c.call or c.scanner.closed or not c for c in calls)

    def take(self) -> list[ModelEvent]:
        """The events since the last call."""
        return self._answer.take()

    def feed(self, message: Any) -> bool:
        """Take an AIMessageChunk or AIMessage. Returns whether the answer went on.

        Raises ProtocolViolation when a call goes on behind its end.
        """
        extra = message.additional_kwargs.get("reasoning_content")
        if extra and isinstance(extra, str):
            self._think({"type": "reasoning_content", "reasoning": extra})
        content = message.content
        for block in (content,) if isinstance(content, str) else content:
            if isinstance(block, str):
                self._say(block)
            else:
                self._block(block)
        calls = list(call_pieces(message))
        for piece in calls:
            self._call(piece)
        self._facts(message)
        return bool(content or calls or extra)

    def partial(self) -> tuple[Block, ...]:
        """What has come: text, thinking that may be sent back, complete calls."""
        blocks = (self._made(slot) for slot in self._slots)
        return tuple(b for b in blocks if b is not None and not self._is_loose(b))

    def finish(self, request_id: str = "") -> Finished:
        """The end of the answer, after which nothing is fed. Raises ProviderError."""
        for slot in self._slots:
            self._answer.end_run(slot.run, thought=slot.kind == "thinking")
            if slot.call is not None:
                self._complete(slot)
        content = tuple(b for slot in self._slots if (b := self._made(slot)) is not None)
        return Finished(
            content,
            self._stop(content),
            self._answer.known,
            self.native_id,
            request_id,
            self.model,
            any(slot.run.sanitised for slot in self._slots),
        )

    def _stop(self, content: tuple[Block, ...]) -> StopReason:
        calls = any(isinstance(block, ToolCall) for block in content)
        refused = any(isinstance(block, Refusal) for block in content)
        return stop_of(self.reason, self._wire, calls=calls, refused=refused)

    def _facts(self, message: Any) -> None:
        metadata = message.response_metadata
        self.reason = reason_in(metadata, self._wire) or self.reason
        self.model = str(metadata.get("model_name") or metadata.get("model") or self.model)
        if message.id and not message.id.startswith(_NOT_OURS):
            self.native_id = message.id
        if message.usage_metadata:
            # Chunks bring increments, by LangChain's convention.
            known, more = self._answer.known, usage_of(message.usage_metadata)
            self._answer.count(more if known is None else known + more)

    def _slot(self, kind: str, place: Any) -> _Slot:
        """The block that goes on, or a new one."""
        if place is None:
            slot = self._slots[-1] if self._slots else None
            if kind == "text" and self._wire is Wire.CHAT:
                slot = next((s for s in self._slots if s.kind == "text"), None)
        else:
            slot = self._places.get(place)
        if slot is None or slot.kind != kind:
            slot = _Slot(kind)
            self._slots.append(slot)
            if place is not None:
                self._places[place] = slot
            self._settle(before=slot)
        return slot

    def _say(self, text: str, place: Any = None) -> _Slot | None:
        if not text and place is None:
            return None
        slot = self._slot("text", place)
        self._answer.say(slot.run, text)
        return slot

    def _block(self, block: dict[str, Any]) -> None:
        kind, place = block.get("type"), block.get("index")
        if kind in _TEXTS:
            slot = self._say(block.get("text") or "", place)
            if slot is not None and (block.get("citations") or block.get("annotations")):
                slot.pieces.append(block)
        elif kind in _THOUGHTS:
            self._think(block)
        elif kind == "refusal":
            slot = self._slot("refusal", None)
            self._answer.say(slot.run, block.get("refusal") or "")
        elif kind == "input_json_delta":
            opaque = self._places.get(place)
            if opaque is not None and opaque.kind == "opaque":
                opaque.pieces.append(block)
        elif kind in _CALLS:
            pass  # comes as a piece of a call, too
        elif kind == "non_standard" and isinstance(block.get("value"), dict):
            self._block({"index": place, **block["value"]})
        else:
            slot = self._slot("opaque", object() if place is None else place)
            slot.pieces.append(block)

    def _think(self, block: dict[str, Any]) -> None:
        slot = self._slot("thinking", block.get("index"))
        slot.pieces.append(block)
        for part, text in thoughts(block):
            begins = slot.part not in (None, part) and bool(slot.run) and bool(text)
            self._answer.think(slot.run, _PARAGRAPH + text if begins else text)
            slot.part = part if text or slot.part is None else slot.part

    def _call(self, piece: Mapping[str, Any]) -> None:
        slot = self._call_slot(piece)
        call = slot.call
        assert call is not None
        call.name = call.name or piece.get("name") or ""
        closed = self._answer.fill(call, piece.get("args") or "")
        if call.name and not call.id:
            self._answer.begin(call)
        # An empty object may be a placeholder of the server's, so it has to wait.
        if closed and call.name and call.text.strip() != "{}":
            self._complete(slot)

    def _call_slot(self, piece: Mapping[str, Any]) -> _Slot:
        place, wire_id, name = piece.get("index"), piece.get("id") or "", piece.get("name") or ""
        if place is None:
            known = next((s for s in reversed(self._slots) if s.call is not None), None)
        else:
            known = self._places.get(place)
        call = known.call if known is not None else None
        if known is not None and call is not None and not _another(call, wire_id, name):
            call.wire_id = call.wire_id or wire_id
            return known
        slot = _Slot("call", GrowingCall(wire_id=wire_id, name=name))
        self._slots.append(slot)
        if place is not None:
            self._places[place] = slot
        self._settle(before=slot)
        return slot

    def _settle(self, *, before: _Slot) -> None:
        """The answer has gone on, so calls before are complete if nothing of them is open."""
        for slot in self._slots:
            if slot is before:
                break
            call = slot.call
            if call is not None and call.call is None and (call.scanner.closed or not call):
                self._complete(slot)

    def _complete(self, slot: _Slot) -> None:
        assert slot.call is not None
        self._answer.complete(slot.call)

    def _is_loose(self, block: Block) -> bool:
        if not isinstance(block, Reasoning):
            return False
        if self._wire is Wire.ANTHROPIC:
            return not (block.signature or block.encrypted)
        return self._wire is Wire.RESPONSES and not block.encrypted

    def _made(self, slot: _Slot) -> Block | None:
        origin = self._spoken.origin
        match slot.kind:
            case "call":
                return slot.call.call if slot.call is not None else None
            case "text":
                text = slot.run.text
                return Text(text, annotations(slot.pieces)) if text else None
            case "refusal":
                return Refusal(slot.run.text)
            case "thinking":
                return self._reasoning(slot)
            case _:
                pass
        joined = merged(slot.pieces)
        if joined.get("type") == "redacted_thinking":
            return Reasoning(encrypted=str(joined.get("data", "")), origin=origin)
        return Unknown(origin, str(joined.get("type", "")), encoded(with_input(joined)))

    def _reasoning(self, slot: _Slot) -> Reasoning:
        joined, text, origin = merged(slot.pieces), slot.run.text, self._spoken.origin
        if self._wire is Wire.ANTHROPIC:
            proof = joined.get("signature") or joined.get("extras", {}).get("signature") or ""
            return Reasoning(text, signature=str(proof), origin=origin)
        return Reasoning(
            text,
            encrypted=str(joined.get("encrypted_content") or ""),
            id=str(joined.get("id") or ""),
            origin=origin,
            native=encoded(joined),
        )


def _another(known: GrowingCall, wire_id: str, name: str) -> bool:
    """Whether a piece under a known index begins another call: some give all calls the same."""
    if wire_id and known.wire_id and wire_id != known.wire_id:
        return True
    return bool(name and known.name and not wire_id and known.scanner.closed)
