"""What a scripted model says: turns made of steps, for `ScriptedModel` and `ProviderServer` alike.

A turn may be written as text, as one step, as a provider error, as a list of these, or as a
function that looks at the request and returns one of them. `steps_of` brings all into one form.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from palaver.domain.clock import Clock
from palaver.domain.errors import ProviderError
from palaver.domain.messages import StopReason
from palaver.domain.values import Usage


class Say(msgspec.Struct, frozen=True):
    """Visible text, in pieces of `piece` characters (0: what the model or server is set to)."""

    text: str
    piece: int = 0


class Think(msgspec.Struct, frozen=True):
    """Reasoning that goes back to the provider. `redacted`: only its encrypted form is sent."""

    text: str
    piece: int = 0
    redacted: bool = False


class Decline(msgspec.Struct, frozen=True):
    """A refusal in the provider's own form; the turn's stop reason becomes REFUSAL."""

    text: str


class Call(msgspec.Struct, frozen=True):
    """A tool call. Arguments may be a JSON-able object, or text that is sent as it is.

    `id`: empty takes a fresh one. `piece`: characters of arguments at a time.
    `wait_s`, `until`: a pause in the middle of the arguments, as in `Pause`.
    """

    name: str
    arguments: dict[str, Any] | str = {}
    id: str = ""
    piece: int = 0
    wait_s: float = 0.0
    until: asyncio.Event | None = None

    @property
    def json(self) -> str:
        """The arguments as they are written."""
        if isinstance(self.arguments, str):
            return self.arguments
        return msgspec.json.encode(self.arguments).decode()


class Pause(msgspec.Struct, frozen=True):
    """Silence for `seconds`, and until the event is set."""

    seconds: float = 0.0
    until: asyncio.Event | None = None


class Fail(msgspec.Struct, frozen=True):
    """The provider fails here: before the stream when it is the first step, else within it."""

    error: ProviderError


class Cut(msgspec.Struct, frozen=True):
    """The stream ends here, without its end marker."""


class Report(msgspec.Struct, frozen=True):
    """Usage as the provider reports it, from here on and at the end; None: it reports none."""

    usage: Usage | None


class Stop(msgspec.Struct, frozen=True):
    """Why the message ends. Without this step: TOOL_USE after calls, else END_TURN."""

    reason: StopReason


Step: TypeAlias = Say | Think | Decline | Call | Pause | Fail | Cut | Report | Stop
Line: TypeAlias = str | Step | ProviderError
R = TypeVar("R")
T = TypeVar("T")
Turn: TypeAlias = Line | Sequence[Line] | Callable[[R], "Line | Sequence[Line]"]
"""R is what a function gets to see: a ModelRequest, or what the server received."""


def steps_of(turn: Turn[R], request: R) -> tuple[Step, ...]:
    """The steps of a turn, however it was written."""
    if callable(turn):
        turn = turn(request)
    lines: Sequence[Line] = (
        (turn,) if isinstance(turn, str | ProviderError | msgspec.Struct) else turn
    )
    return tuple(_step(line) for line in lines)


def _step(line: Line) -> Step:
    if isinstance(line, str):
        return Say(line)
    if isinstance(line, ProviderError):
        return Fail(line)
    return line


def pieces(text: str, size: int) -> Iterator[str]:
    """`text` in pieces of `size` characters; all at once when `size` is 0."""
    if size <= 0:
        yield text
        return
    for start in range(0, len(text), size):
        yield text[start : start + size]


def stop_of(steps: Sequence[Step]) -> StopReason:
    """The stop reason that a turn of these steps ends with."""
    for step in steps:
        if isinstance(step, Stop):
            return step.reason
    if any(isinstance(step, Decline) for step in steps):
        return StopReason.REFUSAL
    if any(isinstance(step, Call) for step in steps):
        return StopReason.TOOL_USE
    return StopReason.END_TURN


class Script(Generic[T]):
    """Turns (T) to be said one after another, and turns for requests that mention something."""

    def __init__(self, turns: Sequence[T] = ()) -> None:
        self._queue: list[T] = list(turns)
        self._keyed: list[tuple[str, T]] = []

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, turns: Sequence[T]) -> None:
        """Say these after what is scripted already."""
        self._queue.extend(turns)

    def when(self, mention: str, turn: T) -> None:
        """Say `turn` whenever the last user message holds `mention` (case does not matter)."""
        self._keyed.append((mention.casefold(), turn))

    def next(self, said: str) -> T | None:
        """What to answer to the user's words `said`; None when nothing is scripted."""
        said = said.casefold()
        for mention, turn in self._keyed:
            if mention in said:
                return turn
        return self._queue.pop(0) if self._queue else None


async def rest(seconds: float, until: asyncio.Event | None, clock: Clock) -> None:
    """The silence of a `Pause`."""
    if seconds > 0:
        await clock.sleep(seconds)
    if until is not None:
        await until.wait()
