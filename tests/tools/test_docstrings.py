"""What is read from docstrings."""

import pytest
from hypothesis import given, strategies as st

from palaver.tools.docstrings import parse


@pytest.mark.parametrize(
    "text, summary",
    [
        (None, ""),
        ("", ""),
        ("One.", "One."),
        ("\n    One\n    two.\n\n    Three.\n    ", "One two."),
        ("One.\n\nArgs:\n    a: b", "One."),
        ("Args:\n    a: b", ""),
        (":param a: b", ""),
        ("Parameters\n----------\na : int\n    b", ""),
    ],
)
def test_summary_is_the_first_paragraph(text: str | None, summary: str) -> None:
    """The first paragraph, on one line, without the sections."""
    assert parse(text)[0] == summary


def test_numpy_items_may_share_a_description() -> None:
    """`a, b : int` describes both."""
    assert parse("X.\n\nParameters\n----------\na, b : int\n    Both.\n")[1] == {
        "a": "Both.",
        "b": "Both.",
    }


@given(st.text(alphabet="ab:-* \n(),param", max_size=200))
def test_any_text_is_read(text: str) -> None:
    """No docstring makes a tool impossible."""
    parse(text)
