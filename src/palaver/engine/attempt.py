"""One request to a model, from sending it to its end, with tools starting underway.

Two tasks work on it. The reading task takes the model's batches and shows what they say in the same
step: between the socket and the readers of a turn nothing waits in a queue, and nothing is read
before what came is shown. The turn's own task sleeps meanwhile; the inbox wakes it for what has
consequences: the end of the stream, a finished tool, a cancel.
"""

from collections.abc import AsyncIterator
from typing import TypeAlias

from palaver.domain.errors import ProtocolViolation, ProviderError, StreamTruncated
from palaver.domain.ids import CallId
from palaver.domain.stream import (
    AttemptStarted,
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
from palaver.providers.base import (
    CallArguments,
    CallCompleted,
    CallStarted,
    Finished,
    ModelEvent,
    ModelRequest,
    ModelStream,
    ReasoningPart,
    TextPart,
    UsageKnown,
)

Outcome: TypeAlias = Finished | ProviderError | Stop


class Attempt:
    """Iterate `run`; afterwards `outcome` says how it ended."""

    def __init__(
        self,
        ports: TurnPorts,
        integrator: StreamingToolIntegrator,
        request: ModelRequest,
        number: int,
    ) -> None:
        self._ports, self._integrator, self.number = ports, integrator, number
        self.stream: ModelStream = ports.model.stream(request)
        self.outcome: Outcome | None = None
        self._finished: Finished | None = None
        self.saw_content = False
        self.usage: Usage | None = None
        self.first_token_s: float | None = None
        self._began = ports.clock.monotonic()

    @property
    def duration_s(self) -> float:
        """Seconds since the attempt began."""
        return self._ports.clock.monotonic() - self._began

    async def run(self) -> AsyncIterator[list[StreamEvent]]:
        """What to show beside the model's words, as it comes, until `outcome` is set."""
        inbox = self._ports.inbox
        yield [AttemptStarted(self.number, self._ports.model.name)]
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
        if isinstance(self.outcome, ProviderError) and self.saw_content:
            self.outcome.in_stream = True

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
            failure = ProtocolViolation(
                f"the model adapter failed: {type(unexpected).__name__}: {unexpected}",
                should_retry=False,
            )
        finally:
            await stream.aclose()
        inbox.put(StreamEnded(self.number, failure))

    def _take(self, batch: list[ModelEvent]) -> list[StreamEvent]:
        shown: list[StreamEvent] = []
        for event in batch:
            match event:
                case TextPart(text=text):
                    shown.append(TextDelta(text))
                case CallArguments(id=call_id, text=text):
                    shown.append(ToolArgumentsDelta(CallId(call_id), text))
                case ReasoningPart(text=text):
                    shown.append(ReasoningDelta(text))
                case CallStarted(id=call_id, name=name):
                    shown.append(ToolRequested(CallId(call_id), name))
                case CallCompleted(call=call):
                    shown.extend(self._integrator.start_early(call))
                case UsageKnown(usage=usage):
                    self.usage = usage
                case Finished():
                    self._finished = event
                    self.usage = event.usage or self.usage
        if shown and not self.saw_content:
            self.saw_content = True
            self.first_token_s = self.duration_s
        return shown
