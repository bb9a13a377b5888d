"""A turn. START READING HERE.

A turn answers one user message. It is a loop with two moves, and the conversation's state alone
says which comes next, so a turn that was suspended is continued by running it again:

    the last message has calls without results   →  answer them   (`_answer_calls`)
    otherwise                                    →  ask the model (`_ask`)

until the model ends its message without calling a tool. `run_turn` is an asynchronous iterator. It
yields plain lists of events, which are only shown, and `Commit`s, whose facts are durable when the
iterator is resumed; that is why no effect can start before its claim is in the log. Whatever
happens in between (cancel, deadline, failure, crash), the facts it leaves are valid history.
"""

from collections.abc import AsyncIterator

from palaver.context.need import Need
from palaver.context.window import ContextWindow
from palaver.domain.errors import (
    ContextOverflow,
    PalaverError,
    ProtocolViolation,
    ProviderError,
    ProviderTimeout,
    StepLimitReached,
)
from palaver.domain.events import Event, ToolClaimed, ToolResolved, TurnClosed, TurnHeld
from palaver.domain.ids import MessageId, TurnId
from palaver.domain.messages import Role, StopReason, ToolCall, ToolResult
from palaver.domain.state import ConversationState
from palaver.domain.stream import StreamEvent, ToolFinished, TurnStarted, TurnSuspended
from palaver.domain.values import Effect, SuspendReason
from palaver.engine.assemble import (
    build_request,
    left_out,
    offered_tools,
    system_prompt,
    tool_specs,
)
from palaver.engine.attempt import Attempt
from palaver.engine.commits import STOPPED, Commits
from palaver.engine.inbox import Progressed, Stop, ToolDone, Waited
from palaver.engine.integrator import StreamingToolIntegrator
from palaver.engine.ports import Commit, Emission, TurnPorts
from palaver.engine.room import RoomMaker
from palaver.engine.route import Answer, Ask, Route, Start, goes_on, route, stop_of_last_answer
from palaver.providers.base import Finished, ModelRequest
from palaver.recovery.decision import Compact, Decision, ErrorContext, Wait, decide


async def run_turn(ports: TurnPorts, turn: TurnId, message: MessageId) -> AsyncIterator[Emission]:
    """Run an open turn, or run it on, until it ends or is suspended.

    `message` is the user message that it answers. The last event shown is terminal or
    TurnSuspended.
    """
    run = _Turn(ports, turn)
    ports.inbox.spawn(run.keep_time(), name="turn deadline")
    try:
        if ports.latest().messages[-1].id == message:
            yield [TurnStarted(turn, ports.latest().id, message)]
        while not run.is_over:
            async for emission in run.next_move():
                yield emission
    finally:
        await ports.inbox.aclose()


class _Turn:
    def __init__(self, ports: TurnPorts, turn: TurnId) -> None:
        self._ports, self._turn = ports, turn
        self._conversation = ports.latest().id
        self._integrator = self._new_integrator()
        self._commits = Commits(ports, turn)
        self._deadline = ports.clock.monotonic() + ports.settings.clocks.turn_s
        self.is_over = False

    def _new_integrator(self) -> StreamingToolIntegrator:
        return StreamingToolIntegrator(self._ports, self._conversation, self._turn)

    async def keep_time(self) -> None:
        """Stop the turn when its time is over."""
        await self._ports.clock.sleep(self._ports.settings.clocks.turn_s)
        self._ports.inbox.put(Stop(deadline=True))

    def next_move(self) -> AsyncIterator[Emission]:
        """What the state asks for."""
        state = self._ports.latest()
        if state.pending_calls:
            return self._answer_calls(state)
        stop = stop_of_last_answer(state)
        if stop is not None and not goes_on(state, stop):
            return self._complete(stop)
        return self._ask(state)

    # Asking the model.

    async def _ask(self, state: ConversationState) -> AsyncIterator[Emission]:
        try:
            self._check_steps(state)
        except PalaverError as refusal:
            yield await self._stop(refusal, None)
            return
        async for emission in self._make_room(self._needed(state)):
            yield emission
        if self.is_over:
            return
        adapted = left_out(self._ports.latest(), self._ports.model.name)
        if adapted is not None:
            yield [adapted]
        async for emission in self._attempts():
            yield emission

    async def _attempts(self) -> AsyncIterator[Emission]:
        """Requests until one is answered, or none can be."""
        state = self._ports.latest()
        self._integrator = self._new_integrator()
        request = self._request(state)
        tries, wait_s, has_compacted = 0, 0.0, False
        while not self.is_over:
            if wait_s and (stop := await self._waited(wait_s)) is not None:
                yield await self._stop(stop, None)
                return
            tries += 1
            attempt = Attempt(self._ports, self._integrator, request, self._next_number())
            async for shown in attempt.run():
                yield shown
            match self._judged(state, attempt):
                case Finished() as finished:
                    yield self._answered(attempt, finished)
                    return
                case Stop() as stop:
                    yield await self._stop(stop, attempt)
                    return
                case ProviderError() as failure:
                    decision = self._decision(failure, tries, can_compact=not has_compacted)
                    if not isinstance(decision, Wait | Compact):
                        yield await self._stop(self._explained(failure), attempt)
                        return
                    wait_s = decision.seconds if isinstance(decision, Wait) else 0.0
                    yield self._commits.retrying(attempt, failure, wait_s)
                    if isinstance(decision, Compact):
                        has_compacted = True
                        async for emission in self._make_room(self._overflowed(), failure):
                            yield emission
                        state = self._ports.latest()
                        request = self._request(state)

    # Making room.

    def _needed(self, state: ConversationState) -> Need | None:
        return self._ports.shrinker.due(state, self._measured(state))

    def _overflowed(self) -> Need | None:
        state = self._ports.latest()
        return self._ports.window.after_overflow(self._measured(state))

    def _measured(self, state: ConversationState) -> ContextWindow:
        ports = self._ports
        return ports.window.measure(
            state,
            ports.model.info,
            system=system_prompt(state),
            tools=offered_tools(state, ports.tools),
        )

    async def _make_room(
        self, need: Need | None, failure: ProviderError | None = None
    ) -> AsyncIterator[Emission]:
        """Meet the need, if there is one; the turn is over where the request cannot be made.

        `failure`: the provider refused the request, so only a smaller one may be sent."""
        before = self._ports.latest().compaction
        room = RoomMaker(self._ports)
        if need is not None:
            async for emission in room.make(need):
                yield emission
        state = self._ports.latest()
        refusal: Stop | PalaverError | None = room.stopped
        if refusal is None and failure is not None and state.compaction is before:
            refusal = self._explained(failure)
        if refusal is None:
            refusal = self._ports.window.refusal(state, self._measured(state))
        if refusal is not None:
            yield await self._stop(refusal, None)

    def _explained(self, failure: ProviderError) -> ProviderError:
        """A provider's overflow with what takes the room; others as they are."""
        if isinstance(failure, ContextOverflow):
            state = self._ports.latest()
            failure.hint = self._ports.window.explained(state, self._measured(state))
        return failure

    def _request(self, state: ConversationState) -> ModelRequest:
        ports = self._ports
        return build_request(
            state,
            tool_specs(offered_tools(state, ports.tools)) if ports.model.info.tools else (),
            settings=state.preferences.generation,
            output=ports.output,
            read_blob=ports.read_blob,
        )

    def _next_number(self) -> int:
        """Attempts are numbered through the turn, so that nothing of an old one is mistaken."""
        opened = self._ports.latest().turn
        return 1 if opened is None else opened.attempts + 1

    def _check_steps(self, state: ConversationState) -> None:
        """Raise StepLimitReached when another request makes no sense."""
        limit = self._ports.settings.turn.steps
        if state.turn is not None and state.turn.steps >= limit:
            raise StepLimitReached(f"the model called tools {limit} times in one turn")

    def _judged(
        self, state: ConversationState, attempt: Attempt
    ) -> Finished | ProviderError | Stop:
        outcome = attempt.outcome
        if outcome is None:
            raise RuntimeError("the attempt has not ended")
        if isinstance(outcome, Finished) and not outcome.content and outcome.stop.is_good:
            last = state.last
            if last is None or last.role is not Role.TOOL:
                return ProtocolViolation(
                    "the model answered nothing", request_id=outcome.request_id
                )
        return outcome

    def _decision(self, failure: ProviderError, tries: int, *, can_compact: bool) -> Decision:
        failure.attempts = tries
        context = ErrorContext(
            failure=failure,
            attempt=tries,
            remaining_s=self._deadline - self._ports.clock.monotonic(),
            jitter=self._ports.chance(),
            can_compact=can_compact and self._ports.settings.context.automatic,
        )
        return decide(context, self._ports.settings.retry)

    async def _waited(self, seconds: float) -> Stop | None:
        """Wait; returns early with what stopped the turn meanwhile."""

        async def alarm() -> None:
            await self._ports.clock.sleep(seconds)
            self._ports.inbox.put(Waited())

        self._ports.inbox.spawn(alarm(), name="wait before the next attempt")
        while True:
            match await self._ports.inbox.get():
                case Waited():
                    return None
                case Stop() as stop:
                    return stop
                case _:
                    pass  # what an attempt that is over left behind

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
        facts.extend(self._claims(to_start))
        if facts:
            yield Commit(tuple(facts), tuple(shown))
        if to_start:
            yield self._integrator.start(to_start)
        async for emission in self._run_out():
            yield emission
        if to_ask and not self.is_over:
            held = TurnHeld(self._turn, SuspendReason.APPROVAL, tuple(c.id for c in to_ask))
            self.is_over = True
            yield Commit((held,), (TurnSuspended(SuspendReason.APPROVAL, tuple(to_ask)),))

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
                    yield await self._stop(stop, None)
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

    async def _stop(self, cause: Stop | PalaverError, attempt: Attempt | None) -> Commit:
        """End the turn in the middle: nothing runs on, nothing that has come is lost."""
        self.is_over = True
        await self._ports.inbox.aclose()
        for item in self._ports.inbox.drain():  # what tools delivered before they were cancelled
            if isinstance(item, ToolDone) and item.call_id in self._integrator.running:
                self._integrator.finish(item)
        error = self._error_of(cause)
        shown = frozenset(self._integrator.results)
        results = self._integrator.stopped(STOPPED)
        return self._commits.stopped(error, attempt, results, shown)

    def _error_of(self, cause: Stop | PalaverError) -> PalaverError | None:
        """The error that a cause means; None for a person's cancel."""
        if isinstance(cause, PalaverError):
            return cause
        if not cause.deadline:
            return None
        seconds = self._ports.settings.clocks.turn_s
        return ProviderTimeout(f"the turn took longer than {seconds:g} s", clock="turn")
