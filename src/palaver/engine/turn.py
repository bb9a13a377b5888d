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

from palaver.domain.errors import (
    PalaverError,
    ProtocolViolation,
    ProviderError,
    ProviderTimeout,
    StepLimitReached,
)
from palaver.domain.events import (
    AttemptMade,
    Event,
    MessageAdded,
    ToolClaimed,
    ToolResolved,
    TurnHeld,
)
from palaver.domain.ids import MessageId, TurnId
from palaver.domain.messages import Block, Flag, Message, Role, StopReason, ToolCall, ToolResult
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
    TurnStarted,
    TurnSuspended,
    UsageReported,
)
from palaver.domain.values import Effect, SuspendReason, TurnOutcome, Usage
from palaver.engine.assemble import build_request, system_prompt, tool_specs
from palaver.engine.attempt import Attempt
from palaver.engine.closing import close_turn, storable_partial
from palaver.engine.inbox import Progressed, Stop, ToolDone, Waited
from palaver.engine.integrator import StreamingToolIntegrator
from palaver.engine.ports import Commit, Emission, TurnPorts
from palaver.engine.route import (
    CUT_MESSAGE,
    Answer,
    Ask,
    Route,
    Start,
    goes_on,
    route,
    stop_of_last_answer,
)
from palaver.providers.base import Finished
from palaver.recovery.policy import Wait, decide

STOPPED = "This call did not finish: the turn was stopped."


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
        ports = self._ports
        definitions = ports.tools.specs()
        try:
            self._check_limits(state)
        except PalaverError as refusal:
            yield self._fail(state, refusal)
            return
        self._integrator = self._new_integrator()
        request = build_request(
            state,
            tool_specs(definitions) if ports.model.info.tools else (),
            settings=state.preferences.generation,
            output=ports.output,
            read_blob=ports.read_blob,
        )
        tries = 0
        wait_s: float | None = None
        while True:
            if wait_s is not None and (stop := await self._waited(wait_s)) is not None:
                yield await self._stop(stop, None)
                return
            tries += 1
            attempt = Attempt(ports, self._integrator, request, self._next_number())
            async for shown in attempt.run():
                yield shown
            outcome = self._judged(state, attempt)
            match outcome:
                case Finished():
                    yield self._commit_answer(state, attempt, outcome)
                    return
                case Stop():
                    yield await self._stop(outcome, attempt)
                    return
                case ProviderError():
                    wait_s = self._wait_before_next(outcome, tries)
                    if wait_s is None:
                        yield await self._stop(outcome, attempt)
                        return
                    made = self._attempt_made(attempt, Usage(), error=outcome)
                    yield Commit((made,), (RetryScheduled(attempt.number, wait_s, outcome.info()),))

    def _next_number(self) -> int:
        """Attempts are numbered through the turn, so that nothing of an old one is mistaken."""
        opened = self._ports.latest().turn
        return 1 if opened is None else opened.attempts + 1

    def _check_limits(self, state: ConversationState) -> None:
        """Raise StepLimitReached or ContextWindowExceeded when another request makes no sense."""
        ports = self._ports
        limit = ports.settings.turn.steps
        if state.turn is not None and state.turn.steps >= limit:
            raise StepLimitReached(f"the model called tools {limit} times in one turn")
        ports.window.check(
            state,
            ports.model.info,
            system=system_prompt(state),
            tools=ports.tools.specs(),
        )

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

    def _wait_before_next(self, failure: ProviderError, tries: int) -> float | None:
        """Seconds until the next attempt, or None when there is to be none."""
        failure.attempts = tries
        decision = decide(
            failure,
            attempt=tries,
            remaining_s=self._deadline - self._ports.clock.monotonic(),
            jitter=self._ports.chance(),
            settings=self._ports.settings.retry,
        )
        return decision.seconds if isinstance(decision, Wait) else None

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

    def _commit_answer(
        self, state: ConversationState, attempt: Attempt, finished: Finished
    ) -> Commit:
        usage = attempt.usage or self._estimated(state, finished.content)
        made = self._attempt_made(attempt, usage, finished=finished)
        reported = self._usage_reported(usage)
        if not finished.content:  # nothing to add behind tool results: the model had no more to say
            return self._completed((made,), (reported,), finished.stop)
        flags = (Flag.SANITISED,) if finished.sanitised else ()
        message = self._message(
            state, finished.content, finished.stop, native_id=finished.native_id, flags=flags
        )
        facts: list[Event] = [MessageAdded(message, self._turn), made]
        ready = {c.id for c in message.tool_calls} & self._integrator.results.keys()
        facts.extend(self._resolved(self._integrator.results[call_id]) for call_id in sorted(ready))
        shown = (MessageCompleted(message), reported)
        if not message.tool_calls and finished.stop is not StopReason.PAUSE:
            return self._completed(tuple(facts), shown, finished.stop)
        return Commit(tuple(facts), shown)

    def _message(
        self,
        state: ConversationState,
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
            parent=state.messages[-1].id,
            model=self._ports.model.name,
            stop=stop,
            flags=flags,
            native_id=native_id,
        )

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
        yield self._completed((), (), stop)

    def _completed(
        self,
        facts: tuple[Event, ...],
        shown: tuple[StreamEvent, ...],
        stop: StopReason,
    ) -> Commit:
        self.is_over = True
        state = self._folded(facts)
        total = self._turn_usage(state)
        closing = close_turn(state, self._turn, TurnOutcome.COMPLETED, why=CUT_MESSAGE)
        cost = self._ports.price(self._ports.model.name, total)
        return Commit((*facts, *closing), (*shown, TurnCompleted(self._turn, stop, total, cost)))

    async def _stop(self, cause: Stop | ProviderError, attempt: Attempt | None) -> Commit:
        """End the turn in the middle: keep what has come, give every call a result."""
        await self._ports.inbox.aclose()
        self._collect_results()
        state = self._ports.latest()
        facts: list[Event] = []
        shown: list[StreamEvent] = []
        if attempt is not None:
            content = storable_partial(attempt.stream.partial())
            if content:
                message = self._message(state, content, StopReason.ABORTED, flags=(Flag.PARTIAL,))
                facts.append(MessageAdded(message, self._turn))
                shown.append(MessageCompleted(message))
            usage = (
                attempt.stream.usage() or attempt.usage or self._spent_unreported(state, attempt)
            )
            error = cause if isinstance(cause, ProviderError) else None
            facts.append(self._attempt_made(attempt, usage, error=error))
            shown.append(self._usage_reported(usage))
        state = self._folded(tuple(facts))
        reason = self._error_of(cause)
        results = self._integrator.stopped(state.pending_calls, STOPPED)
        outcome = TurnOutcome.CANCELLED if reason is None else TurnOutcome.FAILED
        info = None if reason is None else reason.info()
        facts.extend(
            close_turn(state, self._turn, outcome, why=STOPPED, error=info, results=results)
        )
        total = self._turn_usage(state)
        self.is_over = True
        if info is None:
            return Commit(tuple(facts), (*shown, TurnCancelled(self._turn, total)))
        return Commit(tuple(facts), (*shown, TurnFailed(self._turn, info, total)), reason)

    def _error_of(self, cause: Stop | ProviderError) -> PalaverError | None:
        """The error that a cause means; None for a person's cancel."""
        if isinstance(cause, ProviderError):
            return cause
        if not cause.deadline:
            return None
        seconds = self._ports.settings.clocks.turn_s
        return ProviderTimeout(f"the turn took longer than {seconds:g} s", clock="turn")

    def _fail(self, state: ConversationState, error: PalaverError) -> Commit:
        """End the turn with an error of our own, before anything was sent."""
        self.is_over = True
        info = error.info()
        facts = close_turn(state, self._turn, TurnOutcome.FAILED, why=STOPPED, error=info)
        failed = TurnFailed(self._turn, info, self._turn_usage(state))
        return Commit(facts, (failed,), error)

    def _collect_results(self) -> None:
        """Take what tools delivered before they were cancelled."""
        inbox = self._ports.inbox
        for item in inbox.drain():
            if isinstance(item, ToolDone) and item.call_id in self._integrator.running:
                self._integrator.finish(item)

    # Accounting.

    def _folded(self, facts: tuple[Event, ...]) -> ConversationState:
        state = self._ports.latest()
        for fact in facts:
            state = apply(state, fact)
        return state

    def _turn_usage(self, state: ConversationState) -> Usage:
        return state.turn.usage if state.turn is not None else Usage()

    def _attempt_made(
        self,
        attempt: Attempt,
        usage: Usage,
        *,
        finished: Finished | None = None,
        error: ProviderError | None = None,
    ) -> AttemptMade:
        return AttemptMade(
            self._turn,
            attempt.number,
            self._ports.model.name,
            usage,
            stop=None if finished is None else finished.stop,
            error=None if error is None else error.info(),
            request_id=attempt.stream.request_id,
            first_token_s=attempt.first_token_s,
            duration_s=attempt.duration_s,
        )

    def _usage_reported(self, usage: Usage) -> UsageReported:
        model = self._ports.model.name
        return UsageReported(usage, model, self._ports.price(model, usage))

    def _estimated(self, state: ConversationState, content: tuple[Block, ...]) -> Usage:
        return self._ports.window.estimated_usage(state, content)

    def _spent_unreported(self, state: ConversationState, attempt: Attempt) -> Usage:
        if not attempt.saw_content:
            return Usage()
        return self._estimated(state, attempt.stream.partial())
