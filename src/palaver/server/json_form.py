"""The form of JSON from outside, before its content is looked at.

Two things are refused that decoders let pass: nesting deeper than the settings allow, which costs
whoever walks it later; and a name that occurs twice in one object, of which two readers (a proxy
that checks, and this server) may take different ones.
"""

import asyncio
import json
from typing import Any

from palaver.settings import ServerSettings

_LARGE = 256 * 1024
"""Bytes from which on the look at them would keep others waiting."""


DEPTH = ServerSettings().json_depth
_OTHERS = bytes(set(range(256)) - set(b'"[]{}'))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


async def check_form(raw: bytes, *, depth: int = DEPTH) -> None:
    """Raises ValueError for JSON that is too deep, that has a name twice in one object, or that is
    none."""
    if len(raw) > _LARGE:
        await asyncio.to_thread(_check, raw, depth)
    else:
        _check(raw, depth)


def _check(raw: bytes, depth: int) -> None:
    if is_deeper(raw, depth):
        raise ValueError(f"it is nested deeper than {depth}")
    # What the numbers are is not needed here, and one of a million digits takes long to convert.
    json.loads(
        raw.decode(),
        object_pairs_hook=_unique,
        parse_int=len,
        parse_float=len,
        parse_constant=_refused,
    )


def is_deeper(raw: bytes, limit: int) -> bool:
    """Whether JSON is nested deeper than `limit`. What is no JSON has any answer."""
    if raw.count(b"[") + raw.count(b"{") <= limit:
        return False
    # Without escaped quotes, every second piece between quotes lies outside of strings.
    bare = raw.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _OTHERS)
    at = 0
    for piece in bare.split(b'"')[::2]:
        for bracket in piece:
            at += _STEP[bracket]
            if at > limit:
                return True
    return False


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name occurs twice in an object")


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
