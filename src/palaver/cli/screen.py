"""Where a turn is shown: as plain text, or live on a terminal (`live.py`)."""

from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Protocol, TextIO

from palaver.cli.safe import one_line, safe
from palaver.cli.words import (
    adapted,
    arguments_line,
    ending,
    result_lines,
    retrying,
    seconds,
    service,
    switched,
    window,
)
from palaver.domain.stream import (
    TERMINAL,
    AttemptStarted,
    CompactionSkipped,
    ContextCompacted,
    HistoryAdapted,
    ModelSwitched,
    RetryScheduled,
    ServiceDegraded,
    ServiceRestored,
    StreamEvent,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnSuspended,
)

NOTICE_COLUMNS = 200


class Screen(Protocol):
    """Shows the events of turns, and lines about them."""

    def show(self, event: StreamEvent) -> None:
        """Show what has happened."""
        ...

    def notice(self, text: str) -> None:
        """Say something about the conversation, not in it."""
        ...

    def print(self, text: str) -> None:
        """Print what was asked for: a list, a help page."""
        ...

    def live(self) -> AbstractAsyncContextManager[None]:
        """Within it, what moves is repainted."""
        ...


class PlainScreen:
    """Answers to one stream exactly as they came, everything else to another."""

    def __init__(self, out: TextIO, err: TextIO, *, answers: bool = True) -> None:
        self._out, self._err, self._answers = out, err, answers
        self._made_safe = out.isatty()
        self._mid_line = False
        self._has_text = False

    def show(self, event: StreamEvent) -> None:
        """Show what has happened."""
        match event:
            case TextDelta(text=text):
                self._answer(text)
            case AttemptStarted(continues=False):
                self._end_line()  # the model speaks again, behind its tools
            case ToolStarted(name=name, arguments=arguments):
                room = NOTICE_COLUMNS - len(name)
                self.notice(f"· {one_line(name, 64)} {arguments_line(arguments, room)}".rstrip())
            case ToolFinished(name=name, result=result, duration_s=took):
                [line] = result_lines(result, width=NOTICE_COLUMNS, lines=1)[:1]
                failed = "failed: " if result.failed else ""
                self.notice(f"  {one_line(name, 64)} ({seconds(took)}): {failed}{line}")
            case HistoryAdapted():
                self.notice(adapted(event))
            case ContextCompacted() | CompactionSkipped():
                self.notice(window(event))
            case RetryScheduled():
                self.notice(retrying(event))
            case ModelSwitched():
                self.notice(switched(event))
            case ServiceDegraded() | ServiceRestored():
                if told := service(event):
                    self.notice(told)
            case TurnSuspended():
                self._end_line()
            case _ if isinstance(event, TERMINAL):
                self._end_line()
                told = ending(event, partial=self._has_text)
                self._has_text = False
                if told:
                    self.notice(told)
            case _:
                pass

    def _answer(self, text: str) -> None:
        self._has_text = True
        if not self._answers or not text:
            return
        self._out.write(safe(text) if self._made_safe else text)
        self._out.flush()
        self._mid_line = not text.endswith("\n")

    def _end_line(self) -> None:
        if self._mid_line:
            self._out.write("\n")
            self._out.flush()
            self._mid_line = False

    def notice(self, text: str) -> None:
        """Say something on the second stream."""
        if self._made_safe:
            self._end_line()
        self._err.write(safe(text) + "\n")
        self._err.flush()

    def print(self, text: str) -> None:
        """Print what was asked for."""
        self._end_line()
        self._out.write((safe(text) if self._made_safe else text) + "\n")
        self._out.flush()

    def live(self) -> AbstractAsyncContextManager[None]:
        """Nothing moves in plain text."""
        return nullcontext()


def write_bytes(out: TextIO, data: bytes) -> None:
    """Write UTF-8 whatever the locale says: for output that programs read."""
    out.flush()
    out.buffer.write(data)
    out.buffer.flush()
