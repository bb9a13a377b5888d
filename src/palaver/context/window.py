"""Whether the next request fits the model, and when its window is to be made smaller.

All of it is decided before anything is sent. Nothing here acts: a turn, or a person's command,
makes a fact of what is proposed.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol, TypeAlias

import msgspec

from palaver.context.compaction_result import Plan
from palaver.context.compactor import ConversationCompactor
from palaver.context.draft import CountMessage, Task
from palaver.context.ledger import Calibration, Reading, TokenLedger
from palaver.context.need import Filled, Need, asked, budget, is_worth_preparing, needed, overflowed
from palaver.context.proposal import proposed, refusal
from palaver.context.tokens import OfferedTool, Parts, block_tokens, message_tokens
from palaver.domain.compaction import Compaction
from palaver.domain.errors import ContextWindowExceeded, InvalidInput
from palaver.domain.events import Compacted, CompactionUndone
from palaver.domain.ids import CompactionId, ConversationId
from palaver.domain.messages import Block, Message, Role
from palaver.domain.reducer import apply
from palaver.domain.state import ConversationState
from palaver.domain.values import Usage
from palaver.settings import CompactionSettings

DEFAULT_RESERVE = 4_096
"""Output tokens kept free when nobody said how long an answer may be."""
_NO_ID = CompactionId("")
_LEDGERS = 64
"""Conversations remembered; an older one is counted anew when it is asked for again."""


class ModelBounds(Protocol):
    """What is asked of a model; `ModelInfo` has it."""

    @property
    def name(self) -> str:
        """`provider:model`."""
        ...

    @property
    def window(self) -> int | None:
        """Input and output tokens together; None where unknown."""
        ...

    @property
    def max_output(self) -> int | None:
        """Tokens of an answer at most; None where unknown."""
        ...


class ContextWindow(msgspec.Struct, frozen=True):
    """A reading: how much of a model's window the next request would take. Numbers are tokens."""

    model: str
    used: int
    window: int | None
    """None where the model's window is not known."""
    reserve: int
    """Kept free for the answer."""
    estimated: bool
    by_category: Parts
    budget: int | None = None
    """What the conversation may take of the window, by the settings."""

    @property
    def filled(self) -> Filled:
        """The numbers that decide about a compaction."""
        fixed = self.by_category.system + self.by_category.tool_schemas
        return Filled(self.used, fixed, self.reserve, self.window)

    @property
    def share(self) -> float | None:
        """`used` of `window`, 0 to 1 and beyond; None where the window is not known."""
        return None if not self.window else self.used / self.window

    @property
    def share_of_budget(self) -> float | None:
        """`used` of `budget`, 0 to 1 and beyond."""
        return None if not self.budget else self.used / self.budget

    @property
    def is_full(self) -> bool:
        """Whether input and reserve together exceed the window; never where it is not known."""
        return self.filled.overflows


class ContextWindowManager:
    """Measures conversations, each message once, and says when to make their windows smaller."""

    def __init__(
        self,
        *,
        settings: CompactionSettings | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self.settings = settings or CompactionSettings()
        self._calibration = calibration or Calibration()
        self._ledgers: OrderedDict[ConversationId, TokenLedger] = OrderedDict()
        self._readings: dict[ConversationId, Reading] = {}

    def measure(
        self,
        state: ConversationState,
        info: ModelBounds,
        *,
        system: str = "",
        tools: Sequence[OfferedTool] = (),
    ) -> ContextWindow:
        """The window of model `info` with `state`, `system` and `tools` in it."""
        reading = self._ledger(state.id, info.name).observe(state, system=system, tools=tools)
        self._readings[state.id] = reading
        return ContextWindow(
            info.name,
            reading.tokens,
            info.window,
            _reserve(state, info),
            reading.estimated,
            reading.by_category,
            budget(info.window, self.settings),
        )

    def check(
        self,
        state: ConversationState,
        info: ModelBounds,
        *,
        system: str = "",
        tools: Sequence[OfferedTool] = (),
    ) -> ContextWindow:
        """The reading. Raises ContextWindowExceeded when the turn would not fit the window."""
        measured = self.measure(state, info, system=system, tools=tools)
        refusal = self.refusal(state, measured)
        if refusal is not None:
            raise refusal
        return measured

    def refusal(
        self, state: ConversationState, measured: ContextWindow
    ) -> ContextWindowExceeded | None:
        """The error of a turn that would not fit, which names the part that takes most room."""
        if not measured.is_full or measured.window is None:
            return None
        tokens = measured.used + measured.reserve
        hint = self.explained(state, measured)
        return ContextWindowExceeded(tokens=tokens, window=measured.window, hint=hint)

    def explained(self, state: ConversationState, measured: ContextWindow) -> str:
        """What takes most room of that which no compaction takes off, and what to do about it."""
        count = self.counter(measured.model)
        name, advice, tokens = max(_fixed_parts(state, measured, count), key=lambda part: part[2])
        return f"The largest part that cannot shrink is {name}, about {tokens:,} tokens. {advice}"

    def forget(self, conversation: ConversationId) -> None:
        """Keep nothing of it: it is counted anew when it is asked for again."""
        self._ledgers.pop(conversation, None)
        self._readings.pop(conversation, None)

    # Compaction.

    def should_compact(self, state: ConversationState, measured: ContextWindow) -> Need | None:
        """What an automatic compaction has to reach now; None while there is no need for one."""
        return needed(state, measured.filled, self.settings)

    def should_prepare(self, state: ConversationState, measured: ContextWindow) -> bool:
        """Whether the next compaction is so near that its summary should be written now."""
        return is_worth_preparing(state, measured.filled, self.settings)

    def after_overflow(self, measured: ContextWindow) -> Need | None:
        """What to reach when the provider has counted more than we did; None if by settings
        nothing is made smaller by itself."""
        return overflowed(measured.filled, self.settings)

    def when_asked(self, measured: ContextWindow) -> Need:
        """What a compaction that a person asks for has to reach."""
        return asked(measured.filled, self.settings)

    def plan(self, state: ConversationState, need: Need, model: str, *, strategy: str = "") -> Plan:
        """What would be done to meet `need` without asking a model. Nothing is changed.

        Raises ConfigurationError for an unknown strategy.
        """
        task = Task(
            messages=state.messages,
            target=need.target,
            count=self.counter(model),
            pins=frozenset(state.pins),
            previous=state.compaction,
        )
        return ConversationCompactor(self.settings).plan(task, strategy=strategy)

    def preview(
        self, state: ConversationState, need: Need, model: str, *, id: CompactionId = _NO_ID
    ) -> Compaction | None:
        """The compaction that the plan makes: what goes, what stays, whether each critical fact
        survives. None where it would gain too little."""
        draft = self.plan(state, need, model).draft
        if draft is None or refusal(draft, need, self.settings.min_gain):
            return None
        return proposed(id, state.messages, draft, reason=need.reason)

    def apply(self, state: ConversationState, compaction: Compaction) -> ConversationState:
        """`state` with a smaller window. Raises InvalidTransition for what cannot stand for it."""
        return apply(state, Compacted(compaction))

    def undo(self, state: ConversationState) -> ConversationState:
        """`state` without its newest compaction. Raises InvalidInput when there is none."""
        if state.compaction is None:
            raise InvalidInput("the window holds all messages: there is nothing to undo")
        return apply(state, CompactionUndone(state.compaction.id))

    def auto_compact(
        self,
        state: ConversationState,
        info: ModelBounds,
        *,
        system: str = "",
        tools: Sequence[OfferedTool] = (),
    ) -> ConversationState:
        """`state`, with a smaller window if one is due; without asking a model."""
        need = self.should_compact(state, self.measure(state, info, system=system, tools=tools))
        made = None if need is None else self.preview(state, need, info.name)
        return state if made is None else self.apply(state, made)

    def counter(self, model: str) -> CountMessage:
        """Tokens of a message as `model` counts, as far as its reports have taught."""
        factor = self._calibration.factor(model)
        return lambda message: round(message_tokens(message, model=model).total * factor)

    # Usage.

    def estimated_usage(self, state: ConversationState, content: Sequence[Block]) -> Usage:
        """What a request of `state` that answered `content` used, where the provider did not say.

        The input is the last reading of this conversation; without one it counts as it stands.
        """
        ledger = self._ledgers.get(state.id) or self._ledger(state.id, "")
        reading = self._readings.get(state.id) or ledger.observe(state)
        factor = self._calibration.factor(ledger.model)
        output = sum(block_tokens(block, model=ledger.model) for block in content)
        return Usage(input=reading.tokens, output=round(output * factor), estimated=True)

    def _ledger(self, conversation: ConversationId, model: str) -> TokenLedger:
        ledger = self._ledgers.get(conversation)
        if ledger is None or ledger.model != model:
            ledger = self._ledgers[conversation] = TokenLedger(model, calibration=self._calibration)
        self._ledgers.move_to_end(conversation)
        if len(self._ledgers) > _LEDGERS:
            forgotten, _ = self._ledgers.popitem(last=False)
            self._readings.pop(forgotten, None)
        return ledger


_Part: TypeAlias = tuple[str, str, int]


def _fixed_parts(
    state: ConversationState, measured: ContextWindow, count: CountMessage
) -> list[_Part]:
    parts = measured.by_category
    newest = next((i for i, m in enumerate(reversed(state.window)) if m.role is Role.USER), None)
    behind: list[Message] = [] if newest is None else list(state.window)[-newest - 1 :]
    said = sum(count(message) for message in behind[:1])
    answered = sum(count(message) for message in behind[1:])
    newer = {message.id for message in behind}
    kept = set(state.pins) - newer
    pinned = sum(count(message) for message in state.window if message.id in kept)
    return [
        ("the system prompt", "Shorten it, or choose a larger model.", parts.system),
        ("the tools' descriptions", "Switch some tools off.", parts.tool_schemas),
        ("what is pinned", "Unpin some messages.", pinned),
        ("the newest message", "Shorten it, or choose a larger model.", said),
        ("what the tools have just answered", "Choose a larger model.", answered),
        ("the room kept for the answer", "Ask for fewer tokens.", measured.reserve),
    ]


def _reserve(state: ConversationState, info: ModelBounds) -> int:
    asked = state.preferences.generation.max_tokens
    if asked is not None:
        return asked
    return DEFAULT_RESERVE if info.max_output is None else min(DEFAULT_RESERVE, info.max_output)
