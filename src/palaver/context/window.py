"""Whether the next request fits the model, asked before anything is sent."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import msgspec

from palaver.context.ledger import Calibration, Reading, TokenLedger
from palaver.context.tokens import OfferedTool, Parts, block_tokens
from palaver.domain.errors import ContextWindowExceeded
from palaver.domain.ids import ConversationId
from palaver.domain.messages import Block
from palaver.domain.state import ConversationState
from palaver.domain.values import Usage

DEFAULT_RESERVE = 4_096
"""Output tokens kept free when nobody said how long an answer may be."""
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

    used: int
    window: int | None
    """None where the model's window is not known."""
    reserve: int
    """Kept free for the answer."""
    estimated: bool
    by_category: Parts

    @property
    def share(self) -> float | None:
        """`used` of `window`, 0 to 1 and beyond; None where the window is not known."""
        return None if not self.window else self.used / self.window

    @property
    def is_full(self) -> bool:
        """Whether input and reserve together exceed the window; never where it is not known."""
        return self.window is not None and self.used + self.reserve > self.window


class ContextWindowManager:
    """Measures conversations, each message once."""

    def __init__(self, *, calibration: Calibration | None = None) -> None:
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
            reading.tokens,
            info.window,
            _reserve(state, info),
            reading.estimated,
            reading.by_category,
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
        if measured.is_full and measured.window is not None:
            tokens = measured.used + measured.reserve
            raise ContextWindowExceeded(tokens=tokens, window=measured.window)
        return measured

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


def _reserve(state: ConversationState, info: ModelBounds) -> int:
    asked = state.preferences.generation.max_tokens
    if asked is not None:
        return asked
    return DEFAULT_RESERVE if info.max_output is None else min(DEFAULT_RESERVE, info.max_output)
