"""One request to a model, from sending it to its end, with tools starting underway."""

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
from palaver.engine.inbox import Inbox, Progressed, Stop, StreamEnded, ToolDone, Waited
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
        self.saw_content = False
        self.usage: Usage | None = None
        self.first_token_s: float | None = None
        self._began = ports.clock.monotonic()

    @property
    def duration_s(self) -> float:
        """Seconds since the attempt began."""
        return self._ports.clock.monotonic() - self._began

    async def run(self) -> AsyncIterator[list[StreamEvent]]:
        """What to show, as it comes, until `outcome` is set."""
        inbox = self._ports.inbox
        yield [AttemptStarted(self.number, self._ports.model.name)]
        inbox.spawn(pump(self.stream, inbox, self.number), name="model stream")
        while self.outcome is None:
            shown: list[StreamEvent] = []
            match await inbox.get():
                case list() as batch:
                    shown = self._take(batch)
                case StreamEnded(number=number, error=error) if number == self.number:
                    self.outcome = error or StreamTruncated("the model's stream had no end")
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
                    self.outcome = event
                    self.usage = event.usage or self.usage
        if shown and not self.saw_content:
            self.saw_content = True
            self.first_token_s = self.duration_s
        return shown


async def pump(stream: ModelStream, inbox: Inbox, number: int) -> None:
    """Carry a model's batches to the inbox until the stream ends, well or not."""
    error: ProviderError | None = None
    try:
        async for batch in stream:
            inbox.put(batch)
    except ProviderError as failure:
        error = failure
    except Exception as unexpected:  # noqa: BLE001 - an adapter must not hang or kill a turn
        error = ProtocolViolation(
            f"the model adapter failed: {type(unexpected).__name__}: {unexpected}",
            should_retry=False,
        )
    finally:
        await stream.aclose()
    inbox.put(StreamEnded(number, error))
