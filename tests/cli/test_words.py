"""Short words for numbers, calls and results."""

import pytest

from palaver.cli.inspection import about
from palaver.cli.tables import age, table
from palaver.cli.words import (
    arguments_line,
    arguments_lines,
    dollars,
    ending,
    result_lines,
    seconds,
    tokens,
)
from palaver.domain.ids import CallId, ConversationId, TurnId
from palaver.domain.messages import Text, ToolResult
from palaver.domain.stream import TurnFailed
from palaver.domain.values import ErrorInfo, SessionMetadata
from palaver.store.base import ConversationSummary


@pytest.mark.parametrize(
    "value,said", [(0.42, "0.4 s"), (2.0, "2 s"), (42.4, "42 s"), (125, "2 min 5 s")]
)
def test_durations(value: float, said: str) -> None:
    """Seconds with a sensible number of digits."""
    assert seconds(value) == said


@pytest.mark.parametrize(
    "value,said", [(999, "999"), (1234, "1.2k"), (200_000, "200k"), (1_000_000, "1M")]
)
def test_tokens(value: int, said: str) -> None:
    """Thousands and millions."""
    assert tokens(value) == said


def test_dollars() -> None:
    """Cents matter, fractions of them too, and what is not known is not zero."""
    assert [dollars(c) for c in (0.0, 0.0012, 1.5, None)] == ["$0.00", "$0.0012", "$1.50", "$?"]


def test_arguments() -> None:
    """One argument is shown bare, several by name, what is not JSON as it is; all cut to fit."""
    assert arguments_line('{"city":"Oslo"}', 40) == "Oslo"
    assert arguments_line('{"a":1,"b":"x"}', 40) == "a=1, b=x"
    assert arguments_line('{"a":', 40) == '{"a":'
    assert arguments_line('{"a":"' + "x" * 100 + '"}', 10) == "x" * 9 + "…"


def test_arguments_to_decide_on_are_whole() -> None:
    """Nothing is cut and nothing is invisible where a person decides."""
    assert arguments_lines('{"path":"/etc/\\u202epasswd","n":"' + "y" * 500 + '"}') == [
        "path: /etc/\\u202epasswd",
        "n: " + "y" * 500,
    ]


def test_results_are_folded() -> None:
    """The first lines, and how many are left out."""
    result = ToolResult(CallId("c"), "t", (Text("a\n\nb\nc\nd"),))
    assert result_lines(result, width=40, lines=2) == ["a", "b … 2 more lines"]
    assert result_lines(result, width=40, lines=3) == ["a", "b", "c … 1 more line"]
    assert result_lines(ToolResult(CallId("c"), "t"), width=40, lines=2) == ["(nothing)"]


@pytest.mark.parametrize("code,is_kept", [("stream_truncated", True), ("storage_full", False)])
def test_kept_is_said_only_of_what_could_be_stored(code: str, is_kept: bool) -> None:
    """Where the store failed, nobody is told that the partial answer is in it."""
    told = ending(TurnFailed(TurnId("t"), ErrorInfo(code, "broke")), partial=True)
    assert ("is kept" in told) is is_kept


def test_tables_align_by_columns() -> None:
    """Wide characters take two columns; the last column is cut to the width."""
    shown = table(("id", "text"), [("漢字", "x" * 50), ("ab", "y")], width=20)
    assert shown.split("\n") == ["id    text", "漢字  xxxxxxxxxxxxx…", "ab    y"]


def test_ages() -> None:
    """One unit is enough."""
    assert [age(s) for s in (5, 70, 7_300, 200_000)] == ["now", "1 min ago", "2 h ago", "2 d ago"]


def test_a_listing_tells_what_is_unfinished() -> None:
    """A conversation whose turn runs elsewhere, or waits for a person, is marked."""
    metadata = SessionMetadata("Tea", ("kitchen",))
    line = ConversationSummary(ConversationId("c"), metadata, 1, 0.0, 0.0, is_open=True)
    assert about(line) == "Tea (unfinished) #kitchen"
