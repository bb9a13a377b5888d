"""Content blocks as Anthropic writes them, which Claude Code, cline and others keep in their files.

Data of the person (pictures, files) become blobs. Thinking keeps its signature: the provider that
gave it takes it back. Blocks of a kind that has no name here are kept as they came.
"""

from collections.abc import Iterator
from typing import Any

from palaver.domain.ids import CallId
from palaver.domain.messages import (
    Block,
    File,
    Image,
    Reasoning,
    ResultContent,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
)
from palaver.travel.draft import Draft
from palaver.travel.fields import arguments, json_text, name_of, obj, readable, seq, string

ANTHROPIC = "anthropic.messages"
"""The origin that Palaver's own adapter gives to thinking of the Messages API."""


def blocks(content: Any, draft: Draft, *, origin: str = ANTHROPIC) -> Iterator[Block]:
    """The content of a message: text, or a list of blocks; anything else holds nothing."""
    if isinstance(content, str):
        yield Text(content)
    for part in seq(content):
        if isinstance(part, str):
            yield Text(part)
        elif isinstance(part, dict):
            yield _block(part, draft, origin)


def _block(part: dict[str, Any], draft: Draft, origin: str) -> Block:
    match part.get("type"):
        case "text" | "input_text" | "output_text" if isinstance(part.get("text"), str):
            cited = part.get("citations")
            return Text(part["text"], json_text(cited) if cited else "")
        case "thinking":
            signature = string(part.get("signature"))
            return Reasoning(
                string(part.get("thinking")),
                signature=signature,
                origin=origin if signature else "",
            )
        case "redacted_thinking":
            return Reasoning(encrypted=string(part.get("data")), origin=origin)
        case "tool_use":
            return ToolCall(
                CallId(name_of(part.get("id"))),
                string(part.get("name")),
                arguments(part.get("input")),
            )
        case "tool_result":
            return ToolResult(
                CallId(name_of(part.get("tool_use_id"))),
                string(part.get("name")),
                tuple(result_content(part.get("content"), draft)),
                failed=part.get("is_error") is True,
            )
        case "image" | "document" | "file" | "image_url" | "input_image":
            return attachment(part, draft)
        case kind:
            return Unknown(origin, string(kind) or "?", json_text(part))


def result_content(content: Any, draft: Draft) -> Iterator[ResultContent]:
    """What a tool gave; structures without a type of ours are shown as JSON."""
    if not isinstance(content, list):
        text = readable(content)
        if text:
            yield Text(text)
        return
    for part in content:
        kind = obj(part).get("type")
        if kind in ("text", "input_text", "output_text") and isinstance(part.get("text"), str):
            yield Text(part["text"])
        elif kind in ("image", "document", "file", "image_url", "input_image"):
            yield attachment(part, draft)
        else:
            yield Text(readable(part))


def attachment(part: dict[str, Any], draft: Draft) -> Text | Image | File:
    """A picture or file as a block that refers to its blob or address; else text that says so."""
    kind = part.get("type")
    source = obj(part.get("source"))
    name = string(part.get("title")) or string(part.get("name")) or string(part.get("path"))
    media = string(source.get("media_type")) or string(part.get("mimeType"))
    url = string(source.get("url")) or _url(part)
    data = string(source.get("data")) or string(part.get("data"))
    if url.startswith("data:"):
        head, _, data = url.partition(",")
        media, url = head[5:].partition(";")[0], ""
    if source.get("type") == "text" or (kind == "file" and isinstance(part.get("content"), str)):
        text = (data or string(part.get("content"))).encode("utf-8", "replace")
        return File("text/plain", blob=draft.blob(text), name=name, size=len(text))
    blob = draft.unpacked(data) if data else None
    what = Image if kind in ("image", "image_url", "input_image") else File
    if blob is not None:
        return what(media, blob=blob, name=name)
    if url.startswith(("http://", "https://")):
        return what(media, url=url, name=name)
    return Text(f"[{'picture' if what is Image else 'file'} {name} that the source does not hold]")


def _url(part: dict[str, Any]) -> str:
    given = part.get("image_url")
    return string(given) or string(obj(given).get("url"))
