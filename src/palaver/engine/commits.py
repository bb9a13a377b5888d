"""What a turn writes and shows when something has ended: an attempt, a message, the turn itself."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from palaver.domain.errors import PalaverError, ProviderError
from palaver.domain.events import AttemptMade, Event, MessageAdded, ToolResolved
from palaver.domain.ids import CallId, TurnId
from palaver.domain.messages import Block, Flag, Message, Role, StopReason, ToolResult
from palaver.domain.reducer import apply
from palaver.domain.state import ConversationState
from palaver.domain.stream import (
    MessageCompleted,
    RetryScheduled,
    StreamEvent,
    ToolFinished,
    TurnCancelled,
    TurnCompleted,
    TurnFailed,
    UsageReported,
)
from palaver.domain.values import TurnOutcome, Usage
from palaver.engine.attempt import Attempt
from palaver.engine.closing import close_turn, storable_partial
from palaver.engine.ports import Commit, TurnPorts
from palaver.engine.route import CUT_MESSAGE
from palaver.providers.base import Finished

STOPPED = "This call did not finish: the turn was stopped."


class Commits:
    """Builds the commits of one turn. Nothing here decides or waits."""

    def __init__(self, ports: TurnPorts, turn: TurnId) -> None:
        self._ports, self._turn = ports, turn

    # An attempt.

    def answer(self, attempt: Attempt, finished: Finished, ready: Sequence[ToolResolved]) -> Commit:
        """The model's message, what it cost, and results that its calls have already.

        A message without calls ends the turn, unless the provider only paused it.
        """
        state = self._ports.latest()
        usage = attempt.usage or self._ports.window.estimated_usage(state, finished.content)
        made = self._attempt(attempt, usage, stop=finished.stop)
        reported = self._reported(usage)
        if not finished.content:  # nothing to add behind tool results: the model had no more to say
            return self.completed(finished.stop, (made,), (reported,))
        flags = (Flag.SANITISED,) if finished.sanitised else ()
        message = self._message(
            finished.content, finished.stop, native_id=finished.native_id, flags=flags
        )
        facts: tuple[Event, ...] = (MessageAdded(message, self._turn), made, *ready)
        shown = (MessageCompleted(message), reported)
        if message.tool_calls or finished.stop is StopReason.PAUSE:
            return Commit(facts, shown)
        return self.completed(finished.stop, facts, shown)

    def retrying(self, attempt: Attempt, failure: ProviderError, wait_s: float) -> Commit:
        """An attempt that failed before it said anything, and when the next one follows."""
        usage = self._used_until_cut(attempt)
        made = self._attempt(attempt, usage, error=failure)
        reported = (self._reported(usage),) if usage.total else ()
        again = RetryScheduled(attempt.number, wait_s, failure.info())
        return Commit((made,), (*reported, again))

    # The end of the turn.

    def completed(
        self,
        stop: StopReason,
        facts: tuple[Event, ...] = (),
        shown: tuple[StreamEvent, ...] = (),
    ) -> Commit:
        """The model ended its answer; `facts` and `shown` come before the end."""
        state = self._folded(facts)
        closing = close_turn(state, self._turn, TurnOutcome.COMPLETED, why=CUT_MESSAGE)
        total = _spent(state)
        cost = self._ports.price(self._ports.model.name, total)
        return Commit((*facts, *closing), (*shown, TurnCompleted(self._turn, stop, total, cost)))

    def stopped(
        self,
        error: PalaverError | None,
        attempt: Attempt | None,
        results: Mapping[CallId, ToolResult],
        shown_already: frozenset[CallId],
    ) -> Commit:
        """The turn ends in the middle: what has come is kept, every call gets a result.

        `error` is None for a person's cancel. `results` are the ones of calls that ran.
        """
        facts, shown = ((), ()) if attempt is None else self._cut_off(attempt, error)
        state = self._folded(facts)
        info = None if error is None else error.info()
        outcome = TurnOutcome.CANCELLED if error is None else TurnOutcome.FAILED
        closing = close_turn(state, self._turn, outcome, why=STOPPED, error=info, results=results)
        ended = [
            ToolFinished(fact.result.call_id, fact.result.name, fact.result)
            for fact in closing
            if isinstance(fact, ToolResolved) and fact.result.call_id not in shown_already
        ]
        total = _spent(state)
        if info is None:
            last: StreamEvent = TurnCancelled(self._turn, total)
        else:
            last = TurnFailed(self._turn, info, total)
        return Commit((*facts, *closing), (*shown, *ended, last), error)

    def _cut_off(
        self, attempt: Attempt, error: PalaverError | None
    ) -> tuple[tuple[Event, ...], tuple[StreamEvent, ...]]:
        usage = self._used_until_cut(attempt)
        failure = error if isinstance(error, ProviderError) else None
        made = self._attempt(attempt, usage, error=failure)
        reported = self._reported(usage)
        kept = storable_partial(attempt.stream.partial())
        if not kept:
            return (made,), (reported,)
        message = self._message(kept, StopReason.ABORTED, flags=(Flag.PARTIAL,))
        return (
            (MessageAdded(message, self._turn), made),
            (MessageCompleted(message), reported),
        )

    def _used_until_cut(self, attempt: Attempt) -> Usage:
        """Of an attempt without an end. Providers count the input at its beginning and the output
        at its end, so that a report from between hardly counts what was said."""
        reported = attempt.stream.usage() or attempt.usage
        if not attempt.saw_content:
            return reported or Usage()
        said = attempt.stream.partial()
        guess = self._ports.window.estimated_usage(self._ports.latest(), said)
        if reported is None:
            return guess
        if reported.output >= guess.output:
            return reported
        return replace(reported, output=guess.output, estimated=True)

    # Parts.

    def _folded(self, facts: tuple[Event, ...]) -> ConversationState:
        state = self._ports.latest()
        for fact in facts:
            state = apply(state, fact)
        return state

    def _message(
        self,
        content: tuple[Block, ...],
        stop: StopReason,
        *,
        native_id: str = "",
        flags: tuple[Flag, ...] = (),
    ) -> Message:
        if self._ports.model.name == "offline":
            flags = (*flags, Flag.OFFLINE)
        return Message(
            Role.ASSISTANT,
            content,
            self._ports.new_message_id(),
            parent=self._ports.latest().messages[-1].id,
            model=self._ports.model.name,
            stop=stop,
            flags=flags,
            native_id=native_id,
        )

    def _attempt(
        self,
        attempt: Attempt,
        usage: Usage,
        *,
        stop: StopReason | None = None,
        error: ProviderError | None = None,
    ) -> AttemptMade:
        return AttemptMade(
            self._turn,
            attempt.number,
            self._ports.model.name,
            usage,
            stop=stop,
            error=None if error is None else error.info(),
            request_id=attempt.stream.request_id,
            first_token_s=attempt.first_token_s,
            duration_s=attempt.duration_s,
        )

    def _reported(self, usage: Usage) -> UsageReported:
        model = self._ports.model.name
        return UsageReported(usage, model, self._ports.price(model, usage))


def _spent(state: ConversationState) -> Usage:
    return state.turn.usage if state.turn is not None else Usage()
