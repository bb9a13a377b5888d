"""Between the service and `travel`: documents out of a state, facts out of a document."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from palaver.domain.errors import InvalidInput
from palaver.domain.events import Event, Recorded
from palaver.domain.ids import BlobId
from palaver.domain.state import ConversationState
from palaver.service.transfer import ExportFormat, copied, facts_of
from palaver.travel.base import Repair

Blobs = Mapping[BlobId, bytes | None]


class Incoming(msgspec.Struct, frozen=True):
    """One conversation of a file, as facts to be stored."""

    format: str
    facts: tuple[Event, ...]
    blobs: dict[BlobId, bytes]
    repairs: tuple[Repair, ...] = ()


def document(format: ExportFormat, state: ConversationState, blobs: Blobs) -> bytes:
    """The conversation as a document that people or other programs read."""
    from palaver.travel import html, markdown, openai_format

    match format:
        case "markdown":
            return markdown.write(state).encode()
        case "html":
            return html.write(state, blobs=blobs.get).encode()
        case "openai":
            return openai_format.write(state, blobs=blobs.get).encode()
        case _:
            raise InvalidInput(
                f"there is no export format {format!r}",
                hint="Choose one of: markdown, jsonl, openai, html.",
            )


def lossless(state: ConversationState, records: Sequence[Recorded], blobs: Blobs) -> bytes:
    """Every fact and attachment as JSON Lines; reading it back gives the same conversation."""
    from palaver.travel import own

    return b"".join(own.write(records, state=state, blobs=blobs.get))


def incoming(data: bytes, *, name: str, format: str | None) -> tuple[Incoming, ...]:
    """The conversations that `data` holds. Raises InvalidInput when nothing can read it."""
    from palaver.travel import detect, own

    if format in (None, "palaver") and own.sniff(data):
        return tuple(_own(data))
    return tuple(
        Incoming(read.format, facts_of(read), read.blobs, read.repairs)
        for read in detect.read(data, name=name, format=format)
    )


def _own(data: bytes) -> Iterator[Incoming]:
    from palaver.travel import own

    _, records, blobs = own.read_records(data)
    yield Incoming("palaver", copied(records), dict(blobs))
