"""Payloads of a stream as typed values: strict and fast first, lenient where real servers need it.

msgspec refuses half surrogate pairs, which some servers send when they cut an emoji between two
deltas. Such a payload is read by the standard library, which keeps the halves; the answer joins
them.
"""

import json
from typing import Any, Generic, TypeVar

import msgspec

from palaver.domain.errors import ProtocolViolation
from palaver.domain.text import clean

T = TypeVar("T")
_SHOWN_CHARS = 200


class PayloadDecoder(Generic[T]):
    """Decodes to `type`. `raw` names the fields that the type holds as `msgspec.Raw`."""

    def __init__(self, type: type[T], *, raw: tuple[str, ...] = ()) -> None:
        self._type, self._raw = type, raw
        self._decoder = msgspec.json.Decoder(type)

    def decode(self, payload: bytes) -> tuple[T, bool]:
        """The value, and whether half characters may be in it.

        Raises ProtocolViolation for what is no JSON or has another shape.
        """
        try:
            return self._decoder.decode(payload), False
        except msgspec.ValidationError as error:
            raise _violation(str(error), payload) from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self._leniently(payload), True

    def _leniently(self, payload: bytes) -> T:
        try:
            plain = json.loads(payload.decode("utf-8", "surrogatepass"), strict=False)
            for name in self._raw:
                if isinstance(plain, dict) and name in plain:
                    plain[name] = msgspec.Raw(json.dumps(_storable(plain[name])).encode())
            return msgspec.convert(plain, self._type)
        except (ValueError, RecursionError, msgspec.ValidationError) as error:
            raise _violation(str(error), payload) from None


def _storable(plain: Any) -> Any:
    if isinstance(plain, str):
        return clean(plain)[0]
    if isinstance(plain, list):
        return [_storable(item) for item in plain]
    if isinstance(plain, dict):
        return {clean(key)[0]: _storable(value) for key, value in plain.items()}
    return plain


def _violation(reason: str, payload: bytes) -> ProtocolViolation:
    shown = clean(payload[:_SHOWN_CHARS].decode("utf-8", "replace"))[0]
    return ProtocolViolation(f"the provider sent something unreadable ({reason}): {shown}")
