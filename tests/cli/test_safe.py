"""Text that reaches a terminal."""

from hypothesis import given, strategies as st

from palaver.cli.safe import columns, escaped, one_line, safe


def test_escape_sequences_become_visible() -> None:
    """No escape sequence survives: neither a window title, nor a cleared screen, nor C1 forms."""
    assert safe("a\x1b]0;title\x07b\x1b[2Jc\x9bd") == "a␛]0;title␇b␛[2Jc�d"


def test_ordinary_text_is_untouched() -> None:
    """Newlines, tabs, accents, CJK, emoji with joiners and right-to-left text pass unchanged."""
    text = "a\tb\né 漢字 👩‍👩‍👧 שלום\u200f"
    assert safe(text) is text


def test_carriage_returns_cannot_overwrite() -> None:
    """CRLF is a newline; a lone CR does not bring the cursor back."""
    assert safe("one\r\ntwo\rthree") == "one\ntwothree"


@given(st.text())
def test_nothing_that_a_terminal_obeys(text: str) -> None:
    """Whatever comes in, no control character but newline and tab comes out."""
    out = safe(text)
    assert not [c for c in out if (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0]
    out.encode()


@given(st.text(), st.text())
def test_pieces_need_no_state(one: str, other: str) -> None:
    """Text that arrives in pieces is as safe as the whole."""
    assert safe(one) + safe(other) == safe(one + other)


def test_what_is_decided_on_shows_everything() -> None:
    """Before an approval nothing is invisible: controls, direction marks, zero-width characters."""
    assert escaped("rm\u202e x\x1b[2J\n\u200bé") == "rm\\u202e x\\x1b[2J\\n\\u200bé"


@given(st.text(), st.integers(5, 60))
def test_one_line_fits(text: str, width: int) -> None:
    """A shortened text is one line of at most the asked columns."""
    line = one_line(text, width)
    assert "\n" not in line
    assert columns(line) <= width
