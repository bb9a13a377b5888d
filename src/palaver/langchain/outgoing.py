"""Our messages as LangChain's, for any of its models. Nothing is lost: see `envelope`."""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from palaver.domain.ids import BlobId
from palaver.domain.messages import (
    Block,
    File,
    Image,
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    Unknown,
)
from palaver.langchain.envelope import sealed
from palaver.providers.langchain.history_openai import Part, calls_of
from palaver.providers.langchain.history_plain import standard
from palaver.providers.langchain.recognise import Wire
from palaver.providers.openai_request import left_out

_NO_BLOBS: Mapping[BlobId, bytes] = {}


def to_langchain(
    messages: Iterable[Message], *, blobs: Mapping[BlobId, bytes] = _NO_BLOBS
) -> list[BaseMessage]:
    """The same conversation for LangChain; each tool result is a message of its own.

    `from_langchain` gives back exactly `messages`. Pictures and files are shown where they have an
    address or `blobs` has their bytes; else a line of text stands for them. Thinking is shown in
    the form in which its own provider takes it back.
    """
    made: list[BaseMessage] = []
    for message in messages:
        made += sealed(message, _shown(message, blobs))
    return made


def _shown(message: Message, blobs: Mapping[BlobId, bytes]) -> list[BaseMessage]:
    identity = message.id or None
    match message.role:
        case Role.SYSTEM:
            return [SystemMessage(content=message.text, id=identity)]
        case Role.USER:
            return [HumanMessage(content=_content(message.content, blobs), id=identity)]
        case Role.ASSISTANT:
            return [_assistant(message, blobs)]
        case Role.TOOL:
            shown: list[BaseMessage] = [
                ToolMessage(
                    content=_content(result.content, blobs),
                    tool_call_id=result.call_id,
                    name=result.name,
                    status="error" if result.failed else "success",
                    id=identity if number == 0 else None,
                )
                for number, result in enumerate(message.tool_results)
            ]
            return shown or [ToolMessage(content=message.text, tool_call_id="", id=identity)]


def _assistant(message: Message, blobs: Mapping[BlobId, bytes]) -> AIMessage:
    good, bad = calls_of(message)
    metadata: dict[str, Any] = {}
    if provider := _provider(message):
        metadata["model_provider"] = provider
    if message.model:
        metadata["model_name"] = message.model.rpartition(":")[2]
    return AIMessage(
        content=_content(message.content, blobs),
        tool_calls=good,
        invalid_tool_calls=bad,
        response_metadata=metadata,
        id=message.id or None,
    )


def _provider(message: Message) -> str:
    """Whose blocks the message holds, in LangChain's words."""
    for block in message.content:
        origin = block.origin if isinstance(block, Reasoning | Unknown) else ""
        if origin == Wire.ANTHROPIC:
            return "anthropic"
        if origin.startswith("openai."):
            return "openai"
    named = message.model.removeprefix("langchain:").partition(":")[0]
    return named if named in ("anthropic", "openai") else ""


def _content(blocks: Iterable[Block], blobs: Mapping[BlobId, bytes]) -> str | list[Part]:
    made: list[Part] = [part for block in blocks if (part := _part(block, blobs)) is not None]
    if len(made) == 1 and isinstance(made[0], dict) and made[0].get("type") == "text":
        return str(made[0]["text"])
    return made or ""


def _part(block: Block, blobs: Mapping[BlobId, bytes]) -> dict[str, Any] | None:
    match block:
        case Text(text=text) | Refusal(text=text):
            return {"type": "text", "text": text} if text else None
        case Image() | File():
            return _attached(block, blobs)
        case Reasoning():
            return _thinking(block)
        case Unknown(raw=raw):
            return _object(raw)
        case _:
            return None


def _attached(block: Image | File, blobs: Mapping[BlobId, bytes]) -> dict[str, Any]:
    kind = "image" if isinstance(block, Image) else "file"
    if block.url is not None:
        return standard(kind, block.url, block.media_type, block.name)
    data = blobs.get(block.blob) if block.blob is not None else None
    if data is None:
        return {"type": "text", "text": left_out(block)}
    media_type = block.media_type or "application/octet-stream"
    return standard(kind, f"data:{media_type};base64,{_base64(data)}", media_type, block.name)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _thinking(block: Reasoning) -> dict[str, Any] | None:
    """Only what its maker takes back: models of others would refuse the block or read it."""
    if block.native:
        return _object(block.native)
    if block.origin != Wire.ANTHROPIC:
        return None
    if block.encrypted:
        return {"type": "redacted_thinking", "data": block.encrypted}
    if block.signature:
        return {"type": "thinking", "thinking": block.text, "signature": block.signature}
    return None


def _object(raw: str) -> dict[str, Any] | None:
    """The JSON object, if it is one with a type: LangChain wants no others."""
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("type"), str) else None
