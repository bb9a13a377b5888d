"""A model as the writer of summaries: its failures are values, and every request is counted."""

import asyncio
from collections.abc import Callable

from palaver.context.summary import Limits, SummaryAnswer, SummaryRequest
from palaver.context.tokens import text_tokens
from palaver.domain.clock import Clock
from palaver.domain.errors import (
    CircuitBreakerOpenError,
    PalaverError,
    ProviderError,
    ProviderTimeout,
    StreamTruncated,
)
from palaver.domain.events import SideRequestMade
from palaver.domain.messages import Message, Reasoning, Text
from palaver.domain.values import GenerationSettings, Usage
from palaver.engine.chain import endpoint
from palaver.providers.base import Finished, Model, ModelRequest
from palaver.recovery.decision import ErrorContext, Wait
from palaver.recovery.manager import Call, ErrorRecoveryManager

PATIENCE_S = 120.0
"""For all tries of one request: a summary that comes too late is of no use."""


class ModelSummariser:
    """A `Summariser` over a model. `made` holds a fact for each request that was answered."""

    def __init__(
        self,
        model: Model,
        *,
        recovery: ErrorRecoveryManager,
        clock: Clock,
        chance: Callable[[], float],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._model, self._recovery = model, recovery
        self._clock, self._chance = clock, chance
        self._patience_s = patience_s
        self.made: list[SideRequestMade] = []

    @property
    def limits(self) -> Limits:
        """Of the model that writes."""
        return Limits(self._model.info.window, self._model.info.max_output)

    async def __call__(self, request: SummaryRequest) -> SummaryAnswer:
        """The answer, good or bad; errors are in it. It comes in time, whatever the model does: a
        writer that hangs must not keep others from being asked."""
        began = self._clock.monotonic()
        try:
            call = await self._recovery.admit_aside(endpoint(self._model))
        except CircuitBreakerOpenError as refusal:  # nothing is asked, and nothing costs anything
            return SummaryAnswer(model=self._model.name, error=refusal.info())
        try:
            async with asyncio.timeout(self._patience_s):
                return await self._answer(request, began, call)
        except TimeoutError:
            late = f"the summary took longer than {self._patience_s:g} s"
            return self._failed(ProviderTimeout(late, clock="turn"), began)
        finally:
            call.release()
            await self._recovery.tell()

    async def _answer(self, request: SummaryRequest, began: float, call: Call) -> SummaryAnswer:
        tries = 0
        while True:
            tries += 1
            try:
                finished = await self._once(request)
            except ProviderError as failure:
                call.failed(failure)
                context = ErrorContext(
                    failure=failure,
                    attempt=tries,
                    remaining_s=self._patience_s - (self._clock.monotonic() - began),
                    jitter=self._chance(),
                    has_budget=call.may_repeat,
                )
                decision = self._recovery.recover(context).decision
                if not isinstance(decision, Wait):
                    call.gave_up(failure)
                    return self._failed(failure, began)
                await self._clock.sleep(decision.seconds)
            except PalaverError as error:  # the model cannot be used as things stand
                return self._failed(error, began)
            else:
                call.succeeded()
                return self._answered(request, finished, began)

    async def _once(self, request: SummaryRequest) -> Finished:
        asked = ModelRequest(
            messages=(Message.user(request.prompt),),
            system=request.system,
            settings=GenerationSettings(max_tokens=request.max_tokens),
        )
        stream = self._model.stream(asked)
        try:
            async for batch in stream:
                for event in batch:
                    if isinstance(event, Finished):
                        return event
        finally:
            await stream.aclose()
        raise StreamTruncated("the summary had no end")

    def _answered(self, request: SummaryRequest, finished: Finished, began: float) -> SummaryAnswer:
        text = "".join(block.text for block in finished.content if isinstance(block, Text))
        usage = finished.usage or Usage(
            input=text_tokens(request.system) + text_tokens(request.prompt),
            output=text_tokens(text),
            estimated=True,
        )
        seconds = self._clock.monotonic() - began
        made = SideRequestMade("summary", self._model.name, usage, duration_s=seconds)
        self.made.append(made)
        return SummaryAnswer(
            text=text,
            stop=finished.stop,
            usage=usage,
            model=self._model.name,
            has_reasoned=any(isinstance(block, Reasoning) for block in finished.content),
        )

    def _failed(self, error: PalaverError, began: float) -> SummaryAnswer:
        seconds = self._clock.monotonic() - began
        self.made.append(
            SideRequestMade(
                "summary",
                self._model.name,
                Usage(),
                error=error.info(),
                is_used=False,
                duration_s=seconds,
            )
        )
        return SummaryAnswer(model=self._model.name, error=error.info())
