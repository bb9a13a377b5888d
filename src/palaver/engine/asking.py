"""Asking for one message until it has been answered, or until nothing helps.

What follows a failed attempt is decided in `recovery`, purely; this is the one loop that acts:

    Wait          the same again, a little later
    Compact       a smaller window, then again
    SwitchModel   the next model of the chain, with a window and a history that fit it
    Resume        the rest of an answer that broke in the middle (`resume`)
    Degrade       what answers when nobody can be reached: an earlier answer, or no model at all
    GiveUp        the failure is said

A call is let through by the model's circuit breaker before anything is sent, and tells it how it
ended; between the two there may be several attempts.
"""

from collections.abc import AsyncIterator

import msgspec

from palaver.domain.errors import (
    CircuitBreakerOpenError,
    InvalidRequest,
    PalaverError,
    ProviderError,
)
from palaver.domain.ids import TurnId
from palaver.domain.stream import ModelSwitched, StreamEvent
from palaver.engine.attempt import Attempt
from palaver.engine.chain import ModelChain
from palaver.engine.commits import Commits
from palaver.engine.inbox import Stop
from palaver.engine.integrator import StreamingToolIntegrator
from palaver.engine.outcome import (
    Answered,
    Outcome,
    Stopped,
    abandon,
    is_kept,
    is_worth_keeping,
    judged,
)
from palaver.engine.ports import Commit, Emission, StandIn, TurnPorts
from palaver.engine.requests import RequestMaker
from palaver.engine.resume import Rejoining, Standing, can_prefill, can_stand, continuation
from palaver.providers.base import Finished, ModelRequest, ModelStream, ResumableStream
from palaver.recovery import degradation as degraded
from palaver.recovery.classification import is_unreachable
from palaver.recovery.decision import Compact, Degrade, ErrorContext, Resume, SwitchModel, Wait
from palaver.recovery.manager import Call


class Course(msgspec.Struct):
    """What the questions of one turn share."""

    chain: ModelChain
    deadline: float
    """By the clock's `monotonic`."""
    resumes: int = 0
    """Broken answers that were continued so far."""
    unreached: ProviderError | None = None
    """Why no model could be reached. The turn stays with what answers instead."""


class Asking:
    """Iterate `run`; afterwards `outcome` says how it ended."""

    def __init__(
        self,
        ports: TurnPorts,
        commits: Commits,
        turn: TurnId,
        course: Course,
        said: Standing = Standing(),  # noqa: B008 - frozen
    ) -> None:
        """`said`: how the answer began, in a process that did not live to end it."""
        self._ports, self._commits, self._course = ports, commits, course
        self._chain = course.chain
        self._maker = RequestMaker(ports)
        self.integrator = StreamingToolIntegrator(ports, ports.latest().id, turn)
        self._outcome: Outcome | None = None
        self._call: Call | None = None
        self._request: ModelRequest = ModelRequest(())
        self._tries = 0
        self._wait_s = 0.0
        self._has_compacted = False
        self._said = said
        self._broken: Attempt | None = None
        """The attempt whose provider can go on with it."""
        self._may_prefill = True
        self._is_prefilled = False

    @property
    def outcome(self) -> Outcome:
        """How it ended; to be asked when `run` is over."""
        assert self._outcome is not None, "the model is still being asked"
        return self._outcome

    async def run(self) -> AsyncIterator[Emission]:
        """What happens on the way, as it happens."""
        self._chain.new_message()
        try:
            unreached = self._course.unreached
            instead = None if unreached is None else await self._instead()
            if unreached is not None and instead is not None:
                begun = self._answer_with_less(instead, unreached)
            else:
                begun = self._begin(None)
            async for emission in begun:
                yield emission
            while self._outcome is None:
                async for emission in self._try():
                    yield emission
        finally:
            if self._call is not None:
                self._call.release()
            await self._ports.recovery.tell()

    # A model.

    async def _begin(self, failure: ProviderError | None) -> AsyncIterator[Emission]:
        """Find a model that may be asked and takes the conversation, and make its request.

        `failure`: why the one before it does not go on."""
        while self._outcome is None:
            before = self._chain.current
            try:
                self._call = await self._chain.admit()
            except CircuitBreakerOpenError as refusal:
                async for emission in self._left_alone(refusal, failure or refusal):
                    yield emission
                return
            if self._chain.current is not before:
                why = failure or self._chain.refusal
                assert why is not None, "a model is passed over for a reason"
                switched = ModelSwitched(before.name, self._chain.current.name, why.info())
                yield [switched, *self._noted(degraded.Switched(why.info()))]
            async for emission in self._maker.make_room(self._chain.current):
                yield emission
            refused = self._maker.refusal
            if refused is None:
                break
            if isinstance(refused, Stop) or failure is None:
                self._outcome = self._given_up(refused)
                return
            self._call.release()  # its window is too small
            self._chain.give_up()
        async for emission in self._maker.show_left_out(self._chain.current):
            yield emission
        self._request = self._maker.request(self._chain.current)
        self._tries = 0

    # An attempt.

    async def _try(self) -> AsyncIterator[Emission]:
        if self._wait_s:
            stop = await self._ports.inbox.pause(self._wait_s, self._ports.clock)
            if stop is not None:
                self._outcome = self._given_up(stop)
                return
        self._wait_s = 0.0
        self._tries += 1
        attempt = self._attempt()
        async for shown in attempt.run():
            yield shown
        last = self._ports.latest().last
        match judged(attempt, last=last, is_prefilled=self._is_prefilled):
            case Finished() as finished:
                self._admitted.succeeded()
                if self._ports.settings.answers.keep and is_worth_keeping(attempt, finished):
                    attempt.answers = self._ports.request_key(self._request)
                if news := self._noted(degraded.Answered(self._chain.is_own, self._has_compacted)):
                    yield news
                self._outcome = Answered(attempt, finished)
            case Stop() as stop:
                abandon(attempt)
                self._outcome = Stopped(stop, attempt)
            case ProviderError() as failure:
                failure.attempts = self._tries
                self._admitted.failed(failure)
                async for emission in self._follow(attempt, failure):
                    yield emission

    def _attempt(self) -> Attempt:
        model, request = self._chain.current, self._request
        rejoining: Rejoining | None = None
        broken, self._broken = self._broken, None
        if broken is not None and isinstance(broken.stream, ResumableStream):
            stream: ModelStream = broken.stream.resumed()
        else:
            if self._said.texts:
                may_prefill = self._may_prefill and can_prefill(model.info, request, self._said)
                self._is_prefilled = may_prefill
                request, joiner = continuation(request, self._said, prefill=may_prefill)
                rejoining = Rejoining(self._said, joiner)
            stream = model.stream(request)
        return Attempt(
            self._ports,
            self.integrator,
            stream,
            number=self._next_number(),
            model=model.name,
            rejoining=rejoining,
            before=broken,
        )

    def _next_number(self) -> int:
        """Attempts are numbered through the turn, so that nothing of an old one is mistaken."""
        opened = self._ports.latest().turn
        return 1 if opened is None else opened.attempts + 1

    # What follows a failure.

    async def _follow(self, attempt: Attempt, failure: ProviderError) -> AsyncIterator[Emission]:
        if not attempt.saw_content and self._has_other_way(attempt, failure):
            yield await self._make_anew(attempt, failure, 0.0)
            return
        decision = self._ports.recovery.recover(self._context(attempt, failure)).decision
        match decision:
            case Wait(seconds=seconds):
                yield self._again(attempt, failure, seconds)
            case Compact():
                self._has_compacted = True
                yield self._commits.retrying(attempt, failure, 0.0)
                async for emission in self._compact(failure):
                    yield emission
            case SwitchModel():
                yield await self._handed_on(attempt, failure)
                self._admitted.gave_up(failure)
                self._chain.give_up(failure)
                async for emission in self._begin(failure):
                    yield emission
            case Resume(seconds=seconds):
                yield await self._resume(attempt, failure, seconds)
            case Degrade() if (instead := await self._instead()) is not None:
                yield self._commits.left(attempt, failure)
                self._admitted.gave_up(failure)
                async for emission in self._answer_with_less(instead, failure):
                    yield emission
            case _:
                abandon(attempt)
                self._admitted.gave_up(failure)
                if news := self._nobody_reached(failure):
                    yield news
                why = self._maker.explained(failure, self._chain.current)
                self._outcome = Stopped(why, attempt)

    def _context(self, attempt: Attempt, failure: ProviderError) -> ErrorContext:
        call, ports = self._admitted, self._ports
        automatic = ports.settings.context.automatic
        can_move = not failure.in_stream or self._can_be_joined(attempt)
        return ErrorContext(
            failure=failure,
            attempt=self._tries,
            remaining_s=self._course.deadline - ports.clock.monotonic(),
            jitter=ports.chance(),
            has_budget=call.may_resume if failure.in_stream else call.may_repeat,
            fallback=self._chain.next() if can_move else "",
            can_compact=automatic and not self._has_compacted,
            can_resume=self._can_resume(attempt),
            resumes=self._course.resumes,
            can_degrade=self._can_degrade,
            are_others_away=self._chain.is_away,
        )

    def _can_resume(self, attempt: Attempt) -> bool:
        """What has been shown can be continued, or nothing of it need stand."""
        return is_kept(attempt) or self._can_be_joined(attempt)

    def _can_be_joined(self, attempt: Attempt) -> bool:
        """The same without the provider's help. A reply in a shape has no second half."""
        is_free = self._ports.output is None or not attempt.standing().texts
        return is_free and can_stand(attempt.partial())

    def _has_other_way(self, attempt: Attempt, failure: ProviderError) -> bool:
        """Whether only this way of continuing is not to be had."""
        if attempt.breaks:
            return self._can_be_joined(attempt)
        if self._is_prefilled and isinstance(failure, InvalidRequest):
            self._may_prefill = False
            return True
        return False

    async def _compact(self, failure: ProviderError) -> AsyncIterator[Emission]:
        async for emission in self._maker.make_smaller(self._chain.current, failure):
            yield emission
        if self._maker.refusal is not None:
            self._outcome = self._given_up(self._maker.refusal)
        elif news := self._noted(degraded.Shrunk(failure.info())):
            yield news
        self._request = self._maker.request(self._chain.current)

    def _again(self, attempt: Attempt, failure: ProviderError, seconds: float) -> Commit:
        """The same once more, or what its provider has made of it meanwhile."""
        kept = is_kept(attempt)
        self._broken, self._wait_s = attempt if kept else None, seconds
        continues = bool(self._said.texts)
        return self._commits.retrying(attempt, failure, seconds, continues=continues, is_kept=kept)

    async def _resume(self, attempt: Attempt, failure: ProviderError, seconds: float) -> Commit:
        self._course.resumes += 1
        if not is_kept(attempt):
            return await self._make_anew(attempt, failure, seconds)
        self._broken, self._wait_s = attempt, seconds
        return self._commits.retrying(attempt, failure, seconds, continues=True, is_kept=True)

    async def _make_anew(self, attempt: Attempt, failure: ProviderError, wait_s: float) -> Commit:
        """Let the text stand and all else go."""
        abandon(attempt)
        self._said, self._wait_s, self._tries = attempt.standing(), wait_s, 0
        await self.integrator.discard()
        return self._commits.retrying(
            attempt,
            failure,
            wait_s,
            continues=bool(self._said.texts),
            resets=attempt.resets(),
        )

    async def _handed_on(self, attempt: Attempt, failure: ProviderError) -> Commit:
        """The attempt is over, and another model goes on: in mid-answer with the rest of it."""
        if failure.in_stream:
            self._course.resumes += 1
            self._may_prefill = True
            return await self._make_anew(attempt, failure, 0.0)
        abandon(attempt)
        return self._commits.left(attempt, failure)

    # With less than a model.

    @property
    def _can_degrade(self) -> bool:
        """Whether something may answer in place of the models. Not what one of them began."""
        return self._ports.stands_in is not None and not self._said.texts

    async def _instead(self) -> StandIn | None:
        ports = self._ports
        if ports.stands_in is None:
            return None
        return await ports.stands_in.answer(self._maker.request(self._chain.current))

    async def _left_alone(
        self, refusal: CircuitBreakerOpenError, failure: ProviderError
    ) -> AsyncIterator[Emission]:
        """Nobody may be asked, as the newest `refusal` says; `failure` is why in the end."""
        decision = self._ports.recovery.recover(
            ErrorContext(
                failure=refusal,
                attempt=1,
                remaining_s=self._course.deadline - self._ports.clock.monotonic(),
                jitter=0.0,
                can_degrade=self._can_degrade,
                are_others_away=self._chain.is_away,
            )
        ).decision
        instead = await self._instead() if isinstance(decision, Degrade) else None
        if instead is not None:
            async for emission in self._answer_with_less(instead, failure):
                yield emission
            return
        if news := self._nobody_reached(failure):
            yield news
        self._outcome = self._given_up(failure)

    async def _answer_with_less(
        self, instead: StandIn, failure: ProviderError
    ) -> AsyncIterator[Emission]:
        """Not a call of any model: no breaker, budget or statistics hear of it."""
        self._course.unreached = failure
        if news := self._noted(degraded.Unreached(failure.info(), instead.level)):
            yield news
        attempt = Attempt(
            self._ports,
            self.integrator,
            instead.stream,
            number=self._next_number(),
            model=instead.name,
        )
        async for shown in attempt.run():
            yield shown
        match attempt.outcome:
            case Finished() as finished:
                self._outcome = Answered(attempt, finished)
            case Stop() as stop:
                self._outcome = Stopped(stop, attempt)
            case _:
                self._outcome = Stopped(failure, attempt)

    def _nobody_reached(self, failure: ProviderError) -> list[StreamEvent]:
        if failure.in_stream or not (is_unreachable(failure) or self._chain.is_away):
            return []
        return self._noted(degraded.Unreached(failure.info()))

    def _noted(self, happening: degraded.Happening) -> list[StreamEvent]:
        return self._ports.degradation.note(happening)

    # Ending.

    def _given_up(self, cause: Stop | PalaverError) -> Stopped:
        """Ended between two attempts."""
        if self._broken is None:
            return Stopped(cause, kept=self._said)
        abandon(self._broken)
        return Stopped(cause, kept=self._broken.standing())

    @property
    def _admitted(self) -> Call:
        assert self._call is not None, "nobody is asked before a call is let through"
        return self._call
