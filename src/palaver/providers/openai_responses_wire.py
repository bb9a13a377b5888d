"""The events and items of the Responses API, as far as they are needed.

One flat type for all events: what a delta needs is decoded in one pass, items stay raw until they
are looked at, and what is unknown costs nothing.
"""

from typing import Any

import msgspec

from palaver.domain.values import Usage
from palaver.providers.openai_chat_wire import Details, Number

NOTHING = msgspec.Raw(b"")


class ResponseEvent(msgspec.Struct, gc=False):
    """One event of the stream."""

    type: str = ""
    output_index: int | None = None
    content_index: int | None = None
    summary_index: int | None = None
    item_id: str | None = None
    delta: str | dict[str, Any] | None = None
    arguments: str | dict[str, Any] | None = None
    input: str | None = None
    item: msgspec.Raw = NOTHING
    response: msgspec.Raw = NOTHING
    sequence_number: int | None = None


class ItemPart(msgspec.Struct, gc=False):
    """A part of a message, or of reasoning's summary or content."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    annotations: msgspec.Raw = NOTHING


class Kind(msgspec.Struct, gc=False):
    """What every output item has."""

    type: str = ""
    id: str | None = None


class Item(msgspec.Struct, gc=False):
    """A message, reasoning, or a call of ours; other items have fields of any shape."""

    type: str = ""
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | dict[str, Any] | None = None
    input: Any = None
    content: list[ItemPart] | str | None = None
    summary: list[ItemPart] | None = None
    encrypted_content: str | None = None


class Incomplete(msgspec.Struct, gc=False):
    """Why a response is incomplete."""

    reason: str | None = None


class ResponseCounts(msgspec.Struct, gc=False):
    """Token counts."""

    input_tokens: Number = None
    output_tokens: Number = None
    total_tokens: Number = None
    input_tokens_details: Details | None = None
    output_tokens_details: Details | None = None


class Response(msgspec.Struct, gc=False):
    """The response that events carry, and the answer that is not streamed."""

    id: str | None = None
    model: str | None = None
    status: str | None = None
    output: list[msgspec.Raw] | None = None
    incomplete_details: Incomplete | None = None
    usage: ResponseCounts | None = None
    error: Any = None


def usage_of(counts: ResponseCounts) -> Usage:
    """The counts in our categories, which do not overlap."""
    read = counts.input_tokens_details or Details()
    written = counts.output_tokens_details or Details()
    cached, created = int(read.cached_tokens or 0), int(read.cache_write_tokens or 0)
    prompt, output = int(counts.input_tokens or 0), int(counts.output_tokens or 0)
    beside = max(int(counts.total_tokens or 0) - prompt - output, 0)
    return Usage(
        input=max(prompt - cached - created, 0),
        output=output + beside,
        cache_read=cached,
        cache_creation=created,
        reasoning=int(written.reasoning_tokens or 0) or beside,
    )
