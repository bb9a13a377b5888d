"""Two halves of an answer become one, without a character twice or missing."""

import itertools

import pytest
from hypothesis import given, strategies as st

from palaver.recovery.join import MIN_OVERLAP, Joined, Joiner

PROSE = st.text("abc é漢\n.", min_size=40, max_size=200)


def joined(joiner: Joiner, coming: str, cuts: list[int]) -> str:
    """What is shown of `coming`, which arrives in pieces."""
    edges = sorted({0, len(coming), *(cut % (len(coming) + 1) for cut in cuts)})
    shown = [joiner.add(coming[a:b]) for a, b in itertools.pairwise(edges)]
    return "".join(shown) + joiner.end()


@given(PROSE, st.integers(1, 199), st.integers(1, 80), st.lists(st.integers(0, 300)))
def test_a_model_that_begins_with_the_anchor_is_joined_exactly(
    whole: str, cut: int, length: int, cuts: list[int]
) -> None:
    """However the text repeats itself and wherever it is cut, the halves make the whole."""
    said, rest = whole[: cut % len(whole)] or whole[0], whole[cut % len(whole) or 1 :]
    anchor = said[-length:]
    joiner = Joiner(said, anchor=anchor)
    assert said + joined(joiner, anchor + rest, cuts) == whole
    assert joiner.joined == Joined(is_exact=True, overlap=len(anchor))


@given(PROSE, st.integers(1, 199), st.lists(st.integers(0, 300)))
def test_a_provider_that_continues_is_joined_exactly(whole: str, cut: int, cuts: list[int]) -> None:
    """A prefilled answer goes on; white space that it was not sent comes once."""
    said = whole[: cut % len(whole)] or whole[0]
    rest = whole[len(said.rstrip()) :]
    joiner = Joiner(said, continues=True)
    assert said + joined(joiner, rest, cuts) == whole


@pytest.mark.parametrize("repeated", [MIN_OVERLAP, 20, 43])
def test_a_model_that_repeats_unasked_is_joined_exactly(repeated: int) -> None:
    """The end of what was said, or all of it, may come again; it is shown once."""
    said = "The quick brown fox jumps over the lazy dog"
    joiner = Joiner(said)
    shown = [joiner.add(char) for char in said[-repeated:] + " and sleeps"]
    assert "".join(shown) + joiner.end() == " and sleeps"
    assert joiner.joined == Joined(is_exact=True, overlap=repeated)


def test_a_model_that_just_goes_on_is_shown_at_once() -> None:
    """Nothing is lost or held back for long, and the join is called unverified."""
    joiner = Joiner("The quick brown fox jumps")
    assert joiner.add(" over") == " over"
    assert joiner.joined == Joined(is_exact=False, overlap=0)


def test_a_chance_agreement_is_no_overlap() -> None:
    """A few equal characters are kept: dropping them might lose some."""
    joiner = Joiner("one, two, three, t")
    assert joiner.add("two") + joiner.add(" more") + joiner.end() == "two more"


def test_a_half_that_ends_while_it_is_held_back_is_not_lost() -> None:
    """What looked like the beginning of a repetition and was none is shown at the end."""
    joiner = Joiner("alpha beta gamma delta epsilon")
    assert joiner.add("beta ") == ""
    assert joiner.end() == "beta "


@given(PROSE, PROSE, st.lists(st.integers(0, 300)))
def test_whatever_comes_only_an_overlap_is_dropped(said: str, coming: str, cuts: list[int]) -> None:
    """What is shown is what came, without a beginning that ends what was said."""
    joiner = Joiner(said)
    shown = joined(joiner, coming, cuts)
    dropped = coming[: len(coming) - len(shown)]
    assert coming == dropped + shown
    assert said.endswith(dropped)
