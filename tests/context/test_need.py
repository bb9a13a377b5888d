"""When a window is made smaller, and how far: the rules, number by number."""

import pytest
from msgspec.structs import replace

from palaver.context.need import (
    Filled,
    Need,
    ahead,
    asked,
    budget,
    is_worth_preparing,
    needed,
    overflowed,
)
from palaver.domain.ids import ConversationId
from palaver.domain.state import INEFFECTIVE_LIMIT, ConversationState
from palaver.settings import CompactionSettings

STATE = ConversationState(ConversationId("c"))
SETTINGS = CompactionSettings()


def filled(used: int, *, fixed: int = 1_000, window: int | None = 200_000) -> Filled:
    return Filled(used, fixed, 4_096, window)


def test_budget() -> None:
    """The setting, never more than the model takes; `auto` is what the model takes."""
    assert budget(200_000, SETTINGS) == 50_000
    assert budget(8_000, SETTINGS) == 8_000
    assert budget(None, SETTINGS) == 50_000
    auto = replace(SETTINGS, window="auto")
    assert budget(200_000, auto) == 200_000
    assert budget(None, auto) == 50_000


@pytest.mark.parametrize("used, due", [(42_499, False), (42_500, True), (49_000, True)])
def test_the_trigger(used: int, due: bool) -> None:
    """At 85 % of the budget it is due; the target is 60 %, system prompt and tools taken off."""
    need = needed(STATE, filled(used), SETTINGS)
    assert (need is not None) == due
    if need is not None:
        assert need.target == 30_000 - 1_000
        assert need.limit == 42_500 - 1_000
        assert need.is_urgent == (used >= 46_250)


def test_small_conversations_are_left_alone() -> None:
    """Under the minimum nothing is due while the model has room."""
    small = replace(SETTINGS, window=8_000)
    assert needed(STATE, filled(7_900), small) is None
    assert needed(STATE, filled(10_000), small) is not None
    assert needed(STATE, filled(7_900, window=8_192), small) is not None


def test_an_answer_must_have_room() -> None:
    """Input and reserve beyond the model's window are due at any size, and urgent."""
    need = needed(STATE, filled(6_000, window=8_192), SETTINGS)
    assert need is not None
    assert need.is_urgent
    assert need.limit <= 8_192 - 4_096 - 1_000


@pytest.mark.parametrize(
    "state",
    [replace(STATE, is_compaction_held=True), replace(STATE, ineffective=INEFFECTIVE_LIMIT)],
    ids=["undone", "in-vain"],
)
def test_what_was_stopped_stays_stopped(state: ConversationState) -> None:
    """After an undo, and after two in vain, only what would not fit the model makes room."""
    assert needed(state, filled(49_000), SETTINGS) is None
    assert not is_worth_preparing(state, filled(40_000), SETTINGS)
    assert needed(state, filled(49_000, window=50_000), SETTINGS) is not None


def test_switched_off() -> None:
    """Nothing is made smaller by itself, not even after an overflow."""
    off = replace(SETTINGS, automatic=False)
    assert needed(STATE, filled(199_000), off) is None
    assert overflowed(filled(199_000), off) is None


@pytest.mark.parametrize("used, soon", [(34_999, False), (35_000, True), (42_500, False)])
def test_preparing(used: int, soon: bool) -> None:
    """From 70 % to the trigger a summary is wanted soon."""
    assert is_worth_preparing(STATE, filled(used), SETTINGS) == soon
    assert not is_worth_preparing(STATE, filled(used), replace(SETTINGS, summaries="inline"))


def test_what_is_prepared_leaves_room_for_what_comes() -> None:
    """Prepared at 70 % for 85 %: what is said until then is taken off the target."""
    need = ahead(filled(35_000), SETTINGS)
    assert need.target == 30_000 - 1_000 - 7_500
    assert ahead(filled(42_499), SETTINGS).target == 30_000 - 1_000 - 1


def test_asked() -> None:
    """A person's wish reaches the target, or 60 % of the messages that there are."""
    assert asked(filled(49_000), SETTINGS).target == min(29_000, round(0.6 * 48_000))
    assert asked(filled(2_000, fixed=1_500), SETTINGS).target == 300


def test_after_an_overflow() -> None:
    """Half of what was refused, and never nothing at all."""
    need = overflowed(filled(40_000), SETTINGS)
    assert need == Need("overflow", 40_000, 19_000, 39_000)
    small = overflowed(filled(4_000, fixed=3_800), SETTINGS)
    assert small is not None
    assert small.target == 50
