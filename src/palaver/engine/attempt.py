"""One request to a model, from sending it to its end, with tools starting underway.

Two tasks work on it. The reading task takes the model's batches and shows what they say in the same
step: between the socket and the readers of a turn nothing waits in a queue, and nothing is read
before what came is shown. The turn's own task sleeps meanwhile; the inbox wakes it for what has
consequences: the end of the stream, a finished tool, a cancel.
"""

from collections.abc import AsyncIterator
from typing import TypeAlias

from msgspec.structs import replace

from palaver import log
from palaver.domain.errors import ProtocolViolation, ProviderError, StreamTruncated
from palaver.domain.ids import CallId
from palaver.domain.messages import Block, Flag
from palaver.domain.stream import (
    AttemptStarted,
    BlockReset,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    ToolArgumentsDelta,
    ToolRequested,
)
from palaver.domain.values import Usage
from palaver.engine.inbox import Progressed, Stop, StreamEnded, ToolDone, Waited
from palaver.engine.integrator import StreamingToolIntegrator
from palaver.engine.ports import TurnPorts
from palaver.engine.resume import Rejoining, Standing, as_shown, standing
from palaver.providers.base import (
    CallArguments,
    CallCompleted,
    CallStarted,
    Finished,
    ModelEvent,
    ModelStream,
    ReasoningPart,
    TextPart,
    UsageKnown,
)

Outcome: TypeAlias = Finished | ProviderError | Stop


class Attempt:
    """Iterate `run`; afterwards `outcome` says how it ended.

    `rejoining`: it says the rest of an answer that broke. `before`: the attempt whose stream its
    provider goes on with, as if nothing had happened.
    """

    def __init__(
        self,
        ports: TurnPorts,
        integrator: StreamingToolIntegrator,
        stream: ModelStream,
        *,
        number: int,
        model: str,
        rejoining: Rejoining | None = None,
        before: "Attempt | None" = None,
    ) -> None:
        self._ports, self._integrator, self.number = ports, integrator, number
        self.stream, self.model = stream, model
        self.outcome: Outcome | None = None
        self._rejoining = rejoining
        self._finished: Finished | None = None
        self._shown: list[str] = [] if before is None else before._shown
        """The text so far; of a second half, that is counted where it is joined."""
        self._calls: list[CallId] = [] if before is None else before._calls
        self._is_thinking: bool = before is not None and before._is_thinking
        self._is_resumed = before is not None
        self.breaks: int = 0 if before is None else before.breaks + 1
        """How often its provider has gone on with the same answer."""
        self.saw_content = False
        self.answers = b""
        """The key of its request, where its answer may be given again."""
        self.usage: Usage | None = None
        self.first_token_s: float | None = None
        self._began = ports.clock.monotonic()

    @property
    def duration_s(self) -> float:
        """Seconds since the attempt began."""
        return self._ports.clock.monotonic() - self._began

    @property
    def was_shown(self) -> bool:
        """Whether anything of its answer was shown, by it or by what it goes on with."""
        return self.saw_content or self._is_resumed

    @property
    def is_silent(self) -> bool:
        """Whether it was to say the rest of an answer, and said nothing at all."""
        is_mute = self._rejoining is not None and not self._rejoining.heard
        return is_mute and not self._calls

    @property
    def flags(self) -> tuple[Flag, ...]:
        """What a reader of its message must know about joins."""
        if self._rejoining is not None:
            return self._rejoining.flags
        return (Flag.JOINED,) if self.breaks else ()

    def partial(self) -> tuple[Block, ...]:
        """What was shown of the answer, what stood before included, and complete calls."""
        blocks = self.stream.partial()
        if self._rejoining is not None:
            return self._rejoining.partial(blocks)
        return as_shown(blocks, "".join(self._shown))

    def standing(self) -> Standing:
        """What stands of the answer, now that it broke."""
        if self._rejoining is not None:
            return self._rejoining.stands(self.stream.partial())
        return replace(standing(self.partial()), joins=self.breaks)

    def resets(self) -> list[StreamEvent]:
        """What of it was shown and is made anew."""
        shown: list[StreamEvent] = []
        if self._is_thinking:
            shown.append(BlockReset("reasoning"))
        return [*shown, *(BlockReset("tool_call", call) for call in self._calls)]

    async def run(self) -> AsyncIterator[list[StreamEvent]]:
        """What to show beside the model's words, as it comes, until `outcome` is set."""
        inbox = self._ports.inbox
        continues = self._rejoining is not None or self._is_resumed
        yield [AttemptStarted(self.number, self.model, continues)]
        inbox.spawn(self._read(), name="model stream")
        while self.outcome is None:
            shown: list[StreamEvent] = []
            match await inbox.get():
                case StreamEnded(number=number, outcome=outcome) if number == self.number:
                    self.outcome = outcome
                case ToolDone() as done:
                    shown = [self._integrator.finish(done)]
                case Progressed() as progressed:
                    shown = self._integrator.progress(progressed)
                case Stop() as stop:
                    self.outcome = stop
                case StreamEnded() | Waited():
                    pass  # of an attempt that is over
            if shown:
                yield shown
        if isinstance(self.outcome, ProviderError):
            self.outcome.in_stream = self.was_shown

    async def _read(self) -> None:
        """Show the model's batches until the stream ends, well or not; then tell the turn."""
        inbox, stream = self._ports.inbox, self.stream
        failure: ProviderError = StreamTruncated("the model's stream had no end")
        try:
            async for batch in stream:
                if self.outcome is not None:
                    return  # stopped; the cancel of this task is on its way
                if shown := self._take(batch):
                    self._ports.show(shown)
                if self._finished is not None:
                    inbox.put(StreamEnded(self.number, self._finished))
                    return
        except ProviderError as error:
            failure = error
        except Exception as unexpected:  # noqa: BLE001 - an adapter must not hang or kill a turn
            kind = type(unexpected).__name__
            log.get("turn").error("adapter_failed", error=repr(unexpected))
            failure = ProtocolViolation(
                f"the model adapter failed with {kind}; the log has the details",
                should_retry=False,
            )
            failure.__cause__ = unexpected
        finally:
            await stream.aclose()
        inbox.put(StreamEnded(self.number, failure))

    def _take(self, batch: list[ModelEvent]) -> list[StreamEvent]:
        shown: list[StreamEvent] = []
        for event in batch:
            match event:
                case TextPart(text=text):
                    self._is_thinking = False
                    if self._rejoining is not None:
                        text = self._rejoining.add(text)
                    if text:
                        self._shown.append(text)
                        shown.append(TextDelta(text))
                case CallArguments(id=call_id, text=text):
                    shown.append(ToolArgumentsDelta(CallId(call_id), text))
                case ReasoningPart(text=text):
                    self._is_thinking = True
                    shown.append(ReasoningDelta(text))
                case CallStarted(id=call_id, name=name):
                    self._is_thinking = False
                    self._calls.append(CallId(call_id))
                    shown.append(ToolRequested(CallId(call_id), name))
                case CallCompleted(call=call):
                    shown.extend(self._integrator.start_early(call))
                case UsageKnown(usage=usage):
                    self.usage = usage
                case Finished():
                    shown.extend(self._end(event))
        if shown and not self.saw_content:
            self.saw_content = True
            self.first_token_s = self.duration_s
        return shown

    def _end(self, finished: Finished) -> list[StreamEvent]:
        self.usage = finished.usage or self.usage
        rest = ""
        if self._rejoining is not None:
            rest = self._rejoining.end()
            whole = self._rejoining.whole(finished.content)
            finished = replace(finished, content=whole)
        self._finished = finished
        return [TextDelta(rest)] if rest else []
