"""What a conversation's handle can do about its window: look, preview, make it smaller, undo.

A preview has done the work already, a model's summary included, so that applying it later waits and
pays for nothing twice.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from palaver.context.cache_rule import CacheEffect
from palaver.context.compaction_result import Plan
from palaver.context.expanding import expanded, originals
from palaver.context.window import ContextWindow
from palaver.domain.compaction import Compaction, CriticalFact, LossRecord
from palaver.domain.errors import ActionBlocked, InvalidInput
from palaver.domain.events import SideRequestMade
from palaver.domain.ids import CompactionId
from palaver.domain.messages import Message
from palaver.domain.state import ConversationState
from palaver.domain.values import Usage
from palaver.service.actions import CompactContext, RecordSideRequests, UndoCompaction
from palaver.service.compaction import Basis, Wish
from palaver.service.state import StateManager
from palaver.system import new_id

if TYPE_CHECKING:
    from palaver.service.turns import TurnRunner


class CompactionReport(msgspec.Struct, frozen=True):
    """What a compaction did, or, as a preview, would do. Tokens are of the messages."""

    compaction: Compaction
    basis: Basis
    """What it was made of; where that has changed, it cannot be applied."""
    goes: tuple[Message, ...]
    """Messages that the window no longer holds as they were; the log does."""
    stays: tuple[Message, ...]
    """The window afterwards, what was written included."""
    cache: CacheEffect
    """What it does to the bill: once, and with each later request."""
    cost_usd: float | None = 0.0
    """What writing the summary cost, tries that failed included; None where prices are unknown."""

    @property
    def tokens_before(self) -> int:
        """In the window before."""
        return self.compaction.tokens_before

    @property
    def tokens_after(self) -> int:
        """In the window afterwards."""
        return self.compaction.tokens_after

    @property
    def facts(self) -> tuple[CriticalFact, ...]:
        """What must not be lost, and whether each survives in the window."""
        return self.compaction.facts

    @property
    def summary(self) -> Message | None:
        """The message that stands for most, where one was written."""
        return self.compaction.summary

    @property
    def loss(self) -> LossRecord:
        """What is now only in the archive."""
        return self.compaction.loss


class Stretch(msgspec.Struct, frozen=True):
    """A topic: messages at the positions `start` up to, not including, `stop`."""

    start: int
    stop: int
    label: str


class Outlook(msgspec.Struct, frozen=True):
    """What a compaction would do if it were asked for now. A model that writes may do better."""

    strategy: str
    because: str
    tokens_before: int
    tokens_after: int
    messages: int
    """That would leave the window."""
    tiers: tuple[str, ...]


class ContextReport(msgspec.Struct, frozen=True):
    """What fills a conversation's window."""

    window: ContextWindow
    compacts_at: int | None
    """Tokens at which it is made smaller by itself; None where that is switched off."""
    usage: Usage
    """Reported by providers over the whole conversation: input, output, read from the cache,
    written to it."""
    compaction: Compaction | None
    """What made the window as it is."""
    topics: tuple[Stretch, ...]
    outlook: Outlook | None
    """None where nothing would become smaller."""


class Compacting:
    """The part of a conversation's handle that is about its window."""

    _states: StateManager
    _runner: "TurnRunner"

    async def compact(
        self,
        *,
        strategy: str = "",
        instructions: str = "",
        by_model: bool = True,
        preview: CompactionReport | None = None,
    ) -> CompactionReport:
        """Make the window smaller now. No message is lost, and `undo_compaction` takes it back.

        `strategy` names one, empty lets the content choose; `instructions` say what to keep or
        drop, in words; `by_model=False` has no model write anything; `preview` applies what was
        looked at before. Raises InvalidInput when
        nothing would become smaller or the preview is out of date, ConversationBusy while a turn is
        open, ConfigurationError for an unknown strategy.
        """
        asked = await self._states.review(CompactContext(strategy, instructions))
        if not isinstance(asked, CompactContext):
            raise ActionBlocked("a middleware made something else of the compaction")
        if preview is None:
            report, paid = await self._planned(asked, by_model=by_model)
        else:
            report, paid = self._still(preview), ()
        command = msgspec.structs.replace(asked, compaction=report.compaction, paid=paid)
        await self._states.dispatch(command, is_reviewed=True)
        return report

    async def preview_compaction(
        self, *, strategy: str = "", instructions: str = "", by_model: bool = True
    ) -> CompactionReport:
        """What `compact` would do: what goes and what stays, tokens before and after, what it costs
        and saves, and whether each critical fact survives. The window stays as it is.

        A summary that a model wrote for this is paid for and goes to the ledger; `compact` with
        this preview uses it. Raises what `compact` raises.
        """
        asked = CompactContext(strategy, instructions)
        report, paid = await self._planned(asked, by_model=by_model)
        if paid:
            await self._states.dispatch(RecordSideRequests(paid))
        return report

    async def undo_compaction(self) -> Compaction:
        """Take the newest compaction back, and return it. None follows by itself until the window
        would overflow or one is asked for. Raises InvalidInput when there is none."""
        newest = self._states.state.compaction
        await self._states.dispatch(UndoCompaction())
        if newest is None:
            raise InvalidInput("the window holds all messages: there is nothing to undo")
        return newest

    def originals(self, handle: str) -> Sequence[Message]:
        """The messages that a handle names (`m12`, `m3-m9`), as they were said, whatever the window
        holds of them. Raises NotFound."""
        return originals(self._states.state.messages, handle)

    async def expand(self, handle: str) -> Compaction:
        """Put the originals of a handle back into the window, calls with their results.

        Raises NotFound, and InvalidInput when the window holds them as they are.
        """
        state = self._states.state
        count = self._runner.compactions.counter(state)
        compaction = expanded(state, handle, CompactionId(new_id("cmp")), count)
        await self._states.dispatch(CompactContext(compaction=compaction))
        return compaction

    def context_window(self) -> ContextWindow:
        """How full the window is, by category, and how much may go into it. Costs what is new."""
        return self._runner.compactions.measured(self._states.state)

    async def context(self) -> ContextReport:
        """What fills the window, what it is about, and what the next compaction would do."""
        state, compactions = self._states.state, self._runner.compactions
        analysis = await compactions.analysed(state)
        plan = await compactions.outlook(state)
        measured = compactions.measured(state)
        return ContextReport(
            window=measured,
            compacts_at=compactions.compacts_at(measured),
            usage=state.usage,
            compaction=state.compaction,
            topics=tuple(Stretch(t.start, t.stop, t.label) for t in analysis.topics),
            outlook=_outlook(plan),
        )

    async def _planned(
        self, asked: CompactContext, *, by_model: bool
    ) -> tuple[CompactionReport, tuple[SideRequestMade, ...]]:
        state, compactions = self._states.state, self._runner.compactions
        wish = Wish(asked.strategy, asked.instructions, by_model=by_model)
        shrunk = await compactions.planned(state, compactions.when_asked(state), wish)
        if shrunk.compaction is None:
            if shrunk.paid:
                await self._states.dispatch(RecordSideRequests(shrunk.paid))
            raise InvalidInput(f"nothing was made smaller: {shrunk.reason}")
        cost = self._runner.cost_of(shrunk.paid)
        goes, stays = _going(state, shrunk.compaction)
        cache = compactions.cache_effect(state, shrunk.compaction, cost)
        report = CompactionReport(shrunk.compaction, Basis.of(state), goes, stays, cache, cost)
        return report, shrunk.paid

    def _still(self, preview: CompactionReport) -> CompactionReport:
        now = self._states.state
        if not preview.basis.holds(now, preview.compaction):
            raise InvalidInput(
                "the conversation is no longer what the preview was made of",
                hint="Look at a new preview.",
            )
        return preview


def _outlook(plan: Plan) -> Outlook | None:
    after, draft = plan.tokens_after, plan.draft
    if draft is None or after is None or after >= draft.tokens_before:
        return None
    name, because = plan.choice.strategy.name, plan.choice.because
    tiers = tuple(tier.value for tier in draft.tiers)
    gone = draft.loss.messages
    return Outlook(name, because, draft.tokens_before, after, gone, tiers)


def _going(
    state: ConversationState, compaction: Compaction
) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """What the window holds now and not afterwards, and what it holds afterwards."""
    after = tuple(state.with_compaction(compaction).window)
    kept = {id(message) for message in after}
    return tuple(m for m in state.window if id(m) not in kept), after
