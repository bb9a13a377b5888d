"""An answer of one of OpenAI's APIs while it grows: events for the reader, blocks for the history.

Both assemblers (chat completions, responses) write into it. It joins adjacent deltas of one read to
one event, keeps text storable although characters may be split between deltas, gives calls ids that
are unique in the message, and knows which calls are complete.
"""

from typing import Protocol

from palaver.domain.errors import ProtocolViolation
from palaver.domain.ids import CallId
from palaver.domain.messages import Block, ToolCall
from palaver.domain.text import REPLACEMENT, clean
from palaver.domain.values import Usage
from palaver.providers.arguments import ObjectScanner
from palaver.providers.base import (
    CallArguments,
    CallCompleted,
    CallStarted,
    Finished,
    ModelEvent,
    ReasoningPart,
    TextPart,
    UsageKnown,
)


class Assembler(Protocol):
    """Payloads of one stream in, events out. Knows nothing of HTTP and waits for nothing."""

    ended: bool
    """Whether the end marker has come; nothing is fed after it."""

    def feed(self, payload: bytes) -> bool:
        """Take the data of one event. Returns whether the answer went on; raises ProviderError."""
        ...

    def document(self, payload: bytes) -> None:
        """Take a whole answer, from a server that does not stream. Raises ProviderError."""
        ...

    def close(self) -> None:
        """The stream is over. Raises StreamTruncated unless the answer is complete."""
        ...

    def take(self) -> list[ModelEvent]:
        """The events since the last call."""
        ...

    def partial(self) -> tuple[Block, ...]:
        """What has come so far."""
        ...

    @property
    def usage(self) -> Usage | None:
        """What was reported so far."""
        ...


class Growing:
    """A text that grows by deltas. Half a surrogate pair waits for its other half."""

    __slots__ = ("_half", "_pieces", "sanitised")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._half = ""
        self.sanitised = False

    def __bool__(self) -> bool:
        return bool(self._pieces or self._half)

    def add(self, text: str, *, halves: bool) -> str:
        """What `text` adds to the storable text. `halves`: this stream splits characters."""
        if "\x00" in text:
            text = text.replace("\x00", REPLACEMENT)
            self.sanitised = True
        if halves:
            text = self._half + text
            self._half = ""
            if text and "\ud800" <= text[-1] <= "\udbff":
                text, self._half = text[:-1], text[-1]
            text, lost = clean(text)
            self.sanitised = self.sanitised or lost
        if text:
            self._pieces.append(text)
        return text

    def rest(self) -> str:
        """What is added by the end: U+FFFD where half a character was left."""
        if not self._half:
            return ""
        self._half = ""
        self.sanitised = True
        self._pieces.append(REPLACEMENT)
        return REPLACEMENT

    @property
    def text(self) -> str:
        """Everything so far."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""


class GrowingCall(Growing):
    """A tool call. It has an id once it was shown to the reader."""

    __slots__ = ("call", "custom", "id", "name", "scanner", "wire_id")

    def __init__(self, *, wire_id: str = "", name: str = "", custom: bool = False) -> None:
        super().__init__()
        self.wire_id, self.name, self.custom = wire_id, name, custom
        self.id = ""
        self.scanner = ObjectScanner()
        self.call: ToolCall | None = None
        """The complete call."""


class Answer:
    """Collects the events of one read, and what has been said so far."""

    def __init__(self, *, origin: str) -> None:
        self.origin = origin
        self.halves = False
        """Whether a payload held half a character; from then on deltas are looked at closely."""
        self.known: Usage | None = None
        self._events: list[ModelEvent] = []
        self._what: Growing | type[TextPart] | type[ReasoningPart] = TextPart
        self._pieces: list[str] = []
        self._ids: set[str] = set()

    def take(self) -> list[ModelEvent]:
        """The events since the last call."""
        self._flush()
        events, self._events = self._events, []
        return events

    def say(self, run: Growing, text: str) -> None:
        """Visible text goes on."""
        self._grow(TextPart, run.add(text, halves=self.halves))

    def think(self, run: Growing, text: str) -> None:
        """Visible thinking goes on."""
        self._grow(ReasoningPart, run.add(text, halves=self.halves))

    def fill(self, call: GrowingCall, text: str) -> bool:
        """The arguments go on. Returns whether they are a closed object by now.

        Raises ProtocolViolation when they went on after the call was complete.
        """
        if call.call is not None:
            if text.strip():
                raise ProtocolViolation(
                    f"arguments of {call.name!r} after their end", in_stream=True
                )
            return True
        added = call.add(text, halves=self.halves)
        if call.id:
            self._grow(call, added)
        if call.scanner.closed and added.strip():
            call.scanner = ObjectScanner()  # what closed was a placeholder
        return call.scanner.feed(added)

    def end_run(self, run: Growing, *, thought: bool = False) -> None:
        """The text ends here; what was held back of it is shown."""
        if rest := run.rest():
            self._grow(ReasoningPart if thought else TextPart, rest)

    def begin(self, call: GrowingCall) -> None:
        """Show the call to the reader, under an id that no other call of this message has."""
        call.name = clean(call.name)[0]
        call.id = self._unique(clean(call.wire_id)[0])
        self._emit(CallStarted(call.id, call.name))
        if call:
            self._grow(call, call.text)

    def complete(
        self, call: GrowingCall, *, arguments: str | None = None, native: str = ""
    ) -> None:
        """The call is complete. `arguments`: the whole of them, where the wire repeats them."""
        if call.call is not None:
            return
        if not call.id:
            self.begin(call)
        if rest := call.rest():
            self._grow(call, rest)
        whole = call.text if arguments is None else clean(arguments)[0]
        if not call and whole:
            self._grow(call, call.add(whole, halves=False))
        if not call.custom:
            whole = _without_placeholder(whole)
        origin = self.origin if native else ""
        call.call = ToolCall(CallId(call.id), call.name, whole, origin=origin, native=native)
        self._emit(CallCompleted(call.call))

    def count(self, usage: Usage) -> None:
        """The provider said what was used so far."""
        if usage != self.known:
            self.known = usage
            self._emit(UsageKnown(usage))

    def finish(self, finished: Finished) -> None:
        """The message is complete; nothing follows."""
        self._emit(finished)

    def _grow(self, what: "GrowingCall | type[TextPart] | type[ReasoningPart]", text: str) -> None:
        if not text:
            return
        if what is not self._what:
            self._flush()
            self._what = what
        self._pieces.append(text)

    def _flush(self) -> None:
        if not self._pieces:
            return
        text = "".join(self._pieces)
        self._pieces.clear()
        what = self._what
        if isinstance(what, GrowingCall):
            self._events.append(CallArguments(what.id, text))
        elif what is ReasoningPart:
            self._events.append(ReasoningPart(text))
        else:
            self._events.append(TextPart(text))

    def _emit(self, event: ModelEvent) -> None:
        self._flush()
        self._events.append(event)

    def _unique(self, wanted: str) -> str:
        wanted = wanted or f"call_{len(self._ids)}"
        found, number = wanted, 1
        while found in self._ids:
            number += 1
            found = f"{wanted}_{number}"
        self._ids.add(found)
        return found


def _without_placeholder(arguments: str) -> str:
    # Some servers open every call with `{}` and send the arguments behind it.
    if not arguments or arguments.isspace():
        return "{}"
    rest = arguments[2:].lstrip() if arguments.startswith("{}") else ""
    return rest if rest.startswith("{") else arguments
