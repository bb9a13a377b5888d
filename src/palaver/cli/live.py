"""A turn on a terminal: streamed Markdown, thinking and tool cards, in the order they began.

What is finished at the front goes into the terminal's history and is never touched again; the rest
is repainted at most 12 times a second, and less often when painting takes long.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from rich.console import Console
from rich.text import Text
from rich.theme import Theme

from palaver.cli.cards import Answer, Card, Glyphs, Item, Thinking
from palaver.cli.painter import Painter, Piece
from palaver.cli.safe import one_line, safe
from palaver.cli.words import adapted, ending, retrying, seconds, service, switched, window
from palaver.domain.ids import CallId
from palaver.domain.stream import (
    AttemptStarted,
    BlockReset,
    CompactionSkipped,
    CompactionStarted,
    ContextCompacted,
    HistoryAdapted,
    MessageCompleted,
    ModelSwitched,
    ReasoningDelta,
    RetryScheduled,
    ServiceDegraded,
    ServiceRestored,
    StreamEvent,
    Terminal,
    TextDelta,
    ToolArgumentsDelta,
    ToolFinished,
    ToolProgress,
    ToolRequested,
    ToolStarted,
    TurnCancelled,
    TurnCompleted,
    TurnFailed,
    TurnInterrupted,
    TurnSuspended,
)

Streamed = TypeVar("Streamed", Answer, Thinking)
FRAME_S = 1 / 12
SILENT_S = 5.0
"""An answer that stands still for so long is said to wait: nobody can tell a pause from the end."""
WHEEL_S = 0.125
THEME = Theme(
    {
        "markdown.code": "cyan",
        "markdown.h2": "bold",
        "markdown.h3": "bold",
        "markdown.block_quote": "italic",
        "markdown.table.border": "dim",
        "markdown.table.header": "bold",
    }
)


def make_console() -> Console:
    """The terminal as rich sees it: NO_COLOR, COLUMNS and TERM respected."""
    return Console(theme=THEME, highlight=False, markup=False, emoji=False, soft_wrap=False)


class LiveScreen:
    """Shows turns on a terminal that can move its cursor."""

    def __init__(self, console: Console, *, silent_s: float = SILENT_S) -> None:
        self.console = console
        self._silent_s, self._heard_at = silent_s, math.inf
        self._painter = Painter(console)
        self._glyphs = Glyphs(unicode=console.encoding.lower().startswith("utf"))
        self._items: deque[Item] = deque()
        self._cards: dict[CallId, Card] = {}
        self._status, self._since = "", 0.0
        self._has_text = False
        self._dirty = self._held = False
        self._painted_at, self._pause_s = 0.0, FRAME_S

    def show(self, event: StreamEvent) -> None:
        """Show what has happened, now or with the next frame."""
        self._heard_at = time.monotonic()
        self._held = False
        self._take(event)
        self._dirty = not self._held
        if self._dirty and time.monotonic() - self._painted_at >= self._pause_s:
            self._paint()

    def _take(self, event: StreamEvent) -> None:
        match event:
            case AttemptStarted():
                self._wait("")
            case TextDelta(text=text):
                self._status, self._has_text = "", True
                self._current(Answer).add(text)
            case ReasoningDelta(text=text):
                self._status = ""
                self._current(Thinking).add(text)
            case MessageCompleted():
                self._close_text()
            case HistoryAdapted():
                self.notice(adapted(event))
            case ContextCompacted() | CompactionSkipped():
                self.notice(window(event))
            case CompactionStarted():
                self._wait("making the window smaller ")
            case RetryScheduled():
                self.notice(retrying(event))
                self._wait("waiting ")
            case ModelSwitched():
                self.notice(switched(event))
            case ServiceDegraded() | ServiceRestored():
                if told := service(event):
                    self.notice(told)
            case BlockReset(call_id=call):
                self._reset(call)
            case TurnSuspended():
                self._suspend()
            case TurnCompleted() | TurnFailed() | TurnCancelled() | TurnInterrupted():
                self._end(event)
            case _:
                self._take_tool(event)

    def _take_tool(self, event: StreamEvent) -> None:
        match event:
            case ToolRequested(call_id=call, name=name):
                self._status = ""
                self._close_text()
                self._new_card(call, name)
            case ToolArgumentsDelta(call_id=call, text=text):
                if call in self._cards:
                    self._cards[call].arguments += text
            case ToolStarted(call_id=call, name=name, arguments=arguments):
                self._card(call, name).start(arguments)
            case ToolProgress(call_id=call, text=text, fraction=fraction):
                if call in self._cards:
                    self._cards[call].progress(text, fraction)
            case ToolFinished(call_id=call, name=name, result=result, duration_s=took):
                self._card(call, name).finish(result, took)
                del self._cards[call]
            case _:
                pass

    def _reset(self, call: CallId | None) -> None:
        """A call, or (None) the thinking that grows, does not count."""
        if call is None:
            self._close_text()
        elif call in self._cards:
            self._cards.pop(call).stop("made anew")

    def _wait(self, status: str) -> None:
        self._status, self._since = status or " ", time.monotonic()

    def _current(self, kind: type[Streamed]) -> Streamed:
        last = self._items[-1] if self._items else None
        if isinstance(last, kind) and not last.is_done:
            return last
        self._close_text()
        made = kind()
        self._items.append(made)
        return made

    def _close_text(self) -> None:
        for item in self._items:
            if isinstance(item, Answer | Thinking) and not item.is_done:
                item.close()

    def _card(self, call: CallId, name: str) -> Card:
        return self._cards.get(call) or self._new_card(call, name)

    def _new_card(self, call: CallId, name: str) -> Card:
        card = self._cards[call] = Card(name, self._glyphs)
        self._items.append(card)
        return card

    def _suspend(self) -> None:
        """The tail makes room for a question; cards that wait come back behind it."""
        self._close_text()
        self._status, self._held = "", True
        self._painter.paint(self._taken(), ())

    def _end(self, event: Terminal) -> None:
        self._close_text()
        for card in self._cards.values():
            card.stop()
        self._cards.clear()
        self._status, self._heard_at = "", math.inf
        told = ending(event, partial=self._has_text)
        self._has_text = False
        pieces = self._taken()
        if told:
            style = "red" if isinstance(event, TurnFailed) else "yellow"
            pieces.append(Piece(Text(told, style=style), gap=True))
        self._painter.paint(pieces, ())

    def notice(self, text: str) -> None:
        """Say something above the tail."""
        pieces = [*self._taken(), Piece(Text(safe(text), style="yellow"), gap=self._held)]
        self._painter.paint(pieces, self._tail())

    def print(self, text: str) -> None:
        """Print what was asked for."""
        self._painter.paint([Piece(Text(safe(text)))], self._tail())

    # Painting.

    @asynccontextmanager
    async def live(self) -> AsyncIterator[None]:
        """Within it, frames are painted. Afterwards nothing moves and the tail is gone."""
        try:
            async with asyncio.TaskGroup() as tasks:
                frames = tasks.create_task(self._frames(), name="frames")
                try:
                    yield
                finally:
                    frames.cancel()
                    self._close_text()  # where a turn was left in the middle: what was shown stays
                    self._painter.paint(self._taken(), ())
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None  # what went wrong within, as it was raised

    async def _frames(self) -> None:
        while True:
            self._notice_silence()
            moving = bool(self._cards or self._status)
            await asyncio.sleep(max(self._pause_s, WHEEL_S if moving and not self._dirty else 0))
            if (self._dirty or moving) and not self._held:
                self._paint()

    def _notice_silence(self) -> None:
        is_still = not (self._cards or self._status or self._held)
        if is_still and time.monotonic() - self._heard_at >= self._silent_s:
            self._status, self._since = "waiting", self._heard_at

    def _paint(self) -> None:
        began = time.monotonic()
        self._painter.paint(self._taken(), self._tail())
        self._painted_at, self._dirty = time.monotonic(), False
        self._pause_s = max(FRAME_S, 4 * (self._painted_at - began))

    def _taken(self) -> list[Piece]:
        pieces: list[Piece] = []
        while self._items:
            front = self._items[0]
            pieces += front.take(self.console.width)
            if not front.is_done:
                break
            self._items.popleft()
        return pieces

    def _tail(self) -> list[Piece]:
        if self._held:
            return []
        pieces = [piece for item in self._items for piece in item.live(self.console.width)]
        if self._status:
            now = time.monotonic()
            told = f"{self._glyphs.turning(now)} {self._status.strip()}"
            waited = f" {seconds(int(now - self._since))}" if now - self._since >= 1 else ""
            pieces.append(Piece(Text(one_line(told + waited, 79), style="dim"), gap=True))
        return pieces
