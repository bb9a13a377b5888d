"""Palaver's own file: every fact of a conversation as one line of JSON, and the bytes it refers to.

    {"palaver":1,"conversation":"conv_…","title":"…","created_at":1772373900.0}
    {"seq":1,"at":1772373900.0,"v":1,"type":"conversation.created",…}
    …
    {"blob":"sha256:…","data":"<base64>"}          only what the facts refer to; null: it was gone
    {"end":{"facts":12,"blobs":1}}                 so that a file that was cut is told as such

Nothing is lost on the way there and back: same facts, same hash. Facts of a newer Palaver pass as
the bytes they are. Files without the first and last line, which Palaver 0.1 wrote, are read too.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from palaver import codec
from palaver.domain.branches import Tail
from palaver.domain.errors import InvalidInput, InvalidTransition
from palaver.domain.events import Event, MessageAdded, Recorded, ToolResolved, UnknownEvent
from palaver.domain.ids import BlobId, ConversationId, MessageId
from palaver.domain.messages import Block, File, Image, Message, ToolResult
from palaver.domain.reducer import fold
from palaver.domain.state import ConversationState
from palaver.travel.attachments import ReadBlob, blob_id
from palaver.travel.base import Imported, Repair
from palaver.travel.repair import repair
from palaver.travel.source import Source

NAME = "palaver"
VERSION = 1
MAX_LINE = 256 * 1024 * 1024
"""Bytes of one line, which are one fact or one blob in base64."""
_encode = msgspec.json.Encoder().encode
_FACT = re.compile(rb'\{"seq":(\d{1,15}),"at":(-?[\d.eE+-]{1,30}),"v":(\d{1,9}),')
_TYPED = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BLOB = re.compile(rb"sha256:[0-9a-f]{64}")


class Header(msgspec.Struct, frozen=True):
    """The first line."""

    palaver: int = VERSION
    conversation: ConversationId = ConversationId("")
    title: str = ""
    created_at: float = 0.0
    """Seconds since 1970 (UTC)."""


class _BlobLine(msgspec.Struct):
    blob: str
    data: str | None


class _Count(msgspec.Struct):
    facts: int
    blobs: int


class _End(msgspec.Struct):
    end: _Count


def write(records: Iterable[Recorded], *, header: Header, blobs: ReadBlob) -> Iterator[bytes]:
    """The lines of the file, each with its line end."""
    yield _encode(header) + b"\n"
    facts, wanted = 0, dict[BlobId, None]()
    for recorded in records:
        wanted |= dict.fromkeys(references(recorded.event))
        facts += 1
        yield codec.encode_recorded(recorded) + b"\n"
    for blob in wanted:
        data = blobs(blob)
        text = None if data is None else base64.b64encode(data).decode()
        yield _encode({"blob": blob, "data": text}) + b"\n"
    yield _encode({"end": {"facts": facts, "blobs": len(wanted)}}) + b"\n"


def references(event: Event | UnknownEvent) -> Iterator[BlobId]:
    """The blobs that a fact refers to; what a newer Palaver wrote is searched for their names."""
    match event:
        case MessageAdded(message=message):
            for block in message.content:
                yield from _of(block)
        case ToolResolved(result=result):
            yield from _of(result)
        case UnknownEvent(raw=raw):
            yield from (BlobId(name.decode()) for name in _BLOB.findall(raw))
        case _:
            pass


def _of(block: Block) -> Iterator[BlobId]:
    match block:
        case Image(blob=str(blob)) | File(blob=str(blob)):
            yield blob
        case ToolResult(content=content, full=full):
            for part in content:
                yield from _of(part)
            if full is not None:
                yield full
        case _:
            pass


def read_records(data: bytes) -> tuple[Header, tuple[Recorded, ...], dict[BlobId, bytes]]:
    """What `write` wrote. Raises InvalidInput, with the line's number, for anything damaged."""
    reader = _Reader()
    for number, line in _lines(Source(data).data):
        reader.take(number, line)
    return reader.finish()


def read(data: bytes) -> Imported:
    """The conversation with all its branches. Raises InvalidInput when the file is damaged."""
    header, records, blobs = read_records(data)
    try:
        state = fold(ConversationState(header.conversation), records)
    except InvalidTransition as error:
        raise InvalidInput(f"the facts do not follow each other: {error}") from error
    path: Sequence[Message] = state.messages
    repairs: tuple[Repair, ...] = ()
    if state.pending_calls:  # exported in the middle of a turn
        path, repairs = repair(path)
    return Imported(
        NAME,
        tuple(_tree(path, state.aside)),
        path[-1].id if path else None,
        title=state.metadata.title,
        created_at=state.created_at or None,
        model=state.preferences.model,
        system=state.preferences.system,
        custom={**state.metadata.custom, "conversation": header.conversation},
        blobs=blobs,
        repairs=repairs,
    )


def _tree(path: Sequence[Message], aside: Sequence[Tail]) -> Iterator[Message]:
    """The path, then every tail once the message that it begins behind was given."""
    given: set[MessageId | None] = {None}
    waiting = [Tail(None, tuple(path)), *aside]
    while waiting:
        ready = [tail for tail in waiting if tail.parent in given]
        if not ready:
            raise InvalidInput("a branch begins behind a message that is not there")
        waiting = [tail for tail in waiting if tail.parent not in given]
        for tail in ready:
            parent = tail.parent
            for message in tail.messages:
                yield replace(message, parent=parent)
                parent = message.id
            given.update(message.id for message in tail.messages)


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines that hold something, with their numbers from 1."""
    start, number = 0, 1
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        if end - start > MAX_LINE:
            raise InvalidInput(f"line {number} is longer than {MAX_LINE:,} bytes")
        if line := data[start:end].strip():
            yield number, line
        start, number = end + 1, number + 1


class _Reader:
    def __init__(self) -> None:
        self._header: Header | None = None
        self._records: list[Recorded] = []
        self._blobs: dict[BlobId, bytes] = {}
        self._named = 0
        self._end: _Count | None = None

    def take(self, number: int, line: bytes) -> None:
        """One line. Raises InvalidInput with its number."""
        try:
            if self._end is not None:
                raise ValueError("something follows the end")
            self._sort(number, line)
        except (ValueError, RecursionError, KeyError) as error:  # msgspec's are ValueErrors
            raise InvalidInput(f"line {number} is damaged: {error}") from error

    def _sort(self, number: int, line: bytes) -> None:
        if _FACT.match(line):
            self._fact(_fact(line))
            return
        keys = _TYPED.decode(line).keys()
        if "palaver" in keys and number == 1:
            self._header = _supported(msgspec.json.decode(line, type=Header))
        elif "blob" in keys:
            self._blob(msgspec.json.decode(line, type=_BlobLine))
        elif "end" in keys and "seq" not in keys:
            self._end = msgspec.json.decode(line, type=_End).end
        else:
            self._fact(codec.decode_recorded(line))

    def _fact(self, recorded: Recorded) -> None:
        if recorded.seq != len(self._records) + 1:
            raise ValueError(f"fact {recorded.seq} where {len(self._records) + 1} was due")
        self._records.append(recorded)

    def _blob(self, line: _BlobLine) -> None:
        self._named += 1
        if line.data is None:
            return
        try:
            data = base64.b64decode(line.data, validate=True)
        except binascii.Error as error:
            raise ValueError(f"no base64: {error}") from error
        if blob_id(data) != line.blob:
            raise ValueError("the bytes are not the ones that the blob is named after")
        self._blobs[BlobId(line.blob)] = data

    def finish(self) -> tuple[Header, tuple[Recorded, ...], dict[BlobId, bytes]]:
        """What was read. Raises InvalidInput when something is missing."""
        found = (len(self._records), self._named)
        if self._header is not None and self._end is None:
            raise InvalidInput("the file ends early: its last line is missing")
        if self._end is not None and (self._end.facts, self._end.blobs) != found:
            raise InvalidInput(
                f"{self._end.facts} facts and {self._end.blobs} blobs were written, "
                f"{found[0]} and {found[1]} are here"
            )
        if not self._records:
            raise InvalidInput("the file holds no facts")
        return self._header or Header(), tuple(self._records), self._blobs


def _supported(header: Header) -> Header:
    if header.palaver > VERSION:
        raise InvalidInput(
            f"the file has version {header.palaver}, this Palaver reads up to {VERSION}",
            hint="Import it with a newer Palaver.",
        )
    return header


def _fact(line: bytes) -> Recorded:
    """A line as `write` writes it. The body is cut out, not decoded and encoded again: what a newer
    Palaver wrote must stay byte for byte."""
    match = _FACT.match(line)
    assert match is not None
    body = b"{" + line[match.end() :]
    kind = msgspec.json.decode(_TYPED.decode(body)["type"], type=str)
    event = codec.decode_event(body, kind, int(match[3]))
    return Recorded(int(match[1]), float(match[2]), event)
