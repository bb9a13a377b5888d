"""The Responses API: typed events become one answer.

An answer is a list of output items. Their deltas are shown as they come; the item that
`response.output_item.done` carries is what counts, and stays as it came where it must go back
unchanged (reasoning) or where it is not ours to interpret (searches, code runs, compactions …).
The end marker is `response.completed`, `response.incomplete` or `response.failed`.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from palaver.domain.errors import (
    ProtocolViolation,
    ProviderError,
    ServerFailure,
    StreamTruncated,
)
from palaver.domain.messages import Block, Reasoning, Refusal, StopReason, Text, Unknown
from palaver.domain.text import clean
from palaver.domain.values import Usage
from palaver.providers.base import Finished, ModelEvent
from palaver.providers.openai_answer import Answer, Growing, GrowingCall
from palaver.providers.openai_payload import PayloadDecoder
from palaver.providers.openai_responses_wire import (
    Item,
    ItemPart,
    Kind,
    Response,
    ResponseEvent,
    usage_of,
)

ORIGIN = "openai.responses"
CUSTOM = '{"type":"custom"}'
"""`ToolCall.native` of a custom tool's call: its arguments are free text."""
_CALLS = ("function_call", "custom_tool_call")
_QUIET = frozenset(("response.created", "response.in_progress", "response.queued", "keepalive"))
"""Events without content: the server lives, the model has not gone on."""
_INCOMPLETE = {
    "max_output_tokens": StopReason.MAX_TOKENS,
    "content_filter": StopReason.CONTENT_FILTER,
}
_PARAGRAPH = "\n\n"

_events = PayloadDecoder(ResponseEvent, raw=("item", "response"))
_kinds = PayloadDecoder(Kind)
_items = PayloadDecoder(Item)
_responses = PayloadDecoder(Response)


class _Slot:
    """One output item while it grows."""

    __slots__ = ("blocks", "call", "refusals", "texts", "thinking", "thought_part")

    def __init__(self) -> None:
        self.texts: dict[int, Growing] = {}
        self.refusals: dict[int, Growing] = {}
        self.thinking = Growing()
        self.thought_part: tuple[str, int] | None = None
        self.call: GrowingCall | None = None
        self.blocks: tuple[Block, ...] | None = None
        """What the item is, once it is done."""

    @property
    def sanitised(self) -> bool:
        """Whether any of its text lost a character that cannot be stored."""
        grown = (*self.texts.values(), *self.refusals.values(), self.thinking)
        return any(text.sanitised for text in grown)

    def growing(self) -> tuple[Block, ...]:
        """What can be said of the item before it is done."""
        if self.call is not None:
            return (self.call.call,) if self.call.call is not None else ()
        parts: dict[int, Block] = {i: Text(run.text) for i, run in self.texts.items() if run}
        parts.update({i: Refusal(run.text) for i, run in self.refusals.items() if run})
        return tuple(parts[index] for index in sorted(parts))


class ResponsesAssembler:
    """One stream of events, or one plain response."""

    def __init__(
        self,
        *,
        failure: Callable[[bytes], ProviderError],
        request_id: Callable[[], str] = lambda: "",
        origin: str = ORIGIN,
    ) -> None:
        self.ended = False
        self.native_id = ""
        """The provider's id of the response."""
        self.sequence = -1
        """The number of the newest event."""
        self._failure, self._request_id, self._origin = failure, request_id, origin
        self._answer = Answer(origin=ORIGIN)
        self._slots: dict[int, _Slot] = {}
        self._indices: dict[str, int] = {}
        self._model = ""
        self._takers: dict[str, Callable[[ResponseEvent], None]] = {
            "response.output_text.delta": self._text,
            "response.refusal.delta": self._refusal,
            "response.reasoning_summary_text.delta": self._thinking,
            "response.reasoning_text.delta": self._thinking,
            "response.function_call_arguments.delta": self._arguments,
            "response.custom_tool_call_input.delta": self._arguments,
            "response.function_call_arguments.done": self._arguments_done,
            "response.custom_tool_call_input.done": self._arguments_done,
            "response.output_item.added": self._added,
            "response.output_item.done": self._done,
            "response.created": self._created,
            "response.completed": self._over,
            "response.incomplete": self._over,
        }

    @property
    def usage(self) -> Usage | None:
        """What was reported so far."""
        return self._answer.known

    def take(self) -> list[ModelEvent]:
        """The events since the last call."""
        return self._answer.take()

    def feed(self, payload: bytes) -> bool:
        """Take one event. Returns whether the answer went on. Raises ProviderError."""
        if payload.startswith(b"[DONE]"):
            self.close()
            return False
        event, halves = _events.decode(payload)
        if halves:
            self._answer.halves = True
        taker = self._takers.get(event.type)
        if taker is not None:
            taker(event)
        elif event.type in ("error", "response.failed", "response.error"):
            self._count(event)
            raise self._failure(payload)
        elif event.type == "response.cancelled":
            raise ServerFailure("the provider cancelled the response", in_stream=True)
        if event.sequence_number is not None and event.sequence_number > self.sequence:
            self.sequence = event.sequence_number
        return bool(event.type) and event.type not in _QUIET

    def heard_by(
        self, failure: Callable[[bytes], ProviderError], request_id: Callable[[], str]
    ) -> None:
        """Another stream goes on with the same answer."""
        self._failure, self._request_id = failure, request_id

    def document(self, payload: bytes) -> None:
        """Take a response that was not streamed. Raises ProviderError."""
        response, _ = _responses.decode(payload)
        if response.error or response.status in ("failed", "cancelled"):
            raise self._failure(payload)
        if response.output is None:
            raise ProtocolViolation("the answer is neither a stream nor a response")
        self._end(response)

    def close(self) -> None:
        """The stream is over. Raises StreamTruncated unless the answer is complete."""
        if not self.ended:
            raise StreamTruncated(
                "the answer was cut off before its end", in_stream=bool(self._slots)
            )

    def partial(self) -> tuple[Block, ...]:
        """Text so far, and the complete items."""
        return self._content()

    def _created(self, event: ResponseEvent) -> None:
        if raw := bytes(event.response):
            response, _ = _responses.decode(raw)
            self.native_id, self._model = response.id or "", response.model or ""

    def _slot(self, event: ResponseEvent) -> _Slot:
        index = event.output_index
        if index is None:
            # Some servers leave the index out; the item's id tells, else it is the newest item.
            index = self._indices.get(event.item_id or "", max(self._slots, default=0))
        slot = self._slots.get(index)
        if slot is None:
            slot = self._slots[index] = _Slot()
        return slot

    def _text(self, event: ResponseEvent) -> None:
        runs = self._slot(event).texts
        self._answer.say(_run(runs, event.content_index), _delta(event))

    def _refusal(self, event: ResponseEvent) -> None:
        runs = self._slot(event).refusals
        self._answer.say(_run(runs, event.content_index), _delta(event))

    def _thinking(self, event: ResponseEvent) -> None:
        slot, text = self._slot(event), _delta(event)
        if event.summary_index is not None:
            part = ("summary", event.summary_index)
        else:
            part = ("content", event.content_index or 0)
        if slot.thought_part not in (None, part):
            text = _PARAGRAPH + text
        slot.thought_part = part
        self._answer.think(slot.thinking, text)

    def _arguments(self, event: ResponseEvent) -> None:
        call = self._slot(event).call
        if call is not None:
            self._answer.fill(call, _delta(event))

    def _arguments_done(self, event: ResponseEvent) -> None:
        call = self._slot(event).call
        if call is None or call.call is not None:
            return
        given = event.input if call.custom else event.arguments
        self._complete(call, None if given is None else _written(given))

    def _added(self, event: ResponseEvent) -> None:
        raw = bytes(event.item)
        kind, _ = _kinds.decode(raw)
        if event.output_index is None:
            event.output_index = max(self._slots, default=-1) + 1
        if kind.id:
            self._indices[kind.id] = event.output_index
        slot = self._slot(event)
        if kind.type in _CALLS and slot.call is None:
            self._begin(slot, _items.decode(raw)[0])

    def _done(self, event: ResponseEvent) -> None:
        if event.output_index is None:
            event.output_index = self._place(event)
        self._settle(self._slot(event), bytes(event.item))

    def _place(self, event: ResponseEvent) -> int:
        kind, _ = _kinds.decode(bytes(event.item))
        return self._indices.get(kind.id or "", max(self._slots, default=-1) + 1)

    def _begin(self, slot: _Slot, item: Item) -> GrowingCall:
        slot.call = GrowingCall(
            wire_id=item.call_id or item.id or "",
            name=item.name or "",
            custom=item.type == "custom_tool_call",
        )
        self._answer.begin(slot.call)
        return slot.call

    def _complete(self, call: GrowingCall, arguments: str | None) -> None:
        self._answer.complete(call, arguments=arguments, native=CUSTOM if call.custom else "")

    def _settle(self, slot: _Slot, raw: bytes) -> None:
        """The item is done: `raw` is what counts."""
        kind, _ = _kinds.decode(raw)
        if kind.type not in (*_CALLS, "message", "reasoning"):
            kept = clean(raw.decode("utf-8", "replace"))[0]
            slot.blocks = (Unknown(self._origin, kind.type, kept),)
            return
        item, _ = _items.decode(raw)
        if item.type in _CALLS:
            call = slot.call or self._begin(slot, item)
            given = item.input if call.custom else item.arguments
            self._complete(call, None if given is None else _written(given))
        elif item.type == "message":
            slot.blocks = self._message(slot, item)
        else:
            slot.blocks = (self._reasoning(slot, item, raw),)

    def _message(self, slot: _Slot, item: Item) -> tuple[Block, ...]:
        parts = item.content or []
        if isinstance(parts, str):
            parts = [ItemPart("output_text", parts)]
        blocks: list[Block] = []
        for index, part in enumerate(parts):
            if part.refusal is not None:
                self._catch_up(_run(slot.refusals, index), part.refusal)
                blocks.append(Refusal(clean(part.refusal)[0]))
            elif part.text:
                self._catch_up(_run(slot.texts, index), part.text)
                blocks.append(Text(clean(part.text)[0], _annotations(part)))
        return tuple(blocks)

    def _catch_up(self, run: Growing, whole: str) -> None:
        """Show what the item has and no delta brought."""
        self._answer.end_run(run)
        whole, shown = clean(whole)[0], run.text
        if whole.startswith(shown) and len(whole) > len(shown):
            self._answer.say(run, whole[len(shown) :])

    def _reasoning(self, slot: _Slot, item: Item, raw: bytes) -> Reasoning:
        parts = item.summary or (item.content if isinstance(item.content, list) else None) or []
        told = _PARAGRAPH.join(part.text or "" for part in parts)
        self._answer.end_run(slot.thinking, thought=True)
        if told and not slot.thinking:
            self._answer.think(slot.thinking, told)
        return Reasoning(
            clean(told)[0] or slot.thinking.text,
            encrypted=item.encrypted_content or "",
            id=item.id or "",
            origin=self._origin,
            native=raw.decode("utf-8", "replace"),
        )

    def _count(self, event: ResponseEvent) -> None:
        if raw := bytes(event.response):
            response, _ = _responses.decode(raw)
            if response.usage is not None:
                self._answer.count(usage_of(response.usage))

    def _over(self, event: ResponseEvent) -> None:
        response, _ = _responses.decode(bytes(event.response))
        self._end(response)

    def _end(self, response: Response) -> None:
        for index, raw in enumerate(response.output or ()):
            if index not in self._slots:
                self._slots[index] = _Slot()
                self._settle(self._slots[index], bytes(raw))
        for slot in self._slots.values():
            for run in (*slot.texts.values(), *slot.refusals.values()):
                self._answer.end_run(run)
            if slot.call is not None:
                self._complete(slot.call, None)
        if response.usage is not None:
            self._answer.count(usage_of(response.usage))
        self.ended = True
        self._answer.finish(
            Finished(
                self._content(),
                self._stop(response),
                self._answer.known,
                response.id or self.native_id,
                self._request_id(),
                response.model or self._model,
                any(slot.sanitised for slot in self._slots.values()),
            )
        )

    def _stop(self, response: Response) -> StopReason:
        if response.status == "incomplete" or response.incomplete_details is not None:
            reason = response.incomplete_details and response.incomplete_details.reason
            return _INCOMPLETE.get(reason or "", StopReason.OTHER)
        if any(slot.call is not None for slot in self._slots.values()):
            return StopReason.TOOL_USE
        refused = any(slot.refusals for slot in self._slots.values())
        return StopReason.REFUSAL if refused else StopReason.END_TURN

    def _content(self) -> tuple[Block, ...]:
        blocks: list[Block] = []
        for _, slot in sorted(self._slots.items()):
            blocks.extend(slot.growing() if slot.blocks is None else slot.blocks)
        return tuple(blocks)


def _run(runs: dict[int, Growing], index: int | None) -> Growing:
    run = runs.get(index or 0)
    if run is None:
        run = runs[index or 0] = Growing()
    return run


def _delta(event: ResponseEvent) -> str:
    return event.delta if isinstance(event.delta, str) else ""


def _written(given: Any) -> str:
    return given if isinstance(given, str) else msgspec.json.encode(given).decode()


def _annotations(part: ItemPart) -> str:
    raw = bytes(part.annotations)
    return "" if raw in (b"", b"[]", b"null") else raw.decode("utf-8", "replace")
