"""The one JSON shape of events: in the log, on the wire, and behind `--json`.

A fact is an object with `type`, `v` (its version) and its fields. Older versions are upcast while
decoding, by pure functions on plain objects. An unknown type or a newer version becomes an
`UnknownEvent`, which keeps every byte.
"""

from collections.abc import Callable
from typing import Any, get_args

import msgspec

from palaver.domain.events import Event, Recorded, UnknownEvent
from palaver.domain.stream import StreamEvent

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
UPCASTERS: dict[tuple[str, int], Upcaster] = {}
"""(type, version) → a function that returns the same event in the next version's shape."""

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
VERSIONS: dict[str, int] = {str(cls.__struct_config__.tag): cls.version for cls in get_args(Event)}


def kind(event: Event | UnknownEvent) -> str:
    """The `type` of a fact."""
    if isinstance(event, UnknownEvent):
        return event.type
    return str(event.__struct_config__.tag)


def version(event: Event | UnknownEvent) -> int:
    """The version of a fact's shape."""
    return event.version


def encode_event(event: Event | UnknownEvent) -> bytes:
    """A fact as one JSON object without its version, which stores keep beside it."""
    return event.raw if isinstance(event, UnknownEvent) else _encoder.encode(event)


def decode_event(raw: bytes, kind: str, version: int) -> Event | UnknownEvent:
    """The fact in `raw`. Raises msgspec.DecodeError when it is not what its version says."""
    known = VERSIONS.get(kind)
    if known == version:
        return _decoder.decode(raw)
    if known is None or version > known:
        return UnknownEvent(kind, version, bytes(raw))
    plain = msgspec.json.decode(raw)
    for step in range(version, known):
        plain = UPCASTERS[kind, step](plain)
    return msgspec.convert(plain, Event)  # type: ignore[no-any-return]


def encode_recorded(recorded: Recorded) -> bytes:
    """A fact with number, time and version: one line of an export or of an audit."""
    head = _encoder.encode({"seq": recorded.seq, "at": recorded.at, "v": version(recorded.event)})
    body = encode_event(recorded.event)
    return head[:-1] + b"," + body[1:]


def decode_recorded(line: bytes) -> Recorded:
    """The inverse of `encode_recorded`. Raises msgspec.DecodeError for anything else."""
    try:
        plain = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        seq = msgspec.json.decode(plain.pop("seq"), type=int)
        at = msgspec.json.decode(plain.pop("at"), type=float)
        number = msgspec.json.decode(plain.pop("v"), type=int)
        name = msgspec.json.decode(plain["type"], type=str)
    except KeyError as missing:
        raise msgspec.DecodeError(f"the event has no field {missing}") from None
    return Recorded(seq, at, decode_event(_encoder.encode(plain), name, number))


def encode_shown(event: StreamEvent) -> bytes:
    """A stream event as one JSON object."""
    return _encoder.encode(event)
