"""A list of conversations to choose from, narrowed while one types.

It stands below the cursor, not over the whole screen, and leaves nothing behind. Words are looked
for in titles and last questions, which are in memory, and then in everything that was said.
"""

import asyncio
import sys
import time
from typing import TYPE_CHECKING

import msgspec
from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import HSplit, Layout, Window
from prompt_toolkit.layout.controls import BufferControl, FormattedTextControl
from prompt_toolkit.layout.processors import BeforeInput
from prompt_toolkit.output import create_output
from prompt_toolkit.styles import Style

from palaver.cli.safe import one_line
from palaver.cli.tables import age
from palaver.domain.errors import PalaverError
from palaver.domain.ids import ConversationId

if TYPE_CHECKING:
    from palaver.service.manager import ConversationManager
    from palaver.store.base import ConversationSummary

ROWS = 10
LOADED = 1_000
"""Conversations whose titles are looked through; full text is looked for in all."""
PAUSE_S = 0.12
"""Of no typing, before everything that was said is searched."""
HITS = 60
STYLE = Style.from_dict({"sign": "bold fg:ansicyan", "dim": "fg:ansibrightblack", "hit": "bold"})


class Choice(msgspec.Struct, frozen=True):
    """A line of the list."""

    id: ConversationId
    changed_at: float
    messages: int
    text: str
    found: str = ""
    """What was said where the words are, when they are not in the title."""


class Finder:
    """Conversations by words: from titles at once, from what was said a moment later."""

    def __init__(self, manager: "ConversationManager") -> None:
        self._manager = manager
        self._every: list[Choice] = []

    async def load(self) -> None:
        """Read titles and last questions, the newest change first."""
        cursor: str | None = None
        while len(self._every) < LOADED:
            page = await self._manager.list(limit=200, cursor=cursor)
            self._every += [_choice(item) for item in page.items]
            cursor = page.cursor
            if cursor is None:
                break

    def by_title(self, query: str) -> list[Choice]:
        """Those with all words of `query` in title, last question, tags or id."""
        words = query.casefold().split()
        return [
            choice
            for choice in self._every
            if all(w in choice.text.casefold() or choice.id.endswith(w) for w in words)
        ]

    async def by_text(self, query: str, known: list[Choice]) -> list[Choice]:
        """Others in which `query` was said, the best first."""
        loaded = {choice.id: choice for choice in self._every}
        have = {choice.id for choice in known}
        found: list[Choice] = []
        for hit in await self._manager.search(query, limit=HITS):
            if hit.conversation not in have:
                have.add(hit.conversation)
                base = loaded.get(hit.conversation)
                base = base or Choice(hit.conversation, hit.at, 0, hit.title)
                found.append(msgspec.structs.replace(base, found=hit.snippet))
        return found


def _choice(item: "ConversationSummary") -> Choice:
    tags = "".join(f" #{tag}" for tag in item.metadata.tags)
    text = (item.metadata.title or item.preview) + tags
    return Choice(item.id, item.updated_at, item.messages, text)


async def pick(manager: "ConversationManager", *, query: str = "") -> ConversationId | None:
    """The conversation that a person chooses at the terminal; None when they leave."""
    finder = Finder(manager)
    await finder.load()
    return await _Picker(finder, query).run()


class _Picker:
    """The list on the screen."""

    def __init__(self, finder: Finder, query: str) -> None:
        self._finder = finder
        self._shown = finder.by_title(query)
        self._at, self._top = 0, 0
        self._buffer = Buffer(multiline=False, on_text_changed=lambda _: self._typed())
        self._searching: asyncio.Task[None] | None = None
        unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        self._sign = "› " if unicode else "> "
        # Standard output may be a pipe: `palaver show $(palaver list --pick)`.
        output = create_output(stdout=sys.stdout if sys.stdout.isatty() else sys.stderr)
        self._app: Application[ConversationId | None] = Application(
            layout=self._layout(),
            key_bindings=self._keys(),
            style=STYLE,
            erase_when_done=True,
            output=output,
        )
        self._app.ttimeoutlen = 0.05  # Esc leaves at once
        self._app.timeoutlen = 0.05
        if query:
            self._buffer.insert_text(query)

    async def run(self) -> ConversationId | None:
        """Show it until something is chosen."""
        return await self._app.run_async(handle_sigint=False)

    def _layout(self) -> Layout:
        asking = BufferControl(
            self._buffer, input_processors=[BeforeInput("find: ", style="class:sign")]
        )
        rows = Window(
            FormattedTextControl(self._rows), height=lambda: min(ROWS, max(1, len(self._shown)))
        )
        return Layout(
            HSplit(
                [
                    Window(asking, height=1),
                    rows,
                    Window(FormattedTextControl(self._footer), height=1, style="class:dim"),
                ]
            )
        )

    def _typed(self) -> None:
        query = self._buffer.text.strip()
        self._shown = self._finder.by_title(query)
        self._at = self._top = 0
        if self._searching is not None:
            self._searching.cancel()
        if query and self._app.is_running:
            self._searching = self._app.create_background_task(self._search(query))

    async def _search(self, query: str) -> None:
        await asyncio.sleep(PAUSE_S)
        try:
            more = await self._finder.by_text(query, self._shown)
        except PalaverError:
            return  # titles are found all the same
        self._shown = [*self._shown, *more]
        self._app.invalidate()

    def _rows(self) -> StyleAndTextTuples:
        if not self._shown:
            return [("class:dim", "  nothing found")]
        self._top = max(min(self._top, self._at), self._at - ROWS + 1)
        width, now = self._app.output.get_size().columns, time.time()
        told: StyleAndTextTuples = []
        for i, choice in enumerate(self._shown[self._top : self._top + ROWS], self._top):
            is_here = i == self._at
            count = f"{choice.messages} messages, " if choice.messages else ""
            when = count + age(now - choice.changed_at)
            text = one_line(_told(choice), max(10, width - len(when) - 6))
            told.append(("class:sign", self._sign if is_here else "  "))
            told.append(("class:hit" if is_here else "", text))
            told.append(("class:dim", f"  {when}\n"))
        return told

    def _footer(self) -> str:
        count = len(self._shown)
        return f"  {count} conversation{'' if count == 1 else 's'} · Enter opens, Esc leaves"

    def _move(self, by: int) -> None:
        self._at = max(0, min(len(self._shown) - 1, self._at + by))

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        def moving(by: int, *names: str) -> None:
            for name in names:
                keys.add(name)(lambda _: self._move(by))

        moving(-1, "up", "c-p", "s-tab")
        moving(1, "down", "c-n", "tab")
        moving(-ROWS, "pageup")
        moving(ROWS, "pagedown")

        @keys.add("enter")
        def _(event: KeyPressEvent) -> None:
            if self._shown:
                event.app.exit(result=self._shown[self._at].id)

        @keys.add("escape", eager=True)
        @keys.add("c-c")
        @keys.add("c-d")
        def _(event: KeyPressEvent) -> None:
            event.app.exit(result=None)

        return keys


def _told(choice: Choice) -> str:
    said = " ".join(choice.found.split())
    return f"{choice.text} — {said}" if said else choice.text or "(nothing said)"
