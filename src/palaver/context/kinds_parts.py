"""Parts of a message's content, in the shapes of OpenAI, Anthropic, Mistral and LangChain.

They are read to be judged and counted, never to be sent: what is opaque keeps its size, bytes of
pictures and files are measured and let go.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from palaver.domain.ids import CallId
from palaver.domain.messages import (
    Block,
    File,
    Image,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
)
from palaver.domain.pictures import picture_size
from palaver.domain.text import clean

_HEADER = 64_000
"""Characters of a picture's base64 that tell its size; a JPEG's may stand behind a thumbnail."""
_TEXTS = ("text", "input_text", "output_text", "text-plain", "json")
_CALLS = ("tool_use", "tool_call", "function_call")
_FILES = ("file", "input_file", "document", "audio", "input_audio", "video", "video_url", "media")


def blocks(content: object) -> Iterator[Block]:
    """What `content` holds: a text, a list of parts, one part, or nothing."""
    if isinstance(content, str):
        if content:
            yield Text(text_of(content))
    elif isinstance(content, Mapping):
        yield _part(content)
    elif isinstance(content, Iterable):
        for part in content:
            if isinstance(part, Mapping):
                yield _part(part)
            elif part:
                yield Text(text_of(str(part)))
    elif content is not None:
        yield Text(text_of(str(content)))


def json_text(value: object) -> str:
    """`value` as JSON; what JSON has no form for as text."""
    return clean(json.dumps(value, ensure_ascii=False, default=str))[0]


def text_of(value: object) -> str:
    """`value` in characters that have a UTF-8 form, if it is a text; else nothing."""
    return clean(value)[0] if isinstance(value, str) else ""


def arguments_of(value: object) -> str:
    """Arguments of a call as JSON text."""
    if value is None:
        return ""
    return text_of(value) if isinstance(value, str) else json_text(value)


def _part(part: Mapping[str, Any]) -> Block:
    kind = text_of(part.get("type"))
    if kind in _TEXTS or (not kind and "text" in part):
        return Text(text_of(part.get("text")) or text_of(part.get("data")))
    if kind in _CALLS:
        called = part.get("input", part.get("args", part.get("arguments")))
        identity = text_of(part.get("call_id")) or text_of(part.get("id"))
        return ToolCall(CallId(identity), text_of(part.get("name")), arguments_of(called))
    if kind in ("tool_result", "function_call_output"):
        return _result(part)
    if kind in ("image", "image_url", "input_image"):
        return _image(part)
    if kind in _FILES:
        return _file(part)
    if kind in ("thinking", "reasoning", "redacted_thinking"):
        return _reasoning(part)
    if kind == "refusal":
        return Refusal(text_of(part.get("refusal")))
    return Unknown("", kind, json_text(part))


def _result(part: Mapping[str, Any]) -> ToolResult:
    identity = text_of(part.get("tool_use_id")) or text_of(part.get("call_id"))
    content = tuple(
        block if isinstance(block, Text | Image | File) else Text(json_text(part.get("content")))
        for block in blocks(part.get("content", part.get("output")))
    )
    return ToolResult(CallId(identity), "", content, part.get("is_error") is True)


def _reasoning(part: Mapping[str, Any]) -> Reasoning:
    thought = part.get("thinking") or part.get("reasoning") or part.get("summary") or ""
    if not isinstance(thought, str):
        thought = "".join(b.text for b in blocks(thought) if isinstance(b, Text))
    opaque = text_of(part.get("encrypted_content")) or text_of(part.get("data"))
    return Reasoning(thought, text_of(part.get("signature")), opaque)


def _source(part: Mapping[str, Any]) -> tuple[str, str, str]:
    """Address, base64 and media type of a picture or file, from all the shapes there are."""
    inner: Any = part
    for name in ("image_url", "source", "file", "input_audio", "video_url"):
        if part.get(name):
            inner = part[name]
            break
    if isinstance(inner, str):
        inner = {"url": inner}
    if not isinstance(inner, Mapping):
        return "", "", ""
    media = text_of(inner.get("media_type")) or text_of(inner.get("mime_type"))
    data = next((v for n in ("data", "base64", "file_data") if (v := text_of(inner.get(n)))), "")
    url = text_of(inner.get("url")) or text_of(inner.get("file_url"))
    for given in (url, data):
        if given.startswith("data:"):
            head, _, encoded = given.partition(",")
            return "", encoded, media or head[len("data:") :].partition(";")[0]
    return url, data, media


def _image(part: Mapping[str, Any]) -> Image:
    url, data, media = _source(part)
    width, height = picture_size(_decoded(data[:_HEADER]))
    return Image(media, url=url or None, width=width, height=height)


def _file(part: Mapping[str, Any]) -> File:
    url, data, media = _source(part)
    inner = part.get("file")
    holder = inner if isinstance(inner, Mapping) else part
    name = text_of(holder.get("filename")) or text_of(holder.get("title"))
    return File(media, url=url or None, name=name, size=len(data) * 3 // 4)


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data[: len(data) // 4 * 4])
    except (binascii.Error, ValueError):
        return b""


def is_object(arguments: str) -> bool:
    """Whether a call's arguments are a JSON object, or nothing, which means an empty one."""
    if not arguments.strip():
        return True
    try:
        return isinstance(msgspec.json.decode(arguments), dict)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return False
