"""Server-sent events from bytes, for the wires of the providers.

A busy stream brings hundreds of events in one read, so the common shapes (`data: …` alone, or
behind one `event: …` line) are cut out with `bytes.find`; everything else goes line by line, as the
HTML standard says (https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6).
Bytes stay bytes: a character that is split between two reads needs no care here.
"""

import msgspec

from palaver.domain.errors import ProtocolViolation

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""The largest event accepted; what real providers send stays far below 1 MiB."""

_BOM = b"\xef\xbb\xbf"


class Sse(msgspec.Struct, frozen=True, gc=False):
    """One event: its name, empty where no `event:` line came, and its data lines."""

    event: bytes
    data: bytes


class SseParser:
    """Feeds on any split of the stream. Comments, `id` and `retry` are dropped."""

    __slots__ = ("_after_cr", "_begun", "_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        """What follows the last complete event; joined only when its end has come."""
        self._size = 0
        self._after_cr = False
        self._begun = False

    def feed(self, chunk: bytes) -> list[Sse]:
        r"""The events that `chunk` completes.

        Raises ProtocolViolation when an event is larger than `MAX_EVENT_BYTES`.
        """
        if self._after_cr or b"\r" in chunk:
            chunk = self._normalised(chunk)
        if not chunk:
            return []
        pieces = self._pieces
        if b"\n\n" not in chunk and not (
            pieces and chunk.startswith(b"\n") and pieces[-1].endswith(b"\n")
        ):
            self._keep(chunk)
            return []
        if pieces:
            chunk = b"".join((*pieces, chunk))
            pieces.clear()
            self._size = 0
        return self._events(chunk)

    def finish(self) -> list[Sse]:
        """The event that the end of the stream left without its blank line, if there is one.

        The standard drops it. Servers that close right after their end marker make it worth a look,
        so callers decide whether it is whole.
        """
        rest = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        found = self._event(rest)
        return [] if found is None else [found]

    def _normalised(self, chunk: bytes) -> bytes:
        # A read may end between \r and \n: the \n then belongs to the line that has ended already.
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        if chunk:
            self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _keep(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > MAX_EVENT_BYTES:
            raise ProtocolViolation(
                f"an event of the stream is larger than {MAX_EVENT_BYTES} bytes"
            )
        self._pieces.append(chunk)

    def _events(self, buffer: bytes) -> list[Sse]:
        events: list[Sse] = []
        start = 0
        while (end := buffer.find(b"\n\n", start)) >= 0:
            found = self._event(buffer[start:end])
            if found is not None:
                events.append(found)
            start = end + 2
        if start < len(buffer):
            self._keep(buffer[start:])
        return events

    def _event(self, block: bytes) -> Sse | None:
        if not self._begun:
            self._begun = True
            block = block.removeprefix(_BOM)
        first = block.find(b"\n")
        if first < 0:
            if block.startswith(b"data: "):
                return Sse(b"", block[6:])
        elif (
            block.startswith(b"event: ")
            and block.startswith(b"data: ", first + 1)
            and block.find(b"\n", first + 1) < 0
        ):
            return Sse(block[7:first], block[first + 7 :])
        return _by_lines(block)


def _by_lines(block: bytes) -> Sse | None:
    event, lines = b"", []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            lines.append(value.removeprefix(b" "))
        elif field == b"event":
            event = value.removeprefix(b" ")
    return Sse(event, b"\n".join(lines)) if lines else None
