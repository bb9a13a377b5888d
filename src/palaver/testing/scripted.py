"""A model that says what the test wrote, with the timing and the failures that the test wrote.

It keeps the contract of `providers.base.Model`, so the engine cannot tell it from a real one. It is
strict: a request that a provider would refuse is refused (`testing.history`), and stays visible in
`problems` for a test that only sees a failed turn.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from typing import TypeAlias

import msgspec

from palaver.domain.clock import Clock
from palaver.domain.errors import ConnectionFailed, InvalidRequest, ProviderError, StreamTruncated
from palaver.domain.ids import CallId
from palaver.domain.messages import Block, Message, Reasoning, Refusal, Role, Text, ToolCall
from palaver.domain.values import Usage
from palaver.providers.base import (
    CallArguments,
    CallCompleted,
    CallStarted,
    Finished,
    ModelEvent,
    ModelInfo,
    ModelRequest,
    ReasoningPart,
    TextPart,
    UsageKnown,
)
from palaver.system import SystemClock
from palaver.testing.history import sendable
from palaver.testing.script import (
    Call,
    Cut,
    Decline,
    Fail,
    Pause,
    Report,
    Say,
    Script,
    Step,
    Stop,
    Think,
    Turn,
    pieces,
    rest,
    steps_of,
    stop_of,
)

ModelTurn: TypeAlias = Turn[ModelRequest]


class ScriptedModel:
    """A `Model` that answers with `turns`, one for each request; see `testing.script` for steps.

    `requests` holds what it was asked, `streams` the attempts, `problems` what was invalid. With
    `strict` an invalid request fails with InvalidRequest. Asked once too often it fails with
    InvalidRequest, too; `when` answers by what the user said, any number of times.
    """

    def __init__(
        self,
        turns: Sequence[ModelTurn] = (),
        *,
        name: str = "scripted:model",
        info: ModelInfo | None = None,
        clock: Clock | None = None,
        piece: int = 8,
        per_batch: int = 1,
        late_calls: bool = False,
        strict: bool = True,
    ) -> None:
        self._info = info or ModelInfo(name, window=200_000, max_output=8_192, reasoning=True)
        self.clock: Clock = clock or SystemClock()
        self.piece, self.per_batch = piece, per_batch
        self.late_calls, self.strict = late_calls, strict
        self.requests: list[ModelRequest] = []
        self.streams: list[ScriptedStream] = []
        self.problems: list[str] = []
        self.is_closed = False
        self._script: Script[ModelTurn] = Script(turns)
        self._calls = 0

    @property
    def name(self) -> str:
        """`provider:model`."""
        return self._info.name

    @property
    def info(self) -> ModelInfo:
        """What the model can do."""
        return self._info

    @property
    def left(self) -> int:
        """How many scripted turns nobody asked for yet."""
        return len(self._script)

    def script(self, turns: Sequence[ModelTurn]) -> None:
        """Say these after what is scripted already."""
        self._script.add(turns)

    def when(self, mention: str, turn: ModelTurn) -> None:
        """Say `turn` whenever the last user message holds `mention`."""
        self._script.when(mention, turn)

    def stream(self, request: ModelRequest) -> "ScriptedStream":
        """Begin an attempt; the turn is taken at the first step of the iteration."""
        made = ScriptedStream(self, request)
        self.streams.append(made)
        return made

    async def aclose(self) -> None:
        """Remember that it was closed."""
        self.is_closed = True

    def begin(self, request: ModelRequest) -> tuple[Step, ...]:
        """Record a request and take its turn. Raises InvalidRequest as the class says."""
        self.requests.append(msgspec.structs.replace(request, messages=tuple(request.messages)))
        problems = sendable(request.messages, prefill=self._info.prefill)
        self.problems += problems
        if problems and self.strict:
            raise InvalidRequest("; ".join(problems), status=400, provider="scripted")
        turn = self._script.next(said(request.messages))
        if turn is None:
            problem = f"request {len(self.requests)}: nothing is scripted for it"
            self.problems.append(problem)
            raise InvalidRequest(problem, provider="scripted")
        return steps_of(turn, request)

    def next_call_id(self) -> str:
        """A call id that this model has not used: call_1, call_2, …"""
        self._calls += 1
        return f"call_{self._calls}"


class ScriptedStream:
    """One attempt. `is_closed`: `aclose` was called; `is_done`: it came to its end."""

    def __init__(self, model: ScriptedModel, request: ModelRequest) -> None:
        self.request = request
        self.request_id = ""
        self.is_closed = False
        self.is_done = False
        self._model = model
        self._closing = asyncio.Event()
        self._usage: Usage | None = None
        self._finished: list[Block] = []
        self._late: list[ToolCall] = []
        self._text = ""
        self._began = False

    def __aiter__(self) -> AsyncIterator[list[ModelEvent]]:
        return self._run()

    def partial(self) -> tuple[Block, ...]:
        """What the reader was given: text, finished reasoning, complete calls."""
        open_text: tuple[Block, ...] = (Text(self._text),) if self._text else ()
        return (*self._finished, *open_text)

    def usage(self) -> Usage | None:
        """What was reported so far."""
        return self._usage

    async def aclose(self) -> None:
        """End a read that is under way; it fails with StreamTruncated."""
        self.is_closed = True
        self._closing.set()

    async def _run(self) -> AsyncIterator[list[ModelEvent]]:
        await self._breathe()
        steps = self._model.begin(self.request)
        self.request_id = f"req_{len(self._model.requests)}"
        batch: list[ModelEvent] = []
        for step in steps:
            async for event in self._play(step):
                if event is not None:
                    batch.append(event)
                if batch and (event is None or len(batch) >= self._model.per_batch):
                    yield batch
                    batch = []
                    await self._breathe()
        yield [*batch, *self._end(steps)]

    async def _play(self, step: Step) -> AsyncIterator[ModelEvent | None]:
        """The events of a step; None where the network would be silent or broken afterwards."""
        if isinstance(step, Pause | Fail | Cut):
            yield None
        match step:
            case Say(text=text, piece=piece):
                for part in pieces(text, piece or self._model.piece):
                    self._began, self._text = True, self._text + part
                    yield TextPart(part)
            case Decline(text=text):
                self._began = True
                self._close_text()
                self._finished.append(Refusal(text))
                yield TextPart(text)
            case Think():
                self._close_text()
                for part in pieces("" if step.redacted else step.text, step.piece):
                    self._began = True
                    yield ReasoningPart(part)
                self._finished.append(self._reasoning(step))
            case Call():
                async for event in self._call(step):
                    yield event
            case Report(usage=usage):
                self._usage = usage
                if usage is not None:
                    yield UsageKnown(usage)
            case Pause(seconds=seconds, until=until):
                await self._unless_closed(rest(seconds, until, self._model.clock))
            case Fail(error=error):
                raise self._placed(error)
            case Cut():
                raise self._placed(StreamTruncated("the scripted stream ends here"))
            case Stop():
                pass

    async def _call(self, step: Call) -> AsyncIterator[ModelEvent | None]:
        id = step.id or self._model.next_call_id()
        self._began = True
        self._close_text()
        yield CallStarted(id, step.name)
        parts = list(pieces(step.json, step.piece or self._model.piece))
        for number, part in enumerate(parts):
            if number == len(parts) // 2 and (step.wait_s or step.until):
                yield None
                await self._unless_closed(rest(step.wait_s, step.until, self._model.clock))
            yield CallArguments(id, part)
        call = ToolCall(CallId(id), step.name, step.json)
        if self._model.late_calls:
            self._late.append(call)
            return
        self._finished.append(call)
        yield CallCompleted(call)

    def _end(self, steps: Sequence[Step]) -> Iterator[ModelEvent]:
        self._close_text()
        for call in self._late:
            self._finished.append(call)
            yield CallCompleted(call)
        if not any(isinstance(step, Report) for step in steps):
            self._usage = counted(self.request, self.partial())
        self.is_done = True
        content = self.partial()
        id = f"msg_{len(self._model.requests)}"
        name = self._model.name.partition(":")[2]
        yield Finished(content, stop_of(steps), self._usage, id, self.request_id, name)

    def _reasoning(self, step: Think) -> Reasoning:
        proof = f"proof-{len(self._model.requests)}-{len(self._finished)}"
        if step.redacted:
            return Reasoning(encrypted=proof, origin="scripted")
        return Reasoning(text=step.text, signature=proof, origin="scripted")

    def _close_text(self) -> None:
        if self._text:
            self._finished.append(Text(self._text))
            self._text = ""

    def _placed(self, error: ProviderError) -> ProviderError:
        error.in_stream = error.in_stream or self._began
        return error

    async def _breathe(self) -> None:
        # One step of the loop between reads, as with a socket: others get their turn.
        await asyncio.sleep(0)
        if self.is_closed:
            raise self._ended()

    async def _unless_closed(self, pause: Awaitable[None]) -> None:
        resting = asyncio.ensure_future(pause)
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait((resting, closing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            resting.cancel()
            closing.cancel()
        if self.is_closed:
            raise self._ended()

    def _ended(self) -> ProviderError:
        if self._began:
            return StreamTruncated("the stream was closed while it was read", in_stream=True)
        return ConnectionFailed("the connection was closed before an answer came")


def said(messages: Sequence[Message]) -> str:
    """The text of the last user message, or nothing."""
    return next((m.text for m in reversed(messages) if m.role is Role.USER), "")


def counted(request: ModelRequest, content: Sequence[Block]) -> Usage:
    """Usage by the rough rule of four characters to a token."""
    prompt = len(request.system) + sum(
        len(msgspec.json.encode(m.content)) for m in request.messages
    )
    return Usage(input=-(-prompt // 4), output=-(-len(msgspec.json.encode(content)) // 4))
