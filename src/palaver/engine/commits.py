"""What a turn writes and shows when something has ended: an attempt, a message, the turn itself."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

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
from palaver.engine.resume import Standing
from palaver.engine.route import CUT_MESSAGE
from palaver.providers.base import Finished
from palaver.providers.cached import CACHE
from palaver.providers.catalogue import OFFLINE

_Written: TypeAlias = tuple[tuple[Event, ...], tuple[StreamEvent, ...]]
"""Facts, and the events that tell of them."""
_NOTHING = Standing()
_STANDING_IN = {OFFLINE.name: Flag.OFFLINE, CACHE: Flag.CACHED}
"""Who is no model, and how people and later models are told."""
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
        reported = self._reported(attempt, usage)
        if not finished.content:  # nothing to add behind tool results: the model had no more to say
            return self.completed(finished.stop, (made,), (reported,))
        sanitised = (Flag.SANITISED,) if finished.sanitised else ()
        message = self._message(
            attempt.model,
            finished.content,
            finished.stop,
            native_id=finished.native_id,
            flags=(*sanitised, *attempt.flags),
        )
        facts: tuple[Event, ...] = (MessageAdded(message, self._turn), made, *ready)
        shown = (MessageCompleted(message), reported)
        if message.tool_calls or finished.stop is StopReason.PAUSE:
            return Commit(facts, shown)
        return replace(self.completed(finished.stop, facts, shown), answers=attempt.answers)

    def retrying(
        self,
        attempt: Attempt,
        failure: ProviderError,
        wait_s: float,
        *,
        continues: bool = False,
        is_kept: bool = False,
        resets: Sequence[StreamEvent] = (),
    ) -> Commit:
        """An attempt that failed, and when the next one follows. `continues`: with the rest of what
        it said; `is_kept`: the provider goes on, so that the next one reports all that was used.
        """
        usage = Usage() if is_kept else self._used_until_cut(attempt)
        made = self._attempt(attempt, usage, error=failure)
        reported = (self._reported(attempt, usage),) if usage.total else ()
        again = RetryScheduled(attempt.number, wait_s, failure.info(), continues)
        return Commit((made,), (*reported, *resets, again))

    def left(self, attempt: Attempt, failure: ProviderError) -> Commit:
        """An attempt that failed before it said anything, and whose model is asked no more."""
        usage = self._used_until_cut(attempt)
        made = self._attempt(attempt, usage, error=failure)
        return Commit((made,), (self._reported(attempt, usage),) if usage.total else ())

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
        total, cost = _spent(state), self._cost(state)
        return Commit((*facts, *closing), (*shown, TurnCompleted(self._turn, stop, total, cost)))

    def stopped(
        self,
        error: PalaverError | None,
        attempt: Attempt | None,
        results: Mapping[CallId, ToolResult],
        shown_already: frozenset[CallId],
        *,
        kept: Standing = _NOTHING,
    ) -> Commit:
        """The turn ends in the middle: what has come is kept, every call gets a result.

        `error` is None for a person's cancel. `results` are the ones of calls that ran. `kept`:
        what was said, where no attempt is under way.
        """
        if attempt is not None:
            facts, shown = self._cut_off(attempt, error)
        else:
            facts, shown = self._broken_off(kept)
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

    def _cut_off(self, attempt: Attempt, error: PalaverError | None) -> _Written:
        usage = self._used_until_cut(attempt)
        failure = error if isinstance(error, ProviderError) else None
        made = self._attempt(attempt, usage, error=failure)
        reported = self._reported(attempt, usage)
        facts, shown = self._kept(attempt.model, attempt.partial(), attempt.flags)
        return (*facts, made), (*shown, reported)

    def _broken_off(self, kept: Standing) -> _Written:
        opened = self._ports.latest().turn
        models = () if opened is None else opened.by_model
        return self._kept(models[-1][0] if models else "", kept.blocks, kept.flags)

    def _kept(self, model: str, said: tuple[Block, ...], flags: tuple[Flag, ...]) -> _Written:
        blocks = storable_partial(said)
        if not blocks:
            return (), ()
        message = self._message(model, blocks, StopReason.ABORTED, flags=(Flag.PARTIAL, *flags))
        return (MessageAdded(message, self._turn),), (MessageCompleted(message),)

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
        model: str,
        content: tuple[Block, ...],
        stop: StopReason,
        *,
        native_id: str = "",
        flags: tuple[Flag, ...] = (),
    ) -> Message:
        if model in _STANDING_IN:
            flags = (*flags, _STANDING_IN[model])
        return Message(
            Role.ASSISTANT,
            content,
            self._ports.new_message_id(),
            parent=self._ports.latest().messages[-1].id,
            model=model,
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
            attempt.model,
            usage,
            stop=stop,
            error=None if error is None else error.info(),
            request_id=attempt.stream.request_id,
            first_token_s=attempt.first_token_s,
            duration_s=attempt.duration_s,
        )

    def _reported(self, attempt: Attempt, usage: Usage) -> UsageReported:
        return UsageReported(usage, attempt.model, self._ports.price(attempt.model, usage))

    def _cost(self, state: ConversationState) -> float | None:
        """US dollars of the turn, by the models that were asked; None where a price is unknown."""
        spent = () if state.turn is None else state.turn.by_model
        costs = [self._ports.price(model, usage) for model, usage in spent]
        return None if None in costs else sum(cost for cost in costs if cost is not None)


def _spent(state: ConversationState) -> Usage:
    return state.turn.usage if state.turn is not None else Usage()
