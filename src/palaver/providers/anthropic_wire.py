"""The events of the Messages API's stream, as types.

Only what is read is declared; msgspec skips everything else. A tag that is not listed makes
msgspec refuse the event: `decode` then reads it with the tolerant parser and keeps it as plain
JSON, so that a new kind of delta is not lost and a new kind of event does no harm. The same way is
taken for escapes of half characters (`"\\ud83d"`), which msgspec refuses.

Source: https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

import json
from typing import Any, TypeAlias, get_args

import msgspec

from palaver.domain.messages import StopReason
from palaver.domain.values import Usage


class TextDelta(msgspec.Struct, tag="text_delta", gc=False):
    """Text of a text block."""

    text: str = ""


class ThinkingDelta(msgspec.Struct, tag="thinking_delta", gc=False):
    """Text of a thinking block."""

    thinking: str = ""


class SignatureDelta(msgspec.Struct, tag="signature_delta", gc=False):
    """The proof of a thinking block; comes once, last."""

    signature: str = ""


class JsonDelta(msgspec.Struct, tag="input_json_delta", gc=False):
    """A piece of a tool's arguments."""

    partial_json: str = ""


class CitationsDelta(msgspec.Struct, tag="citations_delta"):
    """One citation of a text block."""

    citation: dict[str, Any] = {}


Delta: TypeAlias = TextDelta | ThinkingDelta | SignatureDelta | JsonDelta | CitationsDelta


class BlockDelta(msgspec.Struct, tag="content_block_delta"):
    """A block grew."""

    index: int
    delta: Delta


class BlockStart(msgspec.Struct, tag="content_block_start"):
    """A block began; opaque ones come whole."""

    index: int
    content_block: dict[str, Any]


class BlockStop(msgspec.Struct, tag="content_block_stop", gc=False):
    """A block is complete."""

    index: int


class OutputDetails(msgspec.Struct, gc=False):
    """What the output tokens were spent on."""

    thinking_tokens: int | None = None


class UsageCounts(msgspec.Struct, gc=False):
    """Cumulative counts; what a later event does not repeat stays as it was."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None


class Head(msgspec.Struct):
    """The message without its content."""

    id: str | None = ""
    model: str | None = ""
    usage: UsageCounts | None = None


class MessageStart(msgspec.Struct, tag="message_start"):
    """The message began."""

    message: Head


class Ending(msgspec.Struct, gc=False):
    """Why the message ends."""

    stop_reason: str | None = None


class MessageDelta(msgspec.Struct, tag="message_delta"):
    """The message is about to end."""

    delta: Ending
    usage: UsageCounts | None = None


class MessageStop(msgspec.Struct, tag="message_stop", gc=False):
    """The end marker."""


class Ping(msgspec.Struct, tag="ping", gc=False):
    """Nothing."""


class Failed(msgspec.Struct, tag="error"):
    """The provider failed after status 200."""


WireEvent: TypeAlias = (
    BlockDelta | BlockStart | BlockStop | MessageStart | MessageDelta | MessageStop | Ping | Failed
)

_decoder: msgspec.json.Decoder[WireEvent] = msgspec.json.Decoder(WireEvent)
_KNOWN = frozenset(str(kind.__struct_config__.tag) for kind in get_args(WireEvent))

_STOPS = {
    "end_turn": StopReason.END_TURN,
    "tool_use": StopReason.TOOL_USE,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "max_tokens": StopReason.MAX_TOKENS,
    "refusal": StopReason.REFUSAL,
    "pause_turn": StopReason.PAUSE,
    "model_context_window_exceeded": StopReason.CONTEXT_FULL,
}


def decode(data: bytes) -> "WireEvent | dict[str, Any] | None":
    """The event; plain JSON for a delta of unknown kind, None for an event of unknown kind.

    Raises ValueError when `data` is no event at all.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _tolerant(data)


def stop_reason(wire: str | None) -> StopReason:
    """The wire's stop reason in our terms; unknown ones are not good."""
    return _STOPS.get(wire or "", StopReason.OTHER)


def merged(usage: Usage | None, counts: UsageCounts) -> Usage:
    """`usage` with the newer cumulative counts."""
    known = usage or Usage()
    details = counts.output_tokens_details
    return Usage(
        _newer(counts.input_tokens, known.input),
        _newer(counts.output_tokens, known.output),
        _newer(counts.cache_read_input_tokens, known.cache_read),
        _newer(counts.cache_creation_input_tokens, known.cache_creation),
        _newer(details.thinking_tokens if details else None, known.reasoning),
    )


def _newer(count: int | None, known: int) -> int:
    return known if count is None else max(count, 0)


def _tolerant(data: bytes) -> "WireEvent | dict[str, Any] | None":
    try:
        plain = json.loads(data.decode("utf-8", "replace"), strict=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(plain, dict):
        raise ValueError("not a JSON object")
    kind = plain.get("type")
    if not isinstance(kind, str) or kind not in _KNOWN:
        if kind is None and "error" in plain:
            return Failed()
        return None
    try:
        event: WireEvent = msgspec.convert(plain, WireEvent)
        return event
    except msgspec.ValidationError as error:
        if kind == "content_block_delta" and isinstance(plain.get("delta"), dict):
            return plain
        raise ValueError(str(error)) from None
