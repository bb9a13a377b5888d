"""What the sources of a summary promise: a handle leads to something that speaks of the line."""

import pytest

from palaver.context.citations import Lined, Sources, cut
from palaver.domain.messages import Message

MESSAGES = [
    Message.user("Book a flight to Lisbon, never before nine."),
    Message.assistant("Flight HAT136 leaves at ten."),
    Message.user("Die Rechnung geht an die Firma Müller."),
    Message.user("请把发票发给公司。"),
]


@pytest.mark.parametrize(
    "line,text,positions",
    [
        ("- Book a flight [m1]", "- Book a flight", [0]),
        ("- Book [m1, m2; m4]", "- Book", [0, 1, 3]),
        ("- Book (m1) and pay [m2]", "- Book and pay", [0, 1]),
        ("- Book [m2–m4]", "- Book", [1, 2, 3]),
        ("- Book [m2-4]", "- Book", [1, 2, 3]),
        ("- 预订【m1】", "- 预订", [0]),
        ("- The list [m] and [5] and m3 stay", "- The list [m] and [5] and m3 stay", []),
    ],
)
def test_handles_are_read(line: str, text: str, positions: list[int]) -> None:
    """Handles in brackets of any kind, lists and ranges; nothing else."""
    assert cut(line) == (text, positions)


def test_handles_that_hold_stay() -> None:
    """A handle of a message that shares a word or a name stays at the end of the line."""
    text = "## Goal\n- [m1] A flight to Lisbon\n- HAT136 [m2, m1]\n- Rechnung an Müller [m3]"
    found = Sources(MESSAGES, 4).checked(text)
    assert found.text.splitlines() == [
        "## Goal",
        "- A flight to Lisbon [m1]",
        "- HAT136 [m2]",
        "- Rechnung an Müller [m3]",
    ]
    assert found.sources == ((), (0,), (1,), (2,))
    assert found.dropped == 1


def test_handles_that_do_not_hold_go() -> None:
    """Of messages that are not there, or not yet summarised, or speak of something else."""
    text = "- A flight [m99]\n- Müller [m3]\n- A hotel in Rome [m1]\n- 发票 [m4]"
    found = Sources(MESSAGES, 2).checked(text)
    assert found.sources == ((), (), (), ())
    assert "[m" not in found.text
    assert found.dropped == 4
    assert Sources(MESSAGES, 4).checked("- 发票给公司 [m4]").sources == ((3,),)


def test_sources_follow_the_lines() -> None:
    """Joined texts keep a source for each line, empty ones too."""
    both = Lined("a\nb", ((1,), ())) + Lined("c", ((2,),))
    assert both == Lined("a\nb\nc", ((1,), (), (2,)))
    assert Lined("", ()) + both == both
    assert both + Lined("", ()) == both


def test_a_range_is_bounded() -> None:
    """A handle that spans everything costs no more than the messages that are there."""
    found = Sources(MESSAGES, 4).checked("- flight HAT136 Müller [m1–m999999999]")
    assert found.sources == ((0, 1, 2),)
