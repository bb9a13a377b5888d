"""What a turn looks like on a terminal, read from what is written to it."""

import asyncio
import io
import re

import pytest
from rich.console import Console

from palaver.cli.live import THEME, LiveScreen
from palaver.domain.errors import StoreFull
from palaver.domain.ids import CallId, ConversationId, MessageId, TurnId
from palaver.domain.messages import StopReason, Text, ToolCall, ToolResult
from palaver.domain.stream import (
    AttemptStarted,
    BlockReset,
    ModelSwitched,
    ReasoningDelta,
    RetryScheduled,
    StreamEvent,
    TextDelta,
    ToolArgumentsDelta,
    ToolFinished,
    ToolProgress,
    ToolRequested,
    ToolStarted,
    TurnCancelled,
    TurnCompleted,
    TurnFailed,
    TurnStarted,
    TurnSuspended,
)
from palaver.domain.values import ErrorInfo, SuspendReason

TURN = TurnId("turn_1")
ONE, TWO = CallId("one"), CallId("two")


class Terminal:
    """A screen of 70 columns; `lines` is what somebody sees in the end, scrolled back."""

    def __init__(self, *, height: int = 20, colour: bool = False, silent_s: float = 600.0) -> None:
        self.out = io.StringIO()
        console = Console(
            file=self.out,
            width=70,
            height=height,
            force_terminal=True,
            theme=THEME,
            color_system="standard" if colour else None,
            highlight=False,
        )
        self.screen = LiveScreen(console, silent_s=silent_s)

    def show(self, *events: StreamEvent) -> "Terminal":
        for event in events:
            self.screen.show(event)
        return self

    @property
    def lines(self) -> list[str]:
        rows = [""]
        row = 0
        for part in re.findall(r"\x1b\[[?0-9;]*[a-zA-Z]|\n|\r|[^\x1b\n\r]+", self.out.getvalue()):
            if part == "\n":
                row += 1
                rows += [""] * (row + 1 - len(rows))
            elif part.startswith("\x1b[") and part.endswith("A"):
                row -= int(part[2:-1])
            elif part == "\x1b[J":
                del rows[row + 1 :]
                rows[row] = ""
            elif not part.startswith("\x1b") and part != "\r":
                rows[row] += part
        return rows

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def result(call: CallId, text: str, *, failed: bool = False) -> ToolFinished:
    shown = ToolResult(call, "look", (Text(text),), failed=failed)
    return ToolFinished(call, "look", shown, 1.25)


START = (TurnStarted(TURN, ConversationId("c"), MessageId("m")), AttemptStarted(1, "m"))
END = TurnCompleted(TURN)


def test_streamed_markdown_is_printed_once() -> None:
    """However the text was cut, what stays on the screen is the rendered whole, once."""
    text = "Hello **world**.\n\n- one\n- two\n\nlast *line*"
    terminal = Terminal().show(*START, *(TextDelta(c) for c in text), END)
    assert [line for line in terminal.lines if line] == [
        "Hello world.",
        " • one",
        " • two",
        "last line",
    ]


def test_a_high_tail_shows_its_end() -> None:
    """An unfinished block that is higher than the window shows its newest lines, and how many are
    hidden; finished, all of it is there."""
    code = "```\n" + "".join(f"line {i}\n" for i in range(40))
    terminal = Terminal(height=12).show(*START, TextDelta(code))
    terminal.screen._paint()
    shown = terminal.lines
    assert len(shown) <= 12
    assert "line 39" in shown
    assert "lines above" in shown[0]
    terminal.show(TextDelta("```\n"), END)
    assert [line for line in terminal.lines if line.startswith("line")] == [
        f"line {i}" for i in range(40)
    ]


def test_tool_cards() -> None:
    """A card shows name, arguments, time and result; a failed one says so; order is call order."""
    terminal = Terminal().show(
        *START,
        TextDelta("Let me look."),
        ToolRequested(ONE, "look"),
        ToolArgumentsDelta(ONE, '{"city":"Oslo"}'),
        ToolRequested(TWO, "look"),
        ToolStarted(ONE, "look", '{"city":"Oslo"}'),
        ToolStarted(TWO, "look", '{"city":"Rome","days":3}'),
        ToolProgress(ONE, "asking", 0.5),
        result(TWO, "no such city", failed=True),
        result(ONE, "rain\nwind"),
        TextDelta("It rains."),
        END,
    )
    assert [line for line in terminal.lines if line] == [
        "Let me look.",
        "● look Oslo  1.2 s",
        "  └ rain",
        "    wind",
        "● look city=Rome, days=3  failed, 1.2 s",
        "  └ no such city",
        "It rains.",
    ]


def test_a_card_without_arguments_has_no_gap() -> None:
    """The time follows the name."""
    terminal = Terminal().show(
        *START, ToolRequested(ONE, "look"), ToolStarted(ONE, "look", "{}"), result(ONE, "rain"), END
    )
    assert "● look  1.2 s" in terminal.lines


def test_progress_is_shown_while_it_runs() -> None:
    """A running card shows the tool's last report and gives it up with the result."""
    terminal = Terminal().show(
        ToolStarted(ONE, "look", "{}"), ToolProgress(ONE, "asking \x1b[2J station", 0.5)
    )
    terminal.screen._paint()
    assert "50% asking ␛[2J station" in terminal.text
    terminal.show(result(ONE, "done"), END)
    assert "50%" not in terminal.text


def test_failed_cards_are_red() -> None:
    """Colour tells a failure from a result."""
    terminal = Terminal(colour=True).show(result(ONE, "bad", failed=True), END)
    assert "\x1b[31m" in terminal.out.getvalue()


def test_thinking_is_dim() -> None:
    """Reasoning stands before the answer, dim."""
    terminal = Terminal(colour=True).show(ReasoningDelta("Hm.\nYes"), TextDelta("Answer"), END)
    assert "\x1b[2;3mHm." in terminal.out.getvalue()
    assert [line for line in terminal.lines if line] == ["Hm.", "Yes", "Answer"]


def test_an_answer_that_breaks_goes_on_where_it_broke() -> None:
    """Its text stays one paragraph; the line about the break stands beside it, and a call that does
    not count says so."""
    cut = ErrorInfo("stream_truncated", "cut off")
    terminal = Terminal().show(
        TextDelta("half an "),
        ToolRequested(CallId("c1"), "weather"),
        BlockReset("tool_call", CallId("c1")),
        RetryScheduled(1, 0.4, cut, continues=True),
        AttemptStarted(2, "m", continues=True),
        RetryScheduled(2, 1.5, ErrorInfo("network", "no connection"), continues=True),
        AttemptStarted(3, "m", continues=True),
        TextDelta("answer"),
        END,
    )
    assert "the answer broke off (cut off); it goes on in 0.4 s" in terminal.text
    assert "asking for the rest again in 1.5 s: no connection" in terminal.text
    assert "weather  made anew" in terminal.text


def test_endings_are_said() -> None:
    """A cut, a cancel, a retry and a failure each have their line."""
    assert "reached the limit of output tokens" in (
        Terminal().show(TextDelta("a"), TurnCompleted(TURN, StopReason.MAX_TOKENS)).text
    )
    cancelled = Terminal().show(TextDelta("half an ans"), TurnCancelled(TURN)).text
    assert "half an ans" in cancelled
    assert "cancelled; the partial answer is kept" in cancelled
    retry = RetryScheduled(1, 2.0, ErrorInfo("overloaded", "overloaded"))
    assert "retrying in 2 s: overloaded" in Terminal().show(retry, END).text
    switch = ModelSwitched("a:1", "b:2", ErrorInfo("overloaded", "overloaded"))
    assert "b:2 answers instead of a:1: overloaded" in Terminal().show(switch, END).text
    error = ErrorInfo("network", "no route", "Check the network.", attempts=3, request_id="r1")
    failed = Terminal().show(TurnFailed(TURN, error)).text
    assert "failed, after 3 attempts: no route [request r1]" in failed
    assert "Check the network." in failed


def test_stopped_calls_are_marked() -> None:
    """A call without result at the end of its turn does not look as if it had finished."""
    terminal = Terminal().show(ToolStarted(ONE, "look", "{}"), TurnCancelled(TURN))
    assert "look  stopped" in terminal.text


def test_a_question_has_the_screen_for_itself() -> None:
    """While a turn waits for a person nothing is repainted below the question."""
    call = ToolCall(ONE, "look")
    terminal = Terminal().show(
        ToolRequested(ONE, "look"), TurnSuspended(SuspendReason.APPROVAL, (call,))
    )
    assert terminal.text.strip() == ""
    terminal.screen.notice("may it?")
    assert terminal.text.strip() == "may it?"
    terminal.show(ToolStarted(ONE, "look", "{}"), result(ONE, "done"), END)
    assert "└ done" in terminal.text


def test_escape_sequences_of_models_do_nothing() -> None:
    """Text, names, arguments and results of models and tools cannot drive the terminal."""
    evil = "\x1b]0;owned\x07"
    shown = ToolResult(ONE, "x", (Text(evil),))
    terminal = Terminal().show(
        TextDelta(evil),
        ToolStarted(ONE, f"x{evil}", f'{{"a":"{evil}"}}'),
        ToolFinished(ONE, f"x{evil}", shown),
        TurnFailed(TURN, ErrorInfo("e", evil, evil)),
    )
    assert "\x1b]" not in terminal.out.getvalue()
    assert "\x07" not in terminal.out.getvalue()


async def test_frames_go_on_by_themselves() -> None:
    """What came just after a frame is painted with the next one, without another event."""
    terminal = Terminal()
    async with terminal.screen.live():
        terminal.show(*START, TextDelta("first "), TextDelta("second"))
        async with asyncio.timeout(60):
            while "second" not in terminal.text:  # noqa: ASYNC110 - a screen tells nobody
                await asyncio.sleep(0.01)


async def test_an_answer_that_stands_still_is_said_to_wait() -> None:
    """Silence in the middle of an answer shows a wheel, which the next word takes away."""
    terminal = Terminal(silent_s=0.0)
    async with terminal.screen.live():
        terminal.show(*START, TextDelta("Once upon"))
        async with asyncio.timeout(60):
            while "waiting" not in terminal.text:  # noqa: ASYNC110 - a screen tells nobody
                await asyncio.sleep(0.01)
        terminal.show(TextDelta(" a time."), END)
    assert [line for line in terminal.lines if line] == ["Once upon a time."]


async def test_what_was_shown_stays_when_the_program_is_ended() -> None:
    """A program that is asked to end in the middle of an answer leaves its words on the screen."""
    terminal = Terminal()

    async def answer() -> None:
        async with terminal.screen.live():
            terminal.show(*START, TextDelta("Once upon a"))
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await answer()
    assert "Once upon a" in terminal.text


async def test_failures_pass_through() -> None:
    """What goes wrong while frames are painted comes out as itself."""
    with pytest.raises(StoreFull):
        async with Terminal().screen.live():
            raise StoreFull("no space")
