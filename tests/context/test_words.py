"""Words and sentences: every script gives words that two texts on one matter share."""

import pytest
from hypothesis import given, strategies as st

from palaver.context.words import is_spaceless, sentences, words


@pytest.mark.parametrize(
    "text,expected",
    [
        ("The cat's toys, isn't it?", ["the", "cat", "toys", "isn't", "it"]),
        ("L’été à l'eau", ["été", "eau"]),
        ("我想订机票。", ["我想", "想订", "订机", "机票"]),
        ("東京タワー", ["東京", "タワー"]),
        ("ผมจอง", ["ผม", "มจ", "จอ", "อง"]),
        ("मुझे दिल्ली जाना है।", ["मुझे", "दिल्ली", "जाना", "है"]),
        ("الفندق؟ غُرفة", ["فندق", "غرفة"]),
        ("저는 서울에", ["저는", "서울에"]),
        ("Привет, МИР!", ["привет", "мир"]),
        ("ＡＢＣ １２", ["abc", "12"]),
    ],
    ids=[
        "english",
        "french",
        "chinese",
        "japanese",
        "thai",
        "hindi",
        "arabic",
        "korean",
        "russian",
        "fullwidth",
    ],
)
def test_words_of_each_script(text: str, expected: list[str]) -> None:
    """Each script gives whole words, or pairs of characters where no spaces are written."""
    assert [word for word in words(text) if word not in {"à"}] == expected


def test_names_in_code_meet_prose() -> None:
    """A name gives itself and its parts, so that it is found by the words it was made of."""
    assert {"getusername", "get", "user", "name"} <= set(words("call getUserName now"))
    assert {"user_id", "user", "id"} <= set(words("the user_id column"))


@pytest.mark.parametrize(
    "text,expected",
    [
        ("Is it? Yes! Good.", ["Is it?", "Yes!", "Good."]),
        ("Dr. J. Smith, e.g. me. Then 3.5 more.", ["Dr. J. Smith, e.g. me.", "Then 3.5 more."]),
        ("1. one\n2. two\n\nthree", ["1. one", "2. two", "three"]),
        ("好的。明天呢？行", ["好的。", "明天呢？", "行"]),
        ("हाँ। ठीक है।", ["हाँ।", "ठीक है।"]),
        ("هل؟ نعم", ["هل؟", "نعم"]),
        ('He said "no." Then left.', ['He said "no."', "Then left."]),
        ("   ", []),
    ],
    ids=["latin", "abbreviations", "lines", "chinese", "hindi", "arabic", "quotes", "blank"],
)
def test_sentences(text: str, expected: list[str]) -> None:
    """Full stops of all scripts and lines end sentences; abbreviations and numbers do not."""
    assert [text[start:end] for start, end in sentences(text)] == expected


def test_wrapped_prose_stays_together() -> None:
    """A line break inside wrapped prose ends no sentence."""
    text = (
        "This line is long enough to be taken for prose that somebody wrapped\nat a column. Next."
    )
    assert [text[a:b] for a, b in sentences(text)] == [text[:-6], "Next."]


@given(st.text(max_size=300), st.integers(20, 60))
def test_sentences_cover_all_that_is_written(text: str, longest: int) -> None:
    """Spans are in order, apart from each other, bounded, and leave out nothing but space."""
    at = 0
    for start, end in sentences(text, longest=longest):
        assert not text[at:start].strip()
        assert start < end <= start + longest
        at = end
    assert not text[at:].strip()


@given(st.text())
def test_words_are_not_empty(text: str) -> None:
    """No word is empty, whatever the text."""
    assert all(words(text))


def test_scripts_without_spaces_are_known() -> None:
    """The first letter tells whether a text is written without spaces."""
    assert is_spaceless("«好的» ok")
    assert not is_spaceless("ok 好")
    assert not is_spaceless("")
