"""What the rule of the broken cache promises: tokens and money are told apart."""

import pytest

from palaver.context.cache_rule import CachePrices, cache_effect

SONNET = CachePrices(3e-6, cache_read=3e-7, cache_write=3.75e-6)


def test_money_and_tokens_are_apart() -> None:
    """What is shed is counted in tokens, what is saved in dollars."""
    effect = cache_effect(
        before=42_000, after=30_000, kept=2_000, expected_requests=10, prices=SONNET
    )
    assert (effect.tokens_shed, effect.tokens_rewritten) == (12_000, 28_000)
    assert effect.usd_once == pytest.approx(28_000 * 3.75e-6 - 40_000 * 3e-7)
    assert effect.usd_per_request == pytest.approx(12_000 * 3e-7)
    assert effect.breaks_even_after == pytest.approx(0.093 / 0.0036)
    assert not effect.pays
    assert effect.usd_saved(10) == pytest.approx(0.036 - 0.093)
    assert cache_effect(
        before=42_000, after=30_000, kept=2_000, expected_requests=30, prices=SONNET
    ).pays


def test_the_summary_is_paid_for() -> None:
    """What the writer of the summary cost is part of the bill."""
    free = cache_effect(before=50_000, after=5_000, expected_requests=9, prices=SONNET)
    paid = cache_effect(
        before=50_000, after=5_000, expected_requests=9, prices=SONNET, usd_spent=1.0
    )
    assert free.usd_once is not None
    assert paid.usd_once == pytest.approx(free.usd_once + 1.0)
    assert free.pays
    assert not paid.pays


def test_unknown_prices() -> None:
    """Without prices the usual relation decides, and no money is made up."""
    effect = cache_effect(before=50_000, after=10_000, expected_requests=10)
    assert effect.usd_once is None
    assert effect.usd_per_request is None
    assert effect.usd_saved(5) is None
    assert effect.breaks_even_after == pytest.approx((12_500 - 5_000) / 4_000)
    assert effect.pays


def test_nothing_shed_never_pays() -> None:
    """A window that does not become smaller has no point at which it has paid."""
    effect = cache_effect(before=100, after=100, expected_requests=1_000, prices=SONNET)
    assert effect.tokens_shed == 0
    assert effect.breaks_even_after is None
    assert not effect.pays


def test_what_stays_in_front_is_not_rewritten() -> None:
    """The more of the prefix is the same, the less the compaction costs."""
    costs = [
        cache_effect(
            before=9_000, after=6_000, kept=kept, expected_requests=1, prices=SONNET
        ).usd_once
        or 0.0
        for kept in (0, 3_000, 6_000)
    ]
    assert costs == sorted(costs, reverse=True)
