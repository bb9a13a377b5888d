"""What counts as a name that nobody said."""

import pytest

from palaver.context.summary_faults import Source, names, without

SOURCE = Source(
    ["Read src/app/Config.py, line 42.", '{"user_id": "mia_li_3668"}', "tailwind-merge"]
)


@pytest.mark.parametrize(
    "name",
    [
        "src/app/Config.py",
        "SRC/APP/config.py",
        "src/app/Config.py:42",
        "user_id=mia_li_3668",
        "/tailwind-merge",
        "read/line",
    ],
)
def test_names_that_were_said(name: str) -> None:
    """As they stand, in other case, and put together from what was said."""
    assert SOURCE.holds(name)


@pytest.mark.parametrize("name", ["src/lib/Config.py", "mia_li_3669", "Config.py:43x", "HAT136"])
def test_names_that_were_not(name: str) -> None:
    """A path put together from pieces of others is another path."""
    assert not SOURCE.holds(name)


def test_handles_and_headings_are_no_names() -> None:
    """What the form of a summary brings is not counted."""
    text = "## Goal\n- Done: read src/app/Config.py [m12, m999]\n- Open: m13 says HAT136"
    assert names(text, SOURCE) == (["HAT136"], 1)


def test_lines_are_cut_away_only_when_few() -> None:
    """Without the lines that name what is unknown most must be left."""
    text = "a 1\nb 2\nc 3\nd X-99"
    assert without(text, ["X-99"]) == "a 1\nb 2\nc 3"
    assert without("a\nX-99\nX-99", ["X-99"]) == ""
