"""Messages of other programs: what `palaver.context` takes and gives back.

A kind knows one form of message. It reads an object of that form as a `Message` of ours, from which
everything is decided, and writes new ones in the same form. Objects that need no change are never
copied, so what is kept is the very object that came in; none is ever changed in place.
"""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import msgspec

from palaver.domain.messages import Message, ToolCall, ToolResult

Foreign: TypeAlias = object
"""A message in somebody's form."""
LEGACY = "function_call"
"""`ToolCall.native` of a call in the form that chat completions had before tools."""


class Read(msgspec.Struct, frozen=True):
    """What an object says. Results are blocks of it wherever their form puts them."""

    message: Message
    is_sound: bool = True
    """Whether providers take this form; else it is written anew."""


class Given(msgspec.Struct, frozen=True):
    """The answer to one call. `source`: the object that it came in; None where it is ours."""

    call: ToolCall
    result: ToolResult
    source: Foreign | None = None
    is_changed: bool = False
    """Whether it says something else than `source`, or in another form."""


class Kind(Protocol):
    """One form of message."""

    def read(self, foreign: Foreign) -> Read:
        """What it says. Raises InvalidInput for what is no message of a conversation."""
        ...

    def user(self, text: str) -> Foreign:
        """A message of the user."""
        ...

    def asking(self, source: Foreign, message: Message) -> Foreign:
        """A copy of an assistant's message with the calls of `message`."""
        ...

    def answers(self, given: Sequence[Given]) -> tuple[Foreign, ...]:
        """All that answers one message's calls; sources that need no change themselves."""
        ...
