"""Content blocks as the Messages API wants them.

What the API refuses is never sent: empty text, half-finished thinking, calls whose arguments are
no object, blocks of another API, pictures that the model cannot see. Where something is left out
that a person had put there, a line of text says so.
"""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, TypeAlias

import msgspec

from palaver.domain.ids import BlobId
from palaver.domain.messages import (
    Block,
    File,
    Image,
    Message,
    Reasoning,
    Refusal,
    Role,
    StopReason,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
)
from palaver.providers.anthropic_answer import ORIGIN
from palaver.providers.base import ModelInfo

Blobs: TypeAlias = Mapping[BlobId, bytes | None]
"""The bytes of what a message refers to; None where the store has them no more."""
Wire: TypeAlias = "dict[str, Any] | msgspec.Raw"

_IMAGES = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))
_TEXTS = frozenset(
    f"application/{name}"
    for name in ("json", "xml", "yaml", "x-yaml", "javascript", "toml", "sql", "x-sh")
)
_THOUGHTS = ("thinking", "redacted_thinking")
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_encode = msgspec.json.Encoder().encode


class Renamed(dict[str, str]):
    """Calls of one message that need another id on the wire."""


def call_ids(message: Message, seen: set[str]) -> Renamed:
    """The ids of this message's calls that the API would refuse, with their stand-ins.

    Refused are other characters than letters, digits, `_` and `-`, and an id that an earlier call
    of the request has. A stand-in depends on message and id only, so a call keeps it.
    `seen` grows by the ids of this message.
    """
    renamed = Renamed()
    for number, call in enumerate(message.tool_calls):
        if call.id in seen or not _ID.fullmatch(call.id):
            digest = blake2b(f"{message.id}\0{call.id}\0{number}".encode(), digest_size=12)
            while (stand_in := f"call_{digest.hexdigest()}") in seen:
                digest.update(b"+")
            renamed[call.id] = stand_in
            seen.add(stand_in)
        else:
            seen.add(call.id)
    return renamed


def encode_blocks(
    message: Message, *, info: ModelInfo, ours: bool, renamed: Renamed, blobs: Blobs, last: bool
) -> bytes:
    """The message's blocks as JSON, joined by commas; empty when nothing of it can be sent.

    `ours`: this provider wrote it. `last`: it ends the request, so the model continues its text.
    """
    made = [
        wire
        for block in message.content
        for wire in _wire(block, message.role, info=info, ours=ours, renamed=renamed, blobs=blobs)
    ]
    if message.role is not Role.ASSISTANT:
        made = made or [_text("(no text)")]
    elif message.stop is not StopReason.PAUSE:
        _cut_loose_end(made, last=last)
    return b",".join(_encode(wire) for wire in made)


def _cut_loose_end(made: list[Wire], *, last: bool) -> None:
    """The API refuses an answer that ends in thinking, and a continued one that ends in a space."""
    while made and isinstance(made[-1], dict) and made[-1]["type"] in _THOUGHTS:
        made.pop()
    if last and made and isinstance(made[-1], dict) and made[-1]["type"] == "text":
        made[-1]["text"] = made[-1]["text"].rstrip()


def _wire(
    block: Block, role: Role, *, info: ModelInfo, ours: bool, renamed: Renamed, blobs: Blobs
) -> Iterator[Wire]:
    match block:
        case Text(text=text) | Refusal(text=text):
            if text.strip():
                yield _text(
                    text, _citations(block.annotations) if ours and isinstance(block, Text) else ()
                )
        case ToolCall():
            yield _call(block, renamed)
        case ToolResult():
            yield _result(block, info=info, renamed=renamed, blobs=blobs)
        case Reasoning() if block.origin == ORIGIN and role is Role.ASSISTANT:
            if block.encrypted:
                yield {"type": "redacted_thinking", "data": block.encrypted}
            elif block.signature:
                yield {"type": "thinking", "thinking": block.text, "signature": block.signature}
        case Unknown(origin=origin, raw=raw):
            if origin == ORIGIN:
                yield msgspec.Raw(raw.encode())
        case Image() | File():
            yield _attachment(block, info=info, blobs=blobs)
        case _:
            pass  # thinking of another API


def _text(text: str, citations: Sequence[Any] = ()) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": text}
    if citations:
        block["citations"] = citations
    return block


def _citations(annotations: str) -> list[Any]:
    """Those that the API wants back: of searches, whose text only it can read."""
    if not annotations:
        return []
    found = msgspec.json.decode(annotations)
    return [c for c in found if isinstance(c, dict) and "encrypted_index" in c]


def _call(call: ToolCall, renamed: Renamed) -> dict[str, Any]:
    block: dict[str, Any] = {
        "type": "tool_use",
        "id": renamed.get(call.id, call.id),
        "name": call.name,
        "input": _object(call.arguments),
    }
    if call.native and call.origin == ORIGIN:
        block |= msgspec.json.decode(call.native, type=dict[str, msgspec.Raw])
    return block


def _object(arguments: str) -> msgspec.Raw:
    """The arguments as they were written where they are a JSON object; else an empty one."""
    raw = arguments.strip().encode("utf-8", "replace")
    try:
        msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        return msgspec.Raw(b"{}")
    return msgspec.Raw(raw)


def _result(
    result: ToolResult, *, info: ModelInfo, renamed: Renamed, blobs: Blobs
) -> dict[str, Any]:
    content = [
        wire
        for block in result.content
        for wire in _wire(block, Role.TOOL, info=info, ours=False, renamed=renamed, blobs=blobs)
    ]
    block: dict[str, Any] = {
        "type": "tool_result",
        "tool_use_id": renamed.get(result.call_id, result.call_id),
    }
    if result.failed:
        block["is_error"] = True
        content = content or [_text("failed")]  # an empty error is refused
    if content:
        block["content"] = content
    return block


def _attachment(block: Image | File, *, info: ModelInfo, blobs: Blobs) -> dict[str, Any]:
    kind = block.media_type.partition(";")[0].strip().lower()
    if isinstance(block, Image) or kind.startswith("image/"):
        if not info.images or (kind and kind not in _IMAGES):
            return _unseen(block, "cannot be shown to this model")
        return _sourced("image", block, kind or "image/jpeg", blobs)
    if kind == "application/pdf" and info.files:
        return _sourced("document", block, kind, blobs)
    if block.blob is not None and (kind.startswith("text/") or kind in _TEXTS):
        return _plain_document(block, blobs)
    return _unseen(block, "cannot be read by this model")


def _sourced(name: str, block: Image | File, kind: str, blobs: Blobs) -> dict[str, Any]:
    if block.url is not None:
        source = {"type": "url", "url": block.url}
    elif block.blob is not None and (content := blobs.get(block.blob)) is not None:
        source = {"type": "base64", "media_type": kind, "data": b64encode(content).decode()}
    else:
        return _unseen(block, "is no longer there")
    wire: dict[str, Any] = {"type": name, "source": source}
    if name == "document" and block.name:
        wire["title"] = block.name
    return wire


def _plain_document(block: Image | File, blobs: Blobs) -> dict[str, Any]:
    content = blobs.get(block.blob) if block.blob else None
    if content is None:
        return _unseen(block, "is no longer there")
    text = content.decode("utf-8", "replace")
    if not text.strip():
        return _unseen(block, "is empty")
    source = {"type": "text", "media_type": "text/plain", "data": text}
    return {"type": "document", "source": source} | ({"title": block.name} if block.name else {})


def _unseen(block: Image | File, why: str) -> dict[str, Any]:
    what = "picture" if isinstance(block, Image) else "file"
    named = f" {block.name}" if block.name else f" {block.url}" if block.url else ""
    return _text(f"[The {what}{named} {why}.]")
