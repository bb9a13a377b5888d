"""What can go wrong below the protocol, as values that are passed with a scripted reply.

Failures that a provider reports itself are steps of the script (`Fail`, `Cut`). `after` counts
frames of the reply, opening ones included: 0 is before the first byte of the body.
"""

import asyncio
from typing import Any, TypeAlias

import msgspec


class Answer(msgspec.Struct, frozen=True):
    """This HTTP answer instead of a stream. An object is sent as JSON, text as it is.

    Without a body the provider's own error format for this status is sent.
    """

    status: int
    body: dict[str, Any] | str | None = None
    headers: dict[str, str] = {}
    content_type: str = ""


class Reset(msgspec.Struct, frozen=True):
    """The connection is reset (RST) after this many frames; 0: before any header."""

    after: int = 0


class Hang(msgspec.Struct, frozen=True):
    """Silence before the headers, until the event is set or the client leaves."""

    until: asyncio.Event | None = None


class End(msgspec.Struct, frozen=True):
    """The body ends cleanly after this many frames, without its end marker."""

    after: int


class Severed(msgspec.Struct, frozen=True):
    """The connection ends after so many bytes of the body, wherever that is. `reset`: with a RST
    instead of a clean end."""

    after_bytes: int
    reset: bool = False


class Pings(msgspec.Struct, frozen=True):
    """After so many frames only keep-alives come, until the event is set or the client leaves."""

    after: int
    every_s: float = 0.01
    until: asyncio.Event | None = None


class Broken(msgspec.Struct, frozen=True):
    """After so many frames comes one whose data is no JSON."""

    after: int


class Stray(msgspec.Struct, frozen=True):
    """After so many frames comes an event of a type that nobody knows."""

    after: int


class Linger(msgspec.Struct, frozen=True):
    """After the end marker the response stays open, until the client leaves."""


class Split(msgspec.Struct, frozen=True):
    """The body is sent in pieces of `chunk` bytes, each in a write of its own."""

    chunk: int = 1


class Type(msgspec.Struct, frozen=True):
    """The body has this content type."""

    content_type: str


Fault: TypeAlias = (
    Answer | Reset | Hang | End | Severed | Pings | Broken | Stray | Linger | Split | Type
)
Placed: TypeAlias = Reset | End | Pings | Broken | Stray


def placed(faults: tuple[Fault, ...]) -> dict[int, Placed]:
    """The faults that strike within the stream, by the frame after which they do."""
    return {f.after: f for f in faults if isinstance(f, Placed)}
