"""The events of a turn as the events of a response.

The fold is pure: the same run log gives the same events with the same numbers, so that a client
that lost its connection can be told what lies behind the last number it saw, by anybody and at any
time. A call is told when the model's message is complete and the turn waits for the client: a
stream that breaks within a call is made anew without anybody having seen half of it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from palaver.domain.messages import StopReason, ToolCall
from palaver.domain.stream import (
    BlockReset,
    MessageCompleted,
    ReasoningDelta,
    RetryScheduled,
    StreamEvent,
    TextDelta,
    ToolArgumentsDelta,
    ToolRequested,
    TurnCancelled,
    TurnCompleted,
    TurnFailed,
    TurnInterrupted,
    TurnSuspended,
    UsageReported,
)
from palaver.domain.values import ErrorInfo, SuspendReason, Usage
from palaver.server.v1.chat_answer import INTERRUPTED
from palaver.server.v1.responses_about import About
from palaver.server.v1.responses_shapes import (
    OutputCall,
    OutputItem,
    OutputMessage,
    OutputReasoning,
    OutputText,
    ResponseFailure,
    ResponseObject,
    ResponseUsage,
    SummaryText,
)

_encode = msgspec.json.Encoder().encode
_INCOMPLETE = {
    StopReason.MAX_TOKENS: "max_output_tokens",
    StopReason.CONTEXT_FULL: "max_output_tokens",
    StopReason.CONTENT_FILTER: "content_filter",
}


class ResponseEvents:
    """Events of a turn in, events of its response out. `response` is how it stands; `is_over`: the
    last event has been told."""

    def __init__(self, about: About) -> None:
        self._about = about
        self._number = 0
        self._output: list[OutputItem] = []
        self._usage = Usage()
        self._open: OutputMessage | OutputReasoning | None = None
        self._text: list[str] = []
        """Of the open item."""
        self._head = self._tail = b""
        """Of the deltas of the open item."""
        self._pieces: dict[str, list[str]] = {}
        """Arguments of calls, as they came."""
        self.response: ResponseObject = about.response("in_progress")

    @property
    def is_over(self) -> bool:
        """Whether the response has ended."""
        return self.response.status != "in_progress"

    def begin(self) -> list[bytes]:
        """The first two events, before any of the turn."""
        opening = {"response": self.response}
        return [self._event("created", opening), self._event("in_progress", opening)]

    def fed(self, events: Sequence[StreamEvent]) -> list[bytes]:
        """What these events of the turn mean for the response."""
        out: list[bytes] = []
        for event in events:
            if type(event) is TextDelta and type(self._open) is OutputMessage:  # nearly all of them
                out.append(self._delta(event.text))
            else:
                out.extend(self._told(event))
        return out

    def _told(self, event: StreamEvent) -> Iterator[bytes]:
        match event:
            case TextDelta(text=text):
                yield from self._message()
                yield self._delta(text)
            case ReasoningDelta(text=text):
                yield from self._reasoning()
                yield self._delta(text)
            case ToolRequested(call_id=call_id):
                self._pieces[call_id] = []
            case ToolArgumentsDelta(call_id=call_id, text=text):
                self._pieces.setdefault(call_id, []).append(text)
            case BlockReset(kind="reasoning") | RetryScheduled(continues=False):
                # Text is never taken back; thinking begins anew, and is another item.
                if isinstance(self._open, OutputReasoning):
                    yield from self._close("incomplete")
            case MessageCompleted():
                yield from self._close("completed")
            case UsageReported(usage=usage):
                self._usage = self._usage + usage
            case TurnSuspended(reason=SuspendReason.CLIENT_TOOL_RESULT, calls=calls):
                for call in calls:
                    yield from self._call(call)
                yield from self._end("completed")
            case TurnCompleted(stop=stop, usage=usage):
                self._count(usage)
                cut = _INCOMPLETE.get(stop, "")
                yield from self._end("incomplete" if cut else "completed", incomplete=cut)
            case TurnFailed(error=error, usage=usage):
                self._count(usage)
                yield from self._end("failed", error=error)
            case TurnCancelled(usage=usage):
                self._count(usage)
                yield from self._end("cancelled")
            case TurnInterrupted():
                yield from self._end("failed", error=INTERRUPTED)
            case _:
                pass

    def _count(self, usage: Usage) -> None:
        """At the end of a turn that is all of the response: attempts of a process that died are
        known to the turn alone."""
        if self._about.part.number == 1 and usage.total:
            self._usage = usage

    # Items.

    def _id(self, kind: str) -> str:
        return f"{kind}_{self._about.part.name}_{len(self._output)}"

    @property
    def _place(self) -> dict[str, Any]:
        item = self._open or self._output[-1]
        return {"item_id": item.id, "output_index": len(self._output) - (self._open is None)}

    def _message(self) -> Iterator[bytes]:
        if isinstance(self._open, OutputMessage):
            return
        yield from self._close("completed")
        yield from self._opened(OutputMessage(self._id("msg"), "in_progress"))
        place = {**self._place, "content_index": 0}
        yield self._event("content_part.added", {**place, "part": OutputText("")})
        self._prepare("output_text.delta", place, b',"logprobs":[]')

    def _reasoning(self) -> Iterator[bytes]:
        if isinstance(self._open, OutputReasoning):
            return
        yield from self._close("completed")
        yield from self._opened(OutputReasoning(self._id("rs"), "in_progress"))
        place = {**self._place, "summary_index": 0}
        yield self._event("reasoning_summary_part.added", {**place, "part": SummaryText("")})
        self._prepare("reasoning_summary_text.delta", place, b"")

    def _opened(self, item: OutputMessage | OutputReasoning) -> Iterator[bytes]:
        self._open, self._text = item, []
        added = {"output_index": len(self._output), "item": item}
        yield self._event("output_item.added", added)

    def _prepare(self, kind: str, place: dict[str, Any], extra: bytes) -> None:
        fields = _encode(place)[1:-1]
        head = f'event: response.{kind}\ndata: {{"type":"response.{kind}","sequence_number":'
        self._head = head.encode()
        self._tail = b",%b%b," % (fields, extra) + b'"delta":'

    def _delta(self, text: str) -> bytes:
        # The hot path: everything but the number and the text is made once for each item.
        self._text.append(text)
        number, self._number = self._number, self._number + 1
        return b"%b%d%b%b}\n\n" % (self._head, number, self._tail, _encode(text))

    def _close(self, status: str) -> Iterator[bytes]:
        """End the open item."""
        item, text = self._open, "".join(self._text)
        match item:
            case None:
                return
            case OutputMessage():
                part = OutputText(text)
                place = {**self._place, "content_index": 0}
                yield self._event("output_text.done", {**place, "text": text, "logprobs": ()})
                yield self._event("content_part.done", {**place, "part": part})
                item = OutputMessage(item.id, status, (part,))
            case OutputReasoning():
                summary = SummaryText(text)
                place = {**self._place, "summary_index": 0}
                yield self._event("reasoning_summary_text.done", {**place, "text": text})
                yield self._event("reasoning_summary_part.done", {**place, "part": summary})
                item = OutputReasoning(item.id, status, (summary,))
        self._open = None
        yield from self._done(item)

    def _done(self, item: OutputItem) -> Iterator[bytes]:
        self._output.append(item)
        done = {"output_index": len(self._output) - 1, "item": item}
        yield self._event("output_item.done", done)

    def _call(self, call: ToolCall) -> Iterator[bytes]:
        yield from self._close("completed")
        item = OutputCall(self._id("fc"), call.id, call.name, "", "in_progress")
        place = {"item_id": item.id, "output_index": len(self._output)}
        added = {"output_index": len(self._output), "item": item}
        yield self._event("output_item.added", added)
        pieces = self._pieces.get(call.id, [])
        if "".join(pieces) != call.arguments:
            pieces = [call.arguments]
        for piece in pieces:
            yield self._event("function_call_arguments.delta", {**place, "delta": piece})
        done = {**place, "name": call.name, "arguments": call.arguments}
        yield self._event("function_call_arguments.done", done)
        yield from self._done(OutputCall(item.id, call.id, call.name, call.arguments))

    # The end.

    def _end(
        self, status: str, *, incomplete: str = "", error: ErrorInfo | None = None
    ) -> Iterator[bytes]:
        yield from self._close("completed" if status == "completed" else "incomplete")
        self.response = self._about.response(
            status,
            tuple(self._output),
            usage=ResponseUsage.of(self._usage) if self._usage.total else None,
            error=None if error is None else ResponseFailure.of(error),
            incomplete=incomplete,
        )
        # OpenAI has no event for a cancelled response; this one says that it is not whole.
        kind = "incomplete" if status == "cancelled" else status
        yield self._event(kind, {"response": self.response})

    def _event(self, kind: str, fields: dict[str, Any]) -> bytes:
        number, self._number = self._number, self._number + 1
        body = {"type": f"response.{kind}", "sequence_number": number, **fields}
        return b"event: response.%b\ndata: %b\n\n" % (kind.encode(), _encode(body))
