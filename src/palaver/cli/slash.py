"""What a slash command is."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from palaver.cli.screen import Screen
from palaver.cli.session import ChatSession

if TYPE_CHECKING:
    from palaver.streams.session import StreamSession

Run = Callable[[ChatSession, Screen, str], "Awaitable[StreamSession | None]"]
"""Does it. Where a turn was begun, the chat shows it."""
Choices = Callable[[ChatSession, str], Awaitable[Sequence[tuple[str, str]]]]
"""What may follow the command, each with a word about it."""


class Command(msgspec.Struct, frozen=True):
    """A slash command."""

    name: str
    hint: str
    what: str
    run: Run
    choices: Choices | None = None
