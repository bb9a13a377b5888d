from hypothesis import given, strategies as st

from palaver.domain.text import REPLACEMENT, clean

ANY_TEXT = st.text(st.characters(exclude_categories=()))


def test_a_family_emoji_survives() -> None:
    """Joined emoji, combining marks and every script pass unchanged."""
    family = "👩\u200d👩\u200d👧 é ไทย 漢字"
    assert clean(family) == (family, False)


def test_what_cannot_be_stored_is_replaced_and_told() -> None:
    """Lone surrogates and NUL become U+FFFD, and the caller knows."""
    assert clean("a\x00b\ud83dc") == (f"a{REPLACEMENT}b{REPLACEMENT}c", True)


def test_two_halves_make_one_character() -> None:
    """A surrogate pair is the character it stands for; nothing is lost."""
    assert clean("\ud83d\ude00") == ("😀", False)


@given(ANY_TEXT)
def test_every_text_becomes_storable(text: str) -> None:
    """Whatever comes in, what comes out has a UTF-8 form without NUL, and stays as it is."""
    cleaned, lost = clean(text)
    assert "\x00" not in cleaned
    cleaned.encode()
    assert clean(cleaned) == (cleaned, False)
    assert (
        lost or cleaned.encode() == text.encode("utf-16", "surrogatepass").decode("utf-16").encode()
    )
