"""The provider's blocks, put together from the pieces in which LangChain hands them out."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from palaver.domain.text import clean

_SINGLE = ("type", "id", "index", "name")
"""Fields that are no piece of a longer text."""


def merged(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    """The block that came in these pieces, without their indices. Costs their length once."""
    texts: dict[str, list[str]] = {}
    whole: dict[str, Any] = {}
    for piece in pieces:
        for name, value in piece.items():
            if value is None or (name in _SINGLE and whole.get(name)):
                continue
            if isinstance(value, str) and name not in _SINGLE:
                texts.setdefault(name, []).append(value)
                whole[name] = value
            elif isinstance(value, list):
                whole[name] = [*whole.get(name, ()), *value]
            else:
                whole[name] = value
    whole.update((name, clean("".join(found))[0]) for name, found in texts.items())
    for name, value in whole.items():
        if isinstance(value, list):
            whole[name] = _joined_parts(value)
    whole.pop("index", None)
    return whole


def _joined_parts(parts: list[Any]) -> list[Any]:
    """Parts with the same index, as of a summary, are one."""
    if not any(isinstance(part, dict) and "index" in part for part in parts):
        return parts
    by_index: dict[Any, list[dict[str, Any]]] = {}
    for number, part in enumerate(parts):
        by_index.setdefault(part.get("index", ("alone", number)), []).append(part)
    return [merged(found) for found in by_index.values()]


def encoded(value: Any) -> str:
    """As JSON, whatever characters are in it."""
    try:
        return msgspec.json.encode(value).decode()
    except (UnicodeEncodeError, msgspec.MsgspecError, TypeError):
        return json.dumps(value, default=str)


def call_pieces(message: Any) -> Iterator[Mapping[str, Any]]:
    """Pieces of calls; whole calls of a model that does not stream are one piece each."""
    pieces = getattr(message, "tool_call_chunks", None)
    if pieces is not None:
        yield from pieces
        return
    for call in message.tool_calls:
        yield {"id": call.get("id"), "name": call["name"], "args": encoded(call["args"])}
    for call in message.invalid_tool_calls:
        yield {"id": call.get("id"), "name": call.get("name"), "args": call.get("args")}


def thoughts(block: dict[str, Any]) -> Iterator[tuple[Any, str]]:
    """The readable texts of a piece of thinking, with the part that each belongs to."""
    for name in ("thinking", "reasoning", "reasoning_content", "text"):
        value = block.get(name)
        if isinstance(value, str):
            yield 0, value
            return
    for part in block.get("summary") or ():
        if isinstance(part, dict):
            yield part.get("index"), part.get("text") or ""


def annotations(pieces: list[dict[str, Any]]) -> str:
    """The citations in the pieces of a text as one JSON list; empty without any."""
    found: list[Any] = []
    for piece in pieces:
        notes = (*(piece.get("citations") or ()), *(piece.get("annotations") or ()))
        # LangChain renames the key because it uses `index` itself.
        found += [{("index" if k == "file_index" else k): v for k, v in n.items()} for n in notes]
    return encoded(found) if found else ""


def with_input(block: dict[str, Any]) -> dict[str, Any]:
    """An opaque call with the input that came in pieces; broken input leaves it as it began."""
    written = block.pop("partial_json", None)
    if isinstance(written, str) and written.strip():
        with contextlib.suppress(ValueError, RecursionError):
            block["input"] = json.loads(written)
    return block
