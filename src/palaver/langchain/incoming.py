"""LangChain's messages as ours: what reaches a provider there reaches it here, too."""

import base64
import json
from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from msgspec.structs import replace

from palaver.domain.errors import InvalidInput
from palaver.domain.ids import CallId, MessageId
from palaver.domain.messages import (
    Block,
    File,
    Image,
    Message,
    ResultContent,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
)
from palaver.langchain.envelope import opened
from palaver.providers.langchain.chunks import ChunkReader
from palaver.providers.langchain.pieces import encoded
from palaver.providers.langchain.recognise import Spoken, Wire
from palaver.tools.definition import Keep

_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "human": Role.USER,
    "user": Role.USER,
    "ai": Role.ASSISTANT,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}


def from_langchain(messages: Iterable[BaseMessage]) -> tuple[Message, ...]:
    """The conversation in our terms; results that follow each other are one message.

    Messages of `to_langchain` come back as they were. Pictures and files within messages become
    `data:` addresses; `stored` moves them to a blob store. A message's `name` has no place.
    Raises InvalidInput for what is no message of a conversation.
    """
    given = list(messages)
    made: list[Message] = []
    at = 0
    while at < len(given):
        known = opened(given, at)
        if known is not None:
            message, count = known
        elif _role(given[at]) is Role.TOOL:
            message, count = _tools(given, at)
        else:
            message, count = _message(given[at]), 1
        made.append(message)
        at += count
    return tuple(made)


async def stored(messages: Iterable[Message], keep: Keep) -> tuple[Message, ...]:
    """The same messages with every `data:` address moved to the blob store behind `keep`."""
    return tuple([replace(m, content=await _stored(m.content, keep)) for m in messages])


async def _stored(blocks: Sequence[Any], keep: Keep) -> tuple[Any, ...]:
    made: list[Any] = []
    for block in blocks:
        if isinstance(block, ToolResult):
            made.append(replace(block, content=await _stored(block.content, keep)))
        elif isinstance(block, Image | File) and (block.url or "").startswith("data:"):
            data = base64.b64decode(str(block.url).partition(";base64,")[2])
            moved = replace(block, url=None, blob=await keep(data))
            made.append(replace(moved, size=len(data)) if isinstance(moved, File) else moved)
        else:
            made.append(block)
    return tuple(made)


def _role(message: BaseMessage) -> Role:
    name = getattr(message, "role", None) or message.type.removesuffix("MessageChunk").lower()
    role = _ROLES.get(str(name))
    if role is None:
        raise InvalidInput(f"a LangChain message of type {name!r} is no part of a conversation")
    return role


def _message(message: BaseMessage) -> Message:
    role, identity = _role(message), MessageId(message.id or "")
    if isinstance(message, AIMessage):
        return _answer(message)
    return Message(role, _blocks(message.content), identity)


def _answer(message: AIMessage) -> Message:
    """Read like a stream that came in one piece, then put into the order of its content."""
    metadata = message.response_metadata
    provider = str(metadata.get("model_provider") or "")
    reader = ChunkReader(_spoken(message, provider))
    reader.feed(message)
    finished = reader.finish()
    model = f"{provider}:{reader.model}" if provider and reader.model else ""
    return Message(
        Role.ASSISTANT,
        _in_order(finished.content, message.content),
        MessageId(message.id or ""),
        model=model,
        stop=finished.stop if reader.reason else None,
        native_id=str(metadata.get("id") or ""),
    )


def _spoken(message: AIMessage, provider: str) -> Spoken:
    if provider == "anthropic":
        return Spoken(Wire.ANTHROPIC, provider, "", Wire.ANTHROPIC.value)
    if provider == "openai":
        is_items = isinstance(message.content, list)
        wire = Wire.RESPONSES if is_items or "status" in message.response_metadata else Wire.CHAT
        return Spoken(wire, provider, "", wire.value)
    return Spoken(Wire.PLAIN, provider, "", f"langchain.{provider or 'unknown'}")


def _in_order(blocks: tuple[Block, ...], content: Any) -> tuple[Block, ...]:
    """Calls stand where the content names them; calls that it does not name stay at the end."""
    if isinstance(content, str):
        return blocks
    ids = [b.get("call_id") or b.get("id") for b in content if _is_call(b)]
    calls = {b.id: b for b in blocks if isinstance(b, ToolCall)}
    others = [b for b in blocks if not isinstance(b, ToolCall)]
    named = {i for i in ids if i in calls}
    shown = [b for b in content if not _is_silent(b)]
    if not named or len(shown) - len(ids) != len(others):
        return blocks
    made: list[Block] = []
    for part in shown:
        if _is_call(part):
            call = calls.get(part.get("call_id") or part.get("id"))
            made += [call] if call is not None else []
        else:
            made.append(others.pop(0))
    return (*made, *(call for i, call in calls.items() if i not in named))


def _is_call(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in ("tool_use", "function_call", "tool_call")


def _is_silent(part: Any) -> bool:
    return part == "" or (
        isinstance(part, dict) and part.get("type") == "text" and not part.get("text")
    )


def _tools(messages: Sequence[BaseMessage], at: int) -> tuple[Message, int]:
    """The run of tool messages that begins here, as one."""
    results: list[ToolResult] = []
    end = at
    while end < len(messages) and _role(messages[end]) is Role.TOOL:
        if results and opened(messages, end) is not None:
            break
        results.append(_result(messages[end]))
        end += 1
    return Message(Role.TOOL, tuple(results), MessageId(messages[at].id or "")), end - at


def _result(message: BaseMessage) -> ToolResult:
    if not isinstance(message, ToolMessage):
        return ToolResult(CallId(""), message.name or "", (Text(str(message.content)),))
    content: list[ResultContent] = []
    for block in _blocks(message.content):
        shown = block if isinstance(block, Text | Image | File) else None
        content.append(shown or Text(block.raw if isinstance(block, Unknown) else ""))
    failed = message.status == "error"
    return ToolResult(CallId(message.tool_call_id), message.name or "", tuple(content), failed)


def _blocks(content: Any) -> tuple[Block, ...]:
    if isinstance(content, str):
        return (Text(content),) if content else ()
    return tuple(_block(part) for part in content)


def _block(part: Any) -> Block:
    if isinstance(part, str):
        return Text(part)
    kind = str(part.get("type", ""))
    match kind:
        case "text" | "input_text" | "output_text":
            return Text(str(part.get("text", "")))
        case "image" | "image_url" | "input_image":
            return Image(*_source(part, "image/png"))
        case "file" | "document" | "input_file" | "text-plain" | "audio" | "video":
            return _file(part)
        case _:
            return Unknown("langchain", kind, encoded(part))


def _file(part: dict[str, Any]) -> File:
    inner = part.get("file")
    source = inner if isinstance(inner, dict) else part
    nested = source.get("source")
    if isinstance(nested, dict) and nested.get("type") == "text":
        source = {**nested, "text": nested.get("data")}
    name = source.get("filename") or source.get("title") or part.get("title")
    extras = part.get("extras") or part.get("metadata") or {}
    name = str(name or extras.get("filename") or extras.get("title") or extras.get("name") or "")
    text = source.get("text")
    if isinstance(text, str):
        data = base64.b64encode(text.encode()).decode()
        media_type = str(source.get("mime_type") or source.get("media_type") or "text/plain")
        return File(media_type, None, f"data:{media_type};base64,{data}", name)
    media_type, _, url = _source(source, "application/pdf")
    return File(media_type, None, url, name)


def _source(part: dict[str, Any], default: str) -> tuple[str, None, str]:
    """Media type and address, from all the shapes that LangChain knows for them."""
    inner = part.get("image_url") or part.get("source") or part
    if isinstance(inner, str):
        inner = {"url": inner}
    media_type = str(inner.get("mime_type") or inner.get("media_type") or "")
    url = inner.get("url") or inner.get("file_url") or inner.get("file_data")
    data = inner.get("base64") or inner.get("data")
    if isinstance(url, str) and url:
        if url.startswith("data:"):
            media_type = url[len("data:") :].partition(";")[0]
        return media_type, None, url
    if isinstance(data, str):
        return media_type or default, None, f"data:{media_type or default};base64,{data}"
    raise InvalidInput(f"a picture or file has no content: {json.dumps(part, default=str)[:200]}")
