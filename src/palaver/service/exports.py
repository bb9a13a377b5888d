"""Between the service and `travel`: documents out of a state, facts out of a document."""

from collections.abc import Mapping, Sequence

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
            return openai_format.write(state, blobs=blobs.get).line
        case _:
            raise InvalidInput(
                f"there is no export format {format!r}",
                hint="Choose one of: markdown, jsonl, openai, html.",
            )


def lossless(state: ConversationState, records: Sequence[Recorded], blobs: Blobs) -> bytes:
    """Every fact and attachment as JSON Lines; reading it back gives the same conversation."""
    from palaver.travel import own

    header = own.Header(
        conversation=state.id, title=state.metadata.title, created_at=state.created_at
    )
    return b"".join(own.write(records, header=header, blobs=blobs.get))


def incoming(data: bytes, *, name: str, format: str | None) -> tuple[Incoming, ...]:
    """The conversations that `data` holds. Raises InvalidInput when nothing can read it."""
    from palaver.travel import detect, own
    from palaver.travel.source import Source

    source = Source(data, name=name)
    if (format or detect.told(source)) == own.NAME:
        _, records, blobs = own.read_records(source.data)
        return (Incoming(own.NAME, copied(records), blobs),)
    return tuple(
        Incoming(read.format, facts_of(read), read.blobs, read.repairs)
        for read in detect.read(data, name=name, format=format)
    )
