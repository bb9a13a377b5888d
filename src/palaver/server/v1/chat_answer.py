"""The events of a turn as a chat completion: in chunks, or whole.

A call is sent when the model's message is complete and the turn waits for the client: a stream that
breaks within a call is made anew without anybody having seen half of it.
"""

from collections.abc import AsyncGenerator, Iterator, Sequence

from palaver.domain.messages import Message, Refusal, Text, ToolCall
from palaver.domain.stream import (
    AttemptStarted,
    ReasoningDelta,
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
from palaver.domain.values import ErrorInfo, Usage
from palaver.server.v1.chat_shapes import (
    DONE,
    ChatChoice,
    ChatCompletion,
    ChatMessage,
    ChatUsage,
    Chunks,
    answered_calls,
    finish_reason,
)
from palaver.server.v1.streaming import TurnEnded, error_chunk
from palaver.server.v1.talk import Talk
from palaver.service.reply import Collector, Reply

CANCELLED = ErrorInfo("turn_cancelled", "the answer was cancelled")
INTERRUPTED = ErrorInfo(
    "turn_interrupted", "the server stopped before the answer was complete", "Ask again.", True
)


def completion_id(turn: str, part: int = 1) -> str:
    """The id of a completion: that of its turn, which may give several."""
    name = turn.partition("_")[2]
    return f"chatcmpl-{name}" if part == 1 else f"chatcmpl-{name}_{part}"


class ChatStreaming:
    """Turns events into chunks. `is_over`: the answer has come to its end."""

    def __init__(self, id: str, created: int, model: str, *, with_usage: bool) -> None:
        self._id, self._created, self._model = id, created, model
        self._with_usage = with_usage
        self._chunks: Chunks | None = None
        self._usage = Usage()
        self._pieces: dict[str, list[str]] = {}
        """Arguments of calls, as they came."""
        self.is_over = False

    def fed(self, events: Sequence[StreamEvent]) -> bytes:
        """The chunks that tell of these events. Raises TurnEnded where the turn ends before it said
        anything."""
        out: list[bytes] = []
        for event in events:
            if type(event) is TextDelta and self._chunks is not None:  # nearly all of them
                out.append(self._chunks.text(event.text))
            else:
                out.extend(self._piece(event))
        return b"".join(out)

    def _piece(self, event: StreamEvent) -> Iterator[bytes]:
        match event:
            case TextDelta(text=text):
                yield from self._begun()
                yield self._told.text(text)
            case ReasoningDelta(text=text):
                yield from self._begun()
                yield self._told.reasoning(text)
            case ToolRequested(call_id=call_id):
                self._pieces[call_id] = []
            case ToolArgumentsDelta(call_id=call_id, text=text):
                self._pieces.setdefault(call_id, []).append(text)
            case AttemptStarted(model=model) if self._chunks is None:
                self._model = model
            case UsageReported(usage=usage):
                self._usage = self._usage + usage
            case TurnSuspended(calls=calls):
                yield from self._begun()
                for index, call in enumerate(calls):
                    yield from self._call(index, call)
                yield from self._finish("tool_calls")
            case TurnCompleted(stop=stop):
                yield from self._begun()
                yield from self._finish(finish_reason(stop))
            case TurnFailed(error=error):
                yield self._failed(error)
            case TurnCancelled():
                yield self._failed(CANCELLED)
            case TurnInterrupted():
                yield self._failed(INTERRUPTED)
            case _:
                pass

    @property
    def _told(self) -> Chunks:
        assert self._chunks is not None
        return self._chunks

    def _begun(self) -> Iterator[bytes]:
        if self._chunks is None:
            self._chunks = Chunks(self._id, self._created, self._model, with_usage=self._with_usage)
            yield self._chunks.begin()

    def _call(self, index: int, call: ToolCall) -> Iterator[bytes]:
        yield self._told.call(index, call)
        pieces = self._pieces.get(call.id, [])
        if "".join(pieces) != call.arguments:
            pieces = [call.arguments]
        for piece in pieces:
            yield self._told.arguments(index, piece)

    def _finish(self, reason: str) -> Iterator[bytes]:
        self.is_over = True
        yield self._told.finish(reason)
        yield self._told.usage(self._usage)
        yield DONE

    def _failed(self, error: ErrorInfo) -> bytes:
        if self._chunks is None:
            raise TurnEnded(error)
        self.is_over = True
        return error_chunk(error)


async def streamed(talk: Talk, streaming: ChatStreaming) -> AsyncGenerator[bytes, None]:
    """The chunks of an answer. Raises TurnEnded where it ends before anything was said."""
    try:
        async for batch in talk.session.batches(talk.after):
            chunks = streaming.fed(batch.events)
            if chunks:
                yield chunks
            if streaming.is_over:
                return
    finally:
        await talk.aclose()


async def whole(talk: Talk, id: str, created: int) -> ChatCompletion:
    """The answer at once. Raises TurnEnded where there is none."""
    collector = Collector(talk.turn)
    async for event in talk.session.events(talk.after, until_suspended=True):
        collector.add(event)
        match event:
            case TurnFailed(error=error):
                raise TurnEnded(error)
            case TurnCancelled():
                raise TurnEnded(CANCELLED)
            case TurnInterrupted():
                raise TurnEnded(INTERRUPTED)
            case _:
                pass
    return _completion(collector.reply(), id, created)


def _completion(reply: Reply, id: str, created: int) -> ChatCompletion:
    message = reply.message
    refusal = _joined(message, Refusal)
    text = reply.text.removesuffix(refusal) if refusal else reply.text
    calls = answered_calls(reply.waiting)
    answer = ChatMessage(text or (None if calls or refusal else ""), refusal or None)
    if calls:
        answer = ChatMessage(text or None, refusal or None, tool_calls=calls)
    reason = "tool_calls" if calls else finish_reason(reply.stop)
    model = "" if message is None else message.model
    return ChatCompletion(
        id, created, model, (ChatChoice(answer, reason),), ChatUsage.of(reply.usage)
    )


def _joined(message: Message | None, kind: type[Text] | type[Refusal]) -> str:
    blocks = () if message is None else message.content
    return "".join(block.text for block in blocks if isinstance(block, kind))
