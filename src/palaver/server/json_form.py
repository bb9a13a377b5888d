"""A name that occurs twice in one object of a body is refused: of two readers, a proxy that checks
and this server, each might take another one. Decoders take the last and say nothing."""

import asyncio
import json
from typing import Any

_LARGE = 256 * 1024
"""Bytes from which on the look at them would keep others waiting."""


async def check_names(raw: bytes) -> None:
    """Raises ValueError for JSON that has a name twice in one object, or is none. How deep it may
    be is the gate's to say, before."""
    if len(raw) > _LARGE:
        await asyncio.to_thread(_check, raw)
    else:
        _check(raw)


def _check(raw: bytes) -> None:
    # What the numbers are is not needed here, and one of a million digits takes long to convert.
    json.loads(
        raw.decode(),
        object_pairs_hook=_unique,
        parse_int=len,
        parse_float=len,
        parse_constant=_refused,
    )


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name occurs twice in an object")


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
