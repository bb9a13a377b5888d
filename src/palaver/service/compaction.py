"""Making windows smaller on behalf of turns and people.

What to do is decided in `context`; here it is done: computing in threads, asking models in the
loop, and having summaries ready before they are needed. Whatever comes of it is checked by the
reducer's own rule before anybody makes a fact of it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import takewhile

import msgspec
from msgspec.structs import replace

from palaver import log
from palaver.context.analysis import ConversationAnalysis
from palaver.context.analyzer import ConversationAnalyzer
from palaver.context.cache_rule import CacheEffect, CachePrices, cache_effect
from palaver.context.compaction_result import CompactionResult, Plan
from palaver.context.compactor import ConversationCompactor
from palaver.context.draft import CountMessage, Task
from palaver.context.need import Need
from palaver.context.proposal import proposed, refusal, still_fits
from palaver.context.strategy import Strategies, Strategy
from palaver.context.window import ContextWindow, ContextWindowManager
from palaver.domain.clock import Clock
from palaver.domain.compaction import Compaction, check
from palaver.domain.errors import ConfigurationError, InvalidTransition, PalaverError
from palaver.domain.ids import CompactionId, ConversationId, MessageId
from palaver.domain.state import ConversationState
from palaver.domain.values import Usage
from palaver.engine.assemble import offered_tools, system_prompt
from palaver.engine.ports import Shrunk
from palaver.providers import catalogue
from palaver.providers.base import Model, ModelInfo
from palaver.recovery.manager import ErrorRecoveryManager
from palaver.service.summarising import ModelSummariser
from palaver.settings import Settings
from palaver.system import new_id
from palaver.tools.manager import ToolManager

ANALYSES = 64
"""Conversations whose analysis is kept, so that the next one costs what is new."""


class Wish(msgspec.Struct, frozen=True):
    """How a compaction is to be made."""

    strategy: str = ""
    instructions: str = ""
    by_model: bool = True
    """A model may write a summary, where there is one."""


class Compactions:
    """Plans compactions for every conversation of one scope. Changes nothing."""

    def __init__(
        self,
        *,
        window: ContextWindowManager,
        model: Callable[[str], Model],
        tools: ToolManager,
        settings: Settings,
        clock: Clock,
        chance: Callable[[], float],
        price: Callable[[str, Usage], float | None],
        recovery: ErrorRecoveryManager,
        strategies: Sequence[Strategy] = (),
    ) -> None:
        self._window, self._model, self._tools = window, model, tools
        self._settings, self._clock, self._chance = settings, clock, chance
        self._price, self._recovery = price, recovery
        self.compactor = ConversationCompactor(settings.context, strategies=Strategies(strategies))
        self._analysers: OrderedDict[ConversationId, _Analyser] = OrderedDict()

    def measured(self, state: ConversationState) -> ContextWindow:
        """How full the window of the conversation's model is."""
        return self._window.measure(
            state,
            self._info(state),
            system=system_prompt(state),
            tools=offered_tools(state, self._tools),
        )

    def compacts_at(self, measured: ContextWindow) -> int | None:
        """Tokens at which the window is made smaller by itself."""
        settings = self._settings.context
        if not settings.automatic:
            return None
        mark = round(settings.trigger * (measured.budget or 0))
        return max(mark, min(settings.minimum, measured.window or settings.minimum))

    def when_asked(self, state: ConversationState) -> Need:
        """What a compaction that a person asks for has to reach."""
        return self._window.when_asked(self.measured(state))

    def forget(self, conversation: ConversationId) -> None:
        """Nobody uses it for now: nothing of it is kept in memory."""
        self._analysers.pop(conversation, None)

    def cache_effect(
        self, state: ConversationState, compaction: Compaction, cost_usd: float | None
    ) -> CacheEffect:
        """What a compaction of `state` does to the bill."""
        measured, count = self.measured(state), self.counter(state)
        after = state.with_compaction(compaction).window
        same = takewhile(lambda pair: pair[0] is pair[1], zip(state.window, after, strict=False))
        fixed = measured.filled.fixed
        return cache_effect(
            before=fixed + compaction.tokens_before,
            after=fixed + compaction.tokens_after,
            kept=fixed + sum(count(message) for message, _ in same),
            expected_requests=self._settings.context.expected_requests,
            prices=self._prices(self._info(state).name),
            usd_spent=cost_usd or 0.0,
        )

    def _info(self, state: ConversationState) -> ModelInfo:
        """Of the conversation's model, which may be one that cannot be used here: without a key
        its window is known all the same."""
        try:
            return self._model(state.preferences.model).info
        except ConfigurationError:
            return catalogue.info(state.preferences.model)

    def _prices(self, model: str) -> CachePrices | None:
        million = 1_000_000
        plain = self._price(model, Usage(input=million))
        if plain is None:
            return None
        read = self._price(model, Usage(cache_read=million))
        write = self._price(model, Usage(cache_creation=million))
        return CachePrices(
            plain / million,
            None if read is None else read / million,
            None if write is None else write / million,
        )

    def counter(self, state: ConversationState) -> CountMessage:
        """Tokens of a message as the conversation's model counts."""
        return self._window.counter(self._info(state).name)

    async def analysed(self, state: ConversationState) -> ConversationAnalysis:
        """What is known of the conversation beside its words; costs what is new in it."""
        return await self._analyser(state.id).analysed(state)

    async def planned(self, state: ConversationState, need: Need, wish: Wish) -> Shrunk:
        """A compaction of `state` that meets `need`, as far as that goes.

        Raises ConfigurationError for an unknown strategy; all else that goes wrong is a reason.
        """
        analysis = await self.analysed(state)
        summariser = self._summariser(state) if wish.by_model else None
        result = await self.compactor.run(
            self._task(state, need, wish),
            summariser=summariser,
            limits=None if summariser is None else summariser.limits,
            analysis=analysis,
            strategy=wish.strategy,
            limit=need.limit,
        )
        shrunk = await asyncio.to_thread(self._accepted, state, result, need, wish)
        return shrunk if summariser is None else replace(shrunk, paid=tuple(summariser.made))

    async def outlook(self, state: ConversationState) -> Plan:
        """What the next compaction would do, known without asking a model."""
        analysis = await self.analysed(state)
        task = self._task(state, self.when_asked(state), Wish())
        return await asyncio.to_thread(self.compactor.plan, task, analysis=analysis)

    def _task(self, state: ConversationState, need: Need, wish: Wish) -> Task:
        return Task(
            messages=state.messages,
            target=need.target,
            count=self.counter(state),
            pins=frozenset(state.pins),
            previous=state.compaction,
            instructions=wish.instructions,
        )

    def _accepted(
        self, state: ConversationState, result: CompactionResult, need: Need, wish: Wish
    ) -> Shrunk:
        if result.rounds and not result.model:  # why is not logged: it names what was said
            log.get("context").warning("summary_not_used", requests=len(result.rounds))
        if result.refusal is not None:
            return Shrunk(None, f"{result.refusal.message}. {result.refusal.hint}")
        why = refusal(result.draft, need, self._settings.context.min_gain)
        if why:
            return Shrunk(None, why)
        compaction = proposed(
            CompactionId(new_id("cmp")),
            state.messages,
            replace(result.draft, strategy=result.strategy),
            reason=need.reason,
            instructions=wish.instructions,
            model=result.model,
            usage=result.usage,
        )
        try:
            check(state.messages, compaction)
        except InvalidTransition as error:
            log.get("context").error("compaction_invalid", because=error.message)
            return Shrunk(None, error.message)
        return Shrunk(compaction)

    def _summariser(self, state: ConversationState) -> ModelSummariser | None:
        settings = self._settings.context
        if settings.summaries == "off":
            return None
        try:
            model = self._model(settings.summary_model or state.preferences.model)
        except PalaverError as error:  # no key for it: a summary is not worth an error
            log.get("context").warning("no_summary_model", code=error.code)
            return None
        if model.name == "offline":
            return None
        return ModelSummariser(
            model, recovery=self._recovery, clock=self._clock, chance=self._chance
        )

    def _analyser(self, conversation: ConversationId) -> "_Analyser":
        found = self._analysers.setdefault(conversation, _Analyser())
        self._analysers.move_to_end(conversation)
        if len(self._analysers) > ANALYSES:
            self._analysers.popitem(last=False)
        return found


class Basis(msgspec.Struct, frozen=True):
    """What a compaction was made of, beside the messages that it covers."""

    previous: CompactionId | None
    pins: tuple[MessageId, ...]

    @classmethod
    def of(cls, state: ConversationState) -> "Basis":
        """The basis that `state` gives."""
        previous = None if state.compaction is None else state.compaction.id
        return cls(previous, state.pins)

    def holds(self, state: ConversationState, compaction: Compaction) -> bool:
        """Whether a compaction of this basis may be used for `state`, which has gone on since."""
        return self == Basis.of(state) and still_fits(state, compaction)


class _Analyser:
    """The analyser of one conversation, which one thread at a time may use."""

    def __init__(self) -> None:
        self._analyser = ConversationAnalyzer()
        self._turn = asyncio.Lock()

    async def analysed(self, state: ConversationState) -> ConversationAnalysis:
        async with self._turn:
            return await asyncio.to_thread(self._analyser.analyse, state.messages, pins=state.pins)
