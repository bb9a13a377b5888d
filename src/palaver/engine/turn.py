"""A turn. START READING HERE.

A turn answers one user message. It is a loop with two moves, and the conversation's state alone
says which comes next, so a turn that was suspended is continued by running it again:

    the last message has calls without results   →  answer them   (`_answer_calls`)
    otherwise                                    →  ask the model (`_ask`, `asking`)

until the model ends its message without calling a tool. `run_turn` is an asynchronous iterator. It
yields plain lists of events, which are only shown, and `Commit`s, whose facts are durable when the
iterator is resumed; that is why no effect can start before its claim is in the log. Whatever
happens in between (cancel, deadline, failure, crash), the facts it leaves are valid history.
"""

from collections.abc import AsyncIterator

from palaver.domain.errors import PalaverError, ProviderTimeout, StepLimitReached
from palaver.domain.events import Event, ToolClaimed, ToolResolved, TurnClosed, TurnHeld
from palaver.domain.ids import MessageId, TurnId
from palaver.domain.messages import StopReason, ToolCall, ToolResult
from palaver.domain.state import ConversationState
from palaver.domain.stream import StreamEvent, ToolFinished, TurnStarted, TurnSuspended
from palaver.domain.values import Effect, SuspendReason
from palaver.engine.asking import Asking, Course
from palaver.engine.attempt import Attempt
from palaver.engine.chain import ModelChain
from palaver.engine.commits import STOPPED, Commits
from palaver.engine.inbox import Progressed, Stop, ToolDone
from palaver.engine.integrator import StreamingToolIntegrator
from palaver.engine.outcome import Answered, Stopped
from palaver.engine.ports import Commit, Emission, TurnPorts
from palaver.engine.resume import Standing
from palaver.engine.route import (
    Answer,
    Ask,
    AwaitClient,
    Route,
    Start,
    goes_on,
    route,
    stop_of_last_answer,
)
from palaver.providers.base import Finished

_NOTHING = Standing()


async def run_turn(
    ports: TurnPorts, turn: TurnId, message: MessageId, said: Standing = _NOTHING
) -> AsyncIterator[Emission]:
    """Run an open turn, or run it on, until it ends or is suspended.

    `message` is the user message that it answers; `said` is what stands of an answer to it that
    another process has begun. The last event shown is terminal or TurnSuspended.
    """
    run = _Turn(ports, turn, said)
    ports.inbox.spawn(run.keep_time(), name="turn deadline")
    try:
        if _is_new(ports.latest(), message):
            yield [TurnStarted(turn, ports.latest().id, message)]
        while not run.is_over:
            async for emission in run.next_move():
                yield emission
    finally:
        await ports.inbox.aclose()


def _is_new(state: ConversationState, message: MessageId) -> bool:
    """Whether the turn has done nothing yet: readers have not been told that it runs."""
    return state.messages[-1].id == message or (state.turn is not None and not state.turn.attempts)


class _Turn:
    def __init__(self, ports: TurnPorts, turn: TurnId, said: Standing) -> None:
        self._ports, self._turn, self._said = ports, turn, said
        self._integrator = StreamingToolIntegrator(ports, ports.latest().id, turn)
        self._commits = Commits(ports, turn)
        self._course = Course(
            ModelChain(ports.models, ports.recovery),
            deadline=ports.clock.monotonic() + ports.settings.clocks.turn_s,
        )
        self.is_over = False

    async def keep_time(self) -> None:
        """Stop the turn when its time is over."""
        await self._ports.clock.sleep(self._ports.settings.clocks.turn_s)
        self._ports.inbox.put(Stop(deadline=True))

    def next_move(self) -> AsyncIterator[Emission]:
        """What the state asks for."""
        state = self._ports.latest()
        if state.pending_calls:
            return self._answer_calls(state)
        has_answered = state.turn is not None and state.turn.steps > 0
        stop = stop_of_last_answer(state) if has_answered else None
        if stop is not None and not goes_on(state, stop):
            return self._complete(stop)
        return self._ask(state)

    # Asking the model.

    async def _ask(self, state: ConversationState) -> AsyncIterator[Emission]:
        said, self._said = self._said, _NOTHING
        try:
            self._check_steps(state)
        except PalaverError as refusal:
            yield await self._stop(refusal, kept=said)
            return
        asking = Asking(self._ports, self._commits, self._turn, self._course, said)
        self._integrator = asking.integrator
        async for emission in asking.run():
            yield emission
        match asking.outcome:
            case Answered(attempt=attempt, finished=finished):
                yield self._answered(attempt, finished)
            case Stopped(cause=cause, attempt=cut, kept=kept):
                yield await self._stop(cause, cut, kept)

    def _check_steps(self, state: ConversationState) -> None:
        """Raise StepLimitReached when another request makes no sense."""
        limit = self._ports.settings.turn.steps
        if state.turn is not None and state.turn.steps >= limit:
            raise StepLimitReached(f"the model called tools {limit} times in one turn")

    def _answered(self, attempt: Attempt, finished: Finished) -> Commit:
        results = self._integrator.results
        called = (b.id for b in finished.content if isinstance(b, ToolCall))
        ready = [self._resolved(results[call_id]) for call_id in called if call_id in results]
        commit = self._commits.answer(attempt, finished, ready)
        self.is_over = isinstance(commit.facts[-1], TurnClosed)
        return commit

    # Answering calls.

    async def _answer_calls(self, state: ConversationState) -> AsyncIterator[Emission]:
        facts: list[Event] = []
        shown: list[StreamEvent] = []
        to_start: list[ToolCall] = []
        to_ask: list[ToolCall] = []
        to_wait: list[ToolCall] = []
        for call in state.pending_calls:
            if call.id in self._integrator.running:
                continue
            match self._routed(state, call):
                case Answer(result=result):
                    facts.append(self._resolved(result))
                    if call.id not in self._integrator.results:
                        shown.append(ToolFinished(call.id, call.name, result))
                case Start():
                    to_start.append(call)
                case Ask():
                    to_ask.append(call)
                case AwaitClient():
                    to_wait.append(call)
        facts.extend(self._claims(to_start))
        if facts:
            yield Commit(tuple(facts), tuple(shown))
        if to_start:
            yield self._integrator.start(to_start)
        async for emission in self._run_out():
            yield emission
        if self.is_over:
            return
        # A client may take days: what a person has allowed is not to wait for it.
        if to_ask:
            yield self._hold(SuspendReason.APPROVAL, to_ask)
        elif to_wait:
            yield self._hold(SuspendReason.CLIENT_TOOL_RESULT, to_wait)

    def _hold(self, reason: SuspendReason, calls: list[ToolCall]) -> Commit:
        self.is_over = True
        held = TurnHeld(self._turn, reason, tuple(call.id for call in calls))
        return Commit((held,), (TurnSuspended(reason, tuple(calls)),))

    def _routed(self, state: ConversationState, call: ToolCall) -> Route:
        if call.id in self._integrator.results:
            return Answer(self._integrator.results[call.id])
        definition = self._integrator.definition(call)
        return route(state, call, definition, is_valid=self._integrator.is_valid(call))

    def _claims(self, calls: list[ToolCall]) -> list[Event]:
        claims: list[Event] = []
        for call in calls:
            definition = self._integrator.definition(call)
            if definition is not None and definition.effect is Effect.EFFECT:
                claims.append(ToolClaimed(self._turn, call.id, call.name, definition.effect))
        return claims

    async def _run_out(self) -> AsyncIterator[Emission]:
        """Commit results as the running calls finish."""
        while self._integrator.running:
            match await self._ports.inbox.get():
                case ToolDone() as done:
                    finished = self._integrator.finish(done)
                    yield Commit((self._resolved(done.result),), (finished,))
                case Progressed() as progressed:
                    yield self._integrator.progress(progressed)
                case Stop() as stop:
                    yield await self._stop(stop)
                    return
                case _:
                    pass  # the end of the stream that made these calls

    def _resolved(self, result: ToolResult) -> ToolResolved:
        duration = self._integrator.durations.get(result.call_id, 0.0)
        return ToolResolved(self._turn, result, duration)

    # Ending.

    async def _complete(self, stop: StopReason) -> AsyncIterator[Emission]:
        self.is_over = True
        yield self._commits.completed(stop)

    async def _stop(
        self,
        cause: Stop | PalaverError,
        attempt: Attempt | None = None,
        kept: Standing = _NOTHING,
    ) -> Commit:
        """End the turn in the middle: nothing runs on, nothing that has come is lost."""
        self.is_over = True
        await self._ports.inbox.aclose()
        for item in self._ports.inbox.drain():  # what tools delivered before they were cancelled
            if isinstance(item, ToolDone) and item.call_id in self._integrator.running:
                self._integrator.finish(item)
        error = self._error_of(cause)
        shown = frozenset(self._integrator.results)
        results = self._integrator.stopped(STOPPED)
        return self._commits.stopped(error, attempt, results, shown, kept=kept)

    def _error_of(self, cause: Stop | PalaverError) -> PalaverError | None:
        """The error that a cause means; None for a person's cancel."""
        if isinstance(cause, PalaverError):
            return cause
        if not cause.deadline:
            return None
        seconds = self._ports.settings.clocks.turn_s
        return ProviderTimeout(f"the turn took longer than {seconds:g} s", clock="turn")
