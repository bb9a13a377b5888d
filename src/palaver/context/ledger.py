"""The running count of a conversation's tokens: each message is estimated once.

A provider's report fixes the count of everything up to the message that it was reported with
(`state.anchor`); only what came later is estimated. What the reports say about our estimates
becomes a factor for each model.

What is counted is the window. That it still begins with what was counted is seen by identity: all
states of a conversation share their messages. An undo, another branch or a compaction does not
begin with it, and is counted anew.
"""

from array import array
from collections.abc import Callable, Sequence

import msgspec

from palaver.context.tokens import (
    OfferedTool,
    Parts,
    message_tokens,
    schema_tokens,
    text_tokens,
)
from palaver.domain.compaction import Compaction, Written
from palaver.domain.history import History
from palaver.domain.messages import Message
from palaver.domain.state import Anchor, ConversationState

_LEARNING = 0.3
_FACTORS = (0.5, 2.0)
_PRIORS = {"anthropic": 1.1}
"""By provider, until its reports have taught something. Over 174 stretches of a long session with
claude-sonnet-4-5 its counts were 1.07 times our estimates in all, 1.11 times in the median."""
_LEARN_FROM = 200
"""Tokens. Below, overheads that nobody documents drown what could be learned."""


class Reading(msgspec.Struct, frozen=True):
    """Tokens of a conversation as the next request would hold them.

    `by_category` sums to `tokens`. `estimated` is False only when a provider counted all of it.
    """

    tokens: int
    estimated: bool
    by_category: Parts


class Calibration:
    """For each model the factor from our estimates to its counts, smoothed. Reports beyond 0.5 to 2
    teach nothing."""

    def __init__(self) -> None:
        self._factors: dict[str, float] = {}

    def factor(self, model: str) -> float:
        """What is known of the provider, until something was learned."""
        known = self._factors.get(model)
        return _PRIORS.get(model.partition(":")[0], 1.0) if known is None else known

    def learn(self, model: str, *, estimated: int, reported: int) -> None:
        """Move the factor towards what this report says; small reports teach nothing."""
        if estimated < _LEARN_FROM or reported < _LEARN_FROM:
            return
        low, high = _FACTORS
        seen = reported / estimated
        if not low <= seen <= high:
            return  # something is in this count that we do not see
        before = self._factors.get(model)
        self._factors[model] = seen if before is None else before + _LEARNING * (seen - before)


Estimate = Callable[[Message], Parts]


class TokenLedger:
    """The count of one conversation for one model; `observe` costs O(what is new)."""

    def __init__(
        self,
        model: str = "",
        *,
        calibration: Calibration | None = None,
        estimate: Estimate | None = None,
    ) -> None:
        self.model = model
        self._calibration = calibration or Calibration()
        self._estimate = estimate or (lambda message: message_tokens(message, model=model))
        self._fixed = _Fixed()
        self._anchor: Anchor | None = None
        self._forget()

    def _forget(self) -> None:
        self._sums = array("q")
        """At position i the estimate of messages 0 to i."""
        self._seen: History[Message] = History()
        self._messages = Parts()
        self._last_parts = Parts()
        self._compaction: Compaction | None = None
        self._written: frozenset[int] = frozenset()
        """Which objects a compaction wrote; `_compaction` keeps them alive."""

    def observe(
        self, state: ConversationState, *, system: str = "", tools: Sequence[OfferedTool] = ()
    ) -> Reading:
        """The reading for `state`, whichever state was observed before."""
        self._catch_up(state)
        self._fixed.set(system, tools)
        anchor = state.anchor if _holds(state) else None
        self._learn(state, anchor)
        return self._reading(anchor)

    def _catch_up(self, state: ConversationState) -> None:
        window = state.window
        if window is self._seen:
            return
        if state.compaction is not self._compaction:
            self._forget()
            self._know(state.compaction)
        seen = self._seen
        if not window.starts_with(seen):
            # The last known message may have grown: tool results arrive one by one.
            before = seen.first(len(seen) - 1)
            if len(window) >= len(seen) and window.starts_with(before):
                self._sums.pop()
                self._messages -= self._last_parts
                seen = before
            else:
                self._forget()
                self._know(state.compaction)
                seen = self._seen
        for message in window.since(len(seen)):
            parts = self._estimate(message)
            self._last_parts = _as_summary(parts) if id(message) in self._written else parts
            self._messages += self._last_parts
            self._sums.append((self._sums[-1] if self._sums else 0) + self._last_parts.total)
        self._seen = window

    def _know(self, compaction: Compaction | None) -> None:
        self._compaction = compaction
        items = () if compaction is None else compaction.items
        self._written = frozenset(id(i.message) for i in items if isinstance(i, Written))

    def _learn(self, state: ConversationState, anchor: Anchor | None) -> None:
        if anchor is None or anchor == self._anchor:
            return
        before, self._anchor = self._anchor, anchor
        if state.window[anchor.messages - 1].model != self.model:
            return  # another model counted
        estimated, reported = self._until(anchor.messages), anchor.tokens
        if before is not None and before.messages < anchor.messages:
            # Of what came between two reports nothing is unknown, as overheads of the first are.
            estimated -= self._until(before.messages)
            reported -= before.tokens
        self._calibration.learn(self.model, estimated=estimated, reported=reported)

    def _until(self, messages: int) -> int:
        return self._fixed.parts.total + (self._sums[messages - 1] if messages else 0)

    def _reading(self, anchor: Anchor | None) -> Reading:
        parts = self._messages + self._fixed.parts
        factor = self._calibration.factor(self.model)
        if anchor is None:
            tokens = round(parts.total * factor)
            return Reading(tokens, bool(tokens), _scaled(parts, tokens))
        later = parts.total - self._until(anchor.messages)
        tokens = anchor.tokens + round(later * factor)
        return Reading(tokens, later > 0, _scaled(parts, tokens))


class _Fixed:
    """System prompt and tool schemas, which are estimated again only when they change."""

    def __init__(self) -> None:
        self.parts = Parts()
        self._system = ""
        self._tools: tuple[OfferedTool, ...] = ()

    def set(self, system: str, tools: Sequence[OfferedTool]) -> None:
        if system != self._system:
            self._system = system
            self.parts = msgspec.structs.replace(self.parts, system=text_tokens(system))
        if not self._are(tools):
            self._tools = tuple(tools)
            schemas = sum(map(schema_tokens, tools))
            self.parts = msgspec.structs.replace(self.parts, tool_schemas=schemas)

    def _are(self, tools: Sequence[OfferedTool]) -> bool:
        # By identity: definitions are frozen and live as long as their tools.
        return len(tools) == len(self._tools) and all(
            a is b for a, b in zip(tools, self._tools, strict=True)
        )


def _as_summary(parts: Parts) -> Parts:
    """Tokens of a message that a compaction wrote; a stub of a result stays a result."""
    return Parts(
        summaries=parts.user + parts.assistant + parts.reasoning,
        tool_calls=parts.tool_calls,
        tool_results=parts.tool_results,
    )


def _holds(state: ConversationState) -> bool:
    return state.anchor is not None and 0 < state.anchor.messages <= len(state.window)


def _scaled(parts: Parts, tokens: int) -> Parts:
    """`parts` in proportion, with the sum `tokens`; what rounding leaves goes to the largest."""
    total = parts.total
    if not total:
        return Parts()
    shares = [part * tokens // total for part in msgspec.structs.astuple(parts)]
    shares[shares.index(max(shares))] += tokens - sum(shares)
    return Parts(*shares)
