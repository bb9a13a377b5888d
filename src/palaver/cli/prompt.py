"""The line that a person types at: history, several lines, completion, a toolbar.

Only prompt_toolkit is imported here, so that the prompt is there while everything else loads.
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, ThreadedHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.styles import Style

if TYPE_CHECKING:
    from palaver.cli.session import ChatSession

STYLE = Style.from_dict(
    {
        "bottom-toolbar": "noreverse fg:ansibrightblack",
        "prompt": "bold fg:ansicyan",
        "question": "bold fg:ansiyellow",
    }
)
LOADING = "loading …"


class Prompt:
    """Asks for messages and for answers to questions."""

    def __init__(self) -> None:
        self.shown = asyncio.Event()
        """Set when the prompt is on the screen."""
        self._chat: ChatSession | None = None
        self._session: PromptSession[str] = PromptSession(
            history=ThreadedHistory(_LateHistory()),
            key_bindings=_keys(self._leave_edit),
            completer=_Slashes(lambda: self._chat),
            complete_while_typing=Condition(self._is_slash),
            multiline=True,
            bottom_toolbar=self._toolbar,
            prompt_continuation="  ",
            style=STYLE,
            enable_open_in_editor=True,
            reserve_space_for_menu=6,
        )
        self._session.app.after_render += lambda _: self.shown.set()
        self._question: PromptSession[str] = PromptSession(style=STYLE, key_bindings=_answer_keys())
        encoding = (sys.stdout.encoding or "").lower()
        self._sign = "\n› " if encoding.startswith("utf") else "\n> "

    def connect(self, chat: "ChatSession") -> None:
        """The chat is open: toolbar and completion speak of it."""
        self._chat = chat
        self._session.app.invalidate()

    async def message(self, draft: str = "") -> str | None:
        """The next message, which may begin with a draft; None when the person leaves."""
        try:
            return await self._session.prompt_async(
                FormattedText([("class:prompt", self._sign)]), handle_sigint=False, default=draft
            )
        except EOFError:
            return None

    async def question(self, text: str) -> str | None:
        """The answer to a question; None for Ctrl-C and Ctrl-D."""
        try:
            return await self._question.prompt_async(
                FormattedText([("class:question", text)]), handle_sigint=False
            )
        except (EOFError, KeyboardInterrupt):
            return None

    def _leave_edit(self) -> None:
        if self._chat is not None:
            self._chat.editing = None

    def _toolbar(self) -> str:
        return " " + (LOADING if self._chat is None else self._chat.toolbar())

    def _is_slash(self) -> bool:
        return self._session.default_buffer.text.startswith("/")


def _keys(cleared: Callable[[], None]) -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state and buffer.complete_state.current_completion:
            buffer.complete_state = None
        elif buffer.document.current_line_before_cursor.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.newline(copy_margin=False)
        elif buffer.text.strip():
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    @keys.add("c-j")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    @keys.add("c-c")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.reset()
        cleared()

    return keys


def _answer_keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        if event.current_buffer.text.strip():
            event.current_buffer.validate_and_handle()

    return keys


class _Slashes(Completer):
    """Completes slash commands, and what may follow them once the chat is open."""

    def __init__(self, chat: "Callable[[], ChatSession | None]") -> None:
        self._chat = chat

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
        """Nothing: the asynchronous form is the one that is used."""
        return ()

    async def get_completions_async(
        self, document: Document, event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        """What fits before the cursor."""
        line = document.text_before_cursor
        chat = self._chat()
        if chat is None or not line.startswith("/") or "\n" in line:
            return
        from palaver.cli.commands import COMMANDS

        name, space, rest = line.partition(" ")
        if not space:
            for command in COMMANDS.values():
                if command.name.startswith(name):
                    yield Completion(
                        command.name, -len(name), display_meta=f"{command.hint} {command.what}"
                    )
            return
        found = COMMANDS.get(name)
        if found is not None and found.choices is not None:
            for choice, about in await found.choices(chat, rest):
                if choice.startswith(rest) or (":" in choice and rest and rest in choice):
                    yield Completion(choice, -len(rest), display_meta=about)


class _LateHistory(History):
    """A file in the data folder, which is looked up in the background: that takes imports."""

    def __init__(self) -> None:
        super().__init__()
        self._file: FileHistory | None = None

    def load_history_strings(self) -> Iterable[str]:
        """Newest first; nothing where it cannot be read."""
        try:
            return list(self._opened().load_history_strings())
        except (OSError, ValueError):
            return []

    def store_string(self, string: str) -> None:
        """Remember a line; a full disk loses it and harms nothing else."""
        with suppress(OSError, ValueError):
            self._opened().store_string(string)

    def _opened(self) -> FileHistory:
        if self._file is None:
            path = _history_path()
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
            self._file = FileHistory(str(path))
        return self._file


def _history_path() -> Path:
    from palaver.domain.errors import ConfigurationError
    from palaver.environment import read_environment

    try:
        return read_environment().home / "history"
    except ConfigurationError as error:  # told to the person by whoever opens the service
        raise ValueError(str(error)) from error


@contextmanager
def quiet_keys() -> Iterator[None]:
    """Within it, keys typed between two prompts are not echoed; the next prompt gets them.

    Ctrl-C goes on sending its signal. Enter stays Enter: a terminal would else hand on the newline
    of Ctrl-J, and two lines typed ahead would become one message.
    """
    try:
        import termios

        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (ImportError, OSError, ValueError):
        yield
        return
    quiet = [*before]
    quiet[0] &= ~termios.ICRNL
    quiet[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(descriptor, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
