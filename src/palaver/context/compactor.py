"""Makes a window smaller, tier by tier, and says what it did and what it left undone.

    clear     results that are out of date, and old large ones, become stubs
    summary   a model writes what stands for the beginning; code adds what must not be lost
    extract   sentences and names are quoted instead, without a model
    clip      what is too large by itself is cut in its middle

The first tier that reaches the target ends the work, and each is left for a reason that the result
holds. What a model wrote is accepted only if it passed what can be checked (`summary_faults`) and
the window with it is valid history, smaller by a tenth, within the target, and holds every critical
fact. `plan` says what would be done without asking anybody; `run` does it.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from palaver.context import offline
from palaver.context.analysis import ConversationAnalysis
from palaver.context.analyzer import ConversationAnalyzer
from palaver.context.appendix import quoted_tokens
from palaver.context.citations import said_in
from palaver.context.compaction_result import (
    Attempt,
    CompactionResult,
    Plan,
    widest,
    window_messages,
)
from palaver.context.draft import Draft, Task
from palaver.context.extractive_material import Material
from palaver.context.facts import critical_facts, held, lost_names, survivors
from palaver.context.groups import Group, GroupKind
from palaver.context.head import Head, choose_head
from palaver.context.offline_window import window
from palaver.context.strategy import Choice, Matter, Strategies
from palaver.context.stubs import cleared
from palaver.context.summariser import Job, Outcome, summarise
from palaver.context.summary import Limits, Summariser
from palaver.context.summary_faults import Source
from palaver.context.summary_layout import accounted, laid_out
from palaver.context.validate import problems
from palaver.domain.compaction import (
    Compaction,
    Kept,
    Tier,
)
from palaver.domain.errors import ContextWindowExceeded
from palaver.domain.ids import CompactionId
from palaver.domain.messages import Message
from palaver.settings import CompactionSettings

_PREFACE_TOKENS = 30
"""Of a summary's first line, and of the message around it."""
_SUMMARY_SHARE = 0.25
"""Of the target, that a summary may take at most, whatever the settings allow."""
_NAMES_SHARE = 0.5
"""Of the summary's length: what names may take behind it, where there is room."""
_FAR_TOO_LONG = 3
"""Times the length that was asked for: such a text is no summary, even where it fits."""
_STUB_ROOM = 0.35
"""Of old results, that their stubs must have room for: a summary says more than less does."""
_LISTED_NAMES = 50
OFFLINE = "offline"
"""The strategy of a compaction that no model had a part in."""


class ConversationCompactor:
    """Compacts by settings, with the strategies that are at hand."""

    def __init__(
        self,
        settings: CompactionSettings | None = None,
        *,
        strategies: Strategies | None = None,
    ) -> None:
        self.settings = settings or CompactionSettings()
        self.strategies = strategies or Strategies()

    def plan(
        self, task: Task, *, analysis: ConversationAnalysis | None = None, strategy: str = ""
    ) -> Plan:
        """What `run` would do. `analysis`: of the task's messages, where there is one already.

        Raises ConfigurationError for a strategy that nobody knows.
        """
        return _Work(self, task, analysis, strategy).plan()

    async def run(
        self,
        task: Task,
        *,
        summariser: Summariser | None = None,
        limits: Limits | None = None,
        analysis: ConversationAnalysis | None = None,
        strategy: str = "",
        limit: int | None = None,
    ) -> CompactionResult:
        """The window within the target, or, where only that can be had without a model, within
        `limit` tokens. `limits` are those of the model behind `summariser`.

        What takes long is done in a thread. What the model does wrong is in the result, never
        raised. Raises ConfigurationError for a strategy that nobody knows.
        """
        return await _Work(self, task, analysis, strategy).run(summariser, limits, limit)


class _Work:
    """One task. Its steps are computed one after the other, in whatever thread."""

    def __init__(
        self,
        compactor: ConversationCompactor,
        task: Task,
        analysis: ConversationAnalysis | None,
        strategy: str,
    ) -> None:
        self._settings = compactor.settings
        self._strategies = compactor.strategies
        self._task, self._given, self._asked = task, analysis, strategy
        self._attempts: list[Attempt] = []
        self._stubbed: Draft | None = None
        self._chosen: Head | None = None

    def plan(self) -> Plan:
        self._begin()
        if self._fits():
            return Plan(self._unchanged(), self._choice(None))
        cleared = self._cleared()
        if cleared is not None:
            return Plan(cleared, self._choice(None), attempts=tuple(self._attempts))
        head = self._head()
        choice = self._choice(head)
        draft, _ = self._offline(None)
        return Plan(draft, choice, head, tuple(self._attempts))

    async def run(
        self, summariser: Summariser | None, limits: Limits | None, limit: int | None
    ) -> CompactionResult:
        if self._asked and self._asked != "auto":
            self._strategies.named(self._asked)  # a wrong name is said whether it is needed or not
        if summariser is None:
            return await asyncio.to_thread(self._without_model, limit)
        job = await asyncio.to_thread(self._first, limits or Limits())
        if isinstance(job, CompactionResult):
            return job
        outcome = await summarise(job, summariser) if job is not None else None
        return await asyncio.to_thread(self._last, outcome, limit)

    def _without_model(self, limit: int | None) -> CompactionResult:
        self._begin()
        if self._fits():
            return self._result(self._unchanged())
        draft, refusal = self._offline(limit)
        return self._result(draft or self._unchanged(), refusal=refusal)

    def _first(self, limits: Limits) -> CompactionResult | Job | None:
        """What there is before a model is asked: a result, what it is to write, or nothing."""
        self._begin()
        if self._fits():
            return self._result(self._unchanged())
        cleared = self._cleared()
        if cleared is not None:
            return self._result(cleared)
        self._chosen = self._head()
        return None if self._chosen is None else self._job(self._chosen, limits)

    def _last(self, outcome: Outcome | None, limit: int | None) -> CompactionResult:
        """What there is in the end, with what the model wrote or without it."""
        if outcome is not None and self._chosen is not None:
            draft = self._summarised(self._chosen, outcome)
            if draft is not None:
                self._attempts.append(Attempt(Tier.SUMMARY))
                return self._result(draft, outcome)
        draft, refusal = self._offline(limit)
        return self._result(draft or self._unchanged(), outcome, refusal)

    def _begin(self) -> None:
        task, given = self._task, self._given
        self._analysis = given or ConversationAnalyzer().analyse(task.messages, pins=task.pins)
        self._facts = critical_facts(self._analysis, task.messages)
        self._before = window(task)

    def _fits(self) -> bool:
        return self._before.tokens <= self._task.target

    def _cleared(self) -> Draft | None:
        """The window with stubs, where that is enough and the stubs still say something."""
        task, before = self._task, self._before
        material = Material(before.units)
        enough = cleared(task, before, material, room=_STUB_ROOM)
        if enough is not None and enough.tokens_after <= task.target:
            self._attempts.append(Attempt(Tier.CLEAR))
            return self._with_facts(enough)
        self._stubbed = enough or cleared(task, before, material)
        because = "it would gain too little" if self._stubbed is None else "it was not enough"
        self._attempts.append(Attempt(Tier.CLEAR, because))
        return None

    def _head(self) -> Head | None:
        """What a model could summarise to reach the target; None, with the reason noted."""
        task, seen = self._task, self._before
        if self._stubbed is not None:
            previous = _as_compaction(self._stubbed, task.messages)
            seen = window(msgspec.structs.replace(task, previous=previous))
        head = choose_head(
            task,
            seen,
            allowance=self._reserved(),
            quoted=quoted_tokens(self._analysis, task.messages),
            boundaries=[topic.start for topic in self._analysis.topics],
        )
        if head is None:
            because = "there is nothing that it could stand for"
        elif head.tokens_after - self._allowance() > task.target:
            because = "what must stay is too large for it"
        else:
            return head
        self._attempts.append(Attempt(Tier.SUMMARY, because))
        return None

    def _offline(self, limit: int | None) -> tuple[Draft | None, ContextWindowExceeded | None]:
        targets = [self._task.target]
        if limit is not None and limit > self._task.target:
            targets.append(limit)
        refusal: ContextWindowExceeded | None = None
        for target in targets:
            try:
                draft = offline.compact(msgspec.structs.replace(self._task, target=target))
            except ContextWindowExceeded as error:
                refusal = error
                self._attempts.append(Attempt(Tier.EXTRACT, f"{error.message} {error.hint}"))
            else:
                self._attempts += [Attempt(tier) for tier in draft.tiers]
                return self._with_facts(draft), None
        return None, refusal

    def _unchanged(self) -> Draft:
        size = self._before.tokens
        previous, length = self._task.previous, len(self._task.messages)
        return Draft(
            covers=length if previous is None else previous.covers,
            items=(Kept(0, length),) if previous is None else previous.items,
            strategy=OFFLINE,
            tiers=(),
            tokens_before=size,
            tokens_after=size,
            facts=self._facts,
        )

    def _allowance(self) -> int:
        return max(64, min(self._settings.summary_tokens, int(self._task.target * _SUMMARY_SHARE)))

    def _reserved(self) -> int:
        """Tokens that a summary is reckoned with, its names included."""
        return round(self._allowance() * (1 + _NAMES_SHARE)) + _PREFACE_TOKENS

    def _choice(self, head: Head | None) -> Choice:
        parts = self._analysis.tokens
        matter = Matter(
            self._analysis,
            len(self._task.messages),
            parts.total,
            parts.tool_calls + parts.tool_results,
        )
        if head is not None:
            tools = sum(u.tokens for u in head.gone if u.kind is GroupKind.TOOLS)
            matter = Matter(self._analysis, head.stop, head.tokens, tools)
        return self._strategies.choose(matter, self._settings, asked=self._asked)

    def _job(self, head: Head, limits: Limits) -> Job:
        self._strategy = self._choice(head)
        messages = self._task.messages
        matter = Matter(self._analysis, head.stop)
        source = Source(
            [head.previous, *(said_in(messages[at]) for g in head.groups for at in _positions(g))]
        )
        return Job(
            messages=messages,
            groups=head.groups,
            previous=head.previous,
            emphasis=self._strategy.strategy.emphasis(matter),
            instructions=self._task.instructions,
            allowance=min(self._allowance(), self._most(head)),
            most=self._most(head),
            unsupported=self._settings.unsupported,
            limits=limits,
            source=source,
        )

    def _most(self, head: Head) -> int:
        """Tokens that the writer's text may have: what fits, within reason."""
        fits = self._task.target - head.tokens_after + self._reserved() - _PREFACE_TOKENS
        return max(1, min(fits, _FAR_TOO_LONG * self._allowance()))

    def _summarised(self, head: Head, outcome: Outcome) -> Draft | None:
        """The window with what the model wrote; None, with the reason noted, if it is no good."""
        if not outcome.text:
            self._attempts.append(Attempt(Tier.SUMMARY, outcome.because))
            return None
        room = round(self._allowance() * _NAMES_SHARE)
        name = self._strategy.strategy.name
        draft = laid_out(
            head, outcome.text, self._task, self._analysis, strategy=name, names_room=room
        )
        draft = self._with_facts(accounted(draft, self._before))
        wrong = self._unacceptable(draft)
        if wrong:
            self._attempts.append(Attempt(Tier.SUMMARY, wrong))
            return None
        return draft

    def _unacceptable(self, draft: Draft) -> str:
        wrong = problems(self._task, draft, least_gain=self._settings.min_gain)
        if wrong:
            return "; ".join(wrong)
        lost = [fact for fact in draft.facts if not fact.survives]
        return f"it lost {len(lost)} critical facts" if lost else ""

    def _with_facts(self, draft: Draft) -> Draft:
        """`draft` with what it keeps and what it loses."""
        left = held(draft, window_messages(draft, self._task.messages))
        names = lost_names(self._analysis, left)
        loss = msgspec.structs.replace(
            draft.loss, identifiers=names[:_LISTED_NAMES], identifiers_lost=len(names)
        )
        return msgspec.structs.replace(draft, facts=survivors(self._facts, left), loss=loss)

    def _result(
        self,
        draft: Draft,
        outcome: Outcome | None = None,
        refusal: ContextWindowExceeded | None = None,
    ) -> CompactionResult:
        rounds, model = ((), "") if outcome is None else (outcome.rounds, outcome.model)
        is_written = Tier.SUMMARY in draft.tiers
        return CompactionResult(
            draft=draft,
            compacted_messages=window_messages(draft, self._task.messages),
            strategy=draft.strategy,
            because=self._strategy.because if is_written else "",
            attempts=tuple(self._attempts),
            rounds=rounds,
            model=model if is_written else "",
            summary_message=widest(draft),
            refusal=refusal,
        )


def _positions(group: Group) -> range:
    return range(group.start, group.stop)


def _as_compaction(draft: Draft, path: Sequence[Message]) -> Compaction:
    return Compaction(
        id=CompactionId(""),
        covers=draft.covers,
        upto=path[draft.covers - 1].id,
        items=draft.items,
        strategy=draft.strategy,
    )
