"""When a window is to be made smaller, and how small: pure rules over numbers."""

from typing import Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from palaver.domain.state import INEFFECTIVE_LIMIT, ConversationState
from palaver.settings import CompactionSettings

STANDARD_WINDOW = 50_000
"""Tokens, for `auto` where the model's window is not known."""
_AFTER_OVERFLOW = 0.5
"""Share of what did not fit: our count was too low, so the target keeps away from it."""

Reason: TypeAlias = Literal["auto", "manual", "overflow"]


class Filled(msgspec.Struct, frozen=True):
    """How full a window is, in tokens. `fixed`: of `used`, what no compaction can take off (system
    prompt and tool schemas)."""

    used: int
    fixed: int
    reserve: int
    window: int | None
    """The model's; None where unknown."""

    @property
    def messages(self) -> int:
        """Tokens of the messages in it."""
        return max(0, self.used - self.fixed)

    @property
    def overflows(self) -> bool:
        """Whether the model would refuse the next request."""
        return self.window is not None and self.used + self.reserve > self.window


class Need(msgspec.Struct, frozen=True):
    """The window is to be made smaller."""

    reason: Reason
    tokens: int
    """Of the next request as it is."""
    target: int
    """That the messages may take afterwards; system prompt and tools are not among them."""
    limit: int
    """That the messages may take at most, so that no further compaction follows at once."""
    is_urgent: bool = True
    """False: a summary that is under way may be used with the next request instead: less than half
    of what lies between the trigger and the end is taken."""


def budget(window: int | None, settings: CompactionSettings) -> int:
    """Tokens that a request may take: as set, and never more than the model's window."""
    if settings.window == "auto":
        return window or STANDARD_WINDOW
    return min(settings.window, window or settings.window)


def needed(state: ConversationState, filled: Filled, settings: CompactionSettings) -> Need | None:
    """What an automatic compaction has to reach now; None while there is no need for one.

    It is due at `trigger` of the budget, and where input and reserve exceed the model's window. A
    person who took one back, and two that changed nothing, leave only the latter.
    """
    if not settings.automatic:
        return None
    if filled.overflows:
        return _need("auto", filled, settings)
    is_stopped = state.is_compaction_held or state.ineffective >= INEFFECTIVE_LIMIT
    whole = budget(filled.window, settings)
    if is_stopped or filled.used < max(settings.trigger * whole, settings.minimum):
        return None
    need = _need("auto", filled, settings)
    return replace(need, is_urgent=filled.used >= whole * (1 + settings.trigger) / 2)


def asked(filled: Filled, settings: CompactionSettings) -> Need:
    """What a compaction that a person asks for has to reach: the target, or, where the window holds
    less than that, the same share of its messages."""
    return _need("manual", filled, settings, at_most=round(settings.target * filled.messages))


def overflowed(filled: Filled, settings: CompactionSettings) -> Need | None:
    """What a compaction has to reach after a provider counted more than we did."""
    if not settings.automatic:
        return None
    half = round(_AFTER_OVERFLOW * filled.used) - filled.fixed
    return _need("overflow", filled, settings, at_most=max(half, filled.messages // 4))


def is_worth_preparing(
    state: ConversationState, filled: Filled, settings: CompactionSettings
) -> bool:
    """Whether a compaction will be wanted soon, but not yet."""
    if not settings.automatic or settings.summaries == "inline":
        return False
    is_stopped = state.is_compaction_held or state.ineffective >= INEFFECTIVE_LIMIT
    whole = budget(filled.window, settings)
    is_near = settings.prepare * whole <= filled.used < settings.trigger * whole
    return not is_stopped and is_near and filled.used >= settings.minimum * settings.prepare


def ahead(filled: Filled, settings: CompactionSettings) -> Need:
    """What a compaction that is prepared now has to reach, so that it meets the target when it is
    used, with all that is said until then behind it."""
    need = _need("auto", filled, settings)
    growth = max(0, round(settings.trigger * budget(filled.window, settings)) - filled.used)
    return replace(
        need,
        target=max(need.target - growth, need.target // 2, 1),
        limit=max(need.limit - growth, need.target),
    )


def _need(
    reason: Reason, filled: Filled, settings: CompactionSettings, *, at_most: int | None = None
) -> Need:
    whole = budget(filled.window, settings)
    target, limit = round(settings.target * whole), round(settings.trigger * whole)
    if filled.window is not None:
        room = filled.window - filled.reserve
        target, limit = min(target, round(settings.target * room)), min(limit, room)
    target, limit = target - filled.fixed, limit - filled.fixed
    if at_most is not None:
        target, limit = min(target, at_most), min(limit, filled.messages)
    return Need(reason, filled.used, max(1, target), max(1, limit))
