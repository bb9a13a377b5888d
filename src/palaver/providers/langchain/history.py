"""Our messages as LangChain's, in the blocks that the provider behind the adapter takes.

Anthropic gets the very blocks that the native adapter sends; LangChain passes them on. Results go
back in call order. What the API would refuse (ids used twice, loose thinking, a picture for a model
that sees none) never leaves.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from palaver.domain.errors import InvalidRequest, NotFound
from palaver.domain.ids import BlobId
from palaver.domain.messages import File, Image, Message, Role, ToolResult
from palaver.providers.anthropic_blocks import Blobs, Renamed, call_ids, encode_blocks
from palaver.providers.base import BlobReader, ModelInfo, ModelRequest
from palaver.providers.langchain.history_openai import chat_messages, responses_messages
from palaver.providers.langchain.history_plain import plain_messages
from palaver.providers.langchain.recognise import Spoken, Wire
from palaver.providers.openai_request import Attachments

_BEGINNING = {"type": "text", "text": "(The conversation goes on.)"}


async def history(request: ModelRequest, spoken: Spoken, info: ModelInfo) -> list[BaseMessage]:
    """All messages of the request with its system prompt first.

    Raises InvalidRequest, InvalidInput or NotFound for attachments that cannot be read.
    """
    if spoken.wire is Wire.ANTHROPIC:
        return await _anthropic(request, spoken, info)
    made: list[BaseMessage] = [SystemMessage(request.system)] if request.system else []
    attachments = Attachments(info, request.read_blob)
    match spoken.wire:
        case Wire.CHAT:
            return made + await chat_messages(request.messages, attachments)
        case Wire.RESPONSES:
            return made + await responses_messages(request.messages, attachments, spoken.origin)
        case _:
            return made + await plain_messages(request.messages, attachments, spoken.origin)


async def _anthropic(request: ModelRequest, spoken: Spoken, info: ModelInfo) -> list[BaseMessage]:
    """Two sides that take turns, the user first."""
    system = [request.system]
    turns: list[tuple[bool, list[dict[str, Any]]]] = []
    seen: set[str] = set()
    renamed = Renamed()
    for number, message in enumerate(request.messages):
        if message.role is Role.SYSTEM and not turns:
            system.append(message.text)
            continue
        speaks = message.role is Role.ASSISTANT
        if speaks:
            renamed = call_ids(message, seen)
        last = speaks and number == len(request.messages) - 1
        blobs = await _read(message, request.read_blob)
        blocks = _blocks(message, spoken, info, renamed, blobs, last=last)
        if blocks and turns and turns[-1][0] is speaks:
            turns[-1][1].extend(blocks)
        elif blocks:
            turns += [(False, [_BEGINNING])] if speaks and not turns else []
            turns.append((speaks, blocks))
    made: list[BaseMessage] = []
    if said := "\n\n".join(text for text in system if text.strip()):
        made.append(SystemMessage(said))
    return made + [_turn(speaks, blocks) for speaks, blocks in turns]


def _blocks(
    message: Message,
    spoken: Spoken,
    info: ModelInfo,
    renamed: Renamed,
    blobs: Blobs,
    *,
    last: bool,
) -> list[dict[str, Any]]:
    native, _, _ = message.model.removeprefix("langchain:").partition(":")
    ours = native == spoken.provider
    raw = encode_blocks(message, info=info, ours=ours, renamed=renamed, blobs=blobs, last=last)
    blocks: list[dict[str, Any]] = msgspec.json.decode(b"[%s]" % raw)
    for block in blocks:
        if block["type"] == "tool_result":
            block.setdefault("content", [])  # LangChain looks for it
        elif block.get("source", {}).get("type") == "url":
            block["source"] = _source(block["source"])
    return blocks


def _source(source: dict[str, Any]) -> dict[str, Any]:
    """The API takes no `data:` addresses, in which LangChain users keep pictures."""
    head, found, data = source["url"].partition(";base64,")
    if not found or not head.startswith("data:"):
        return source
    return {"type": "base64", "media_type": head.removeprefix("data:"), "data": data}


def _turn(speaks: bool, blocks: list[dict[str, Any]]) -> BaseMessage:
    content: list[str | dict[Any, Any]] = list(blocks)
    if not speaks:
        return HumanMessage(content=content)
    return AIMessage(content=content, response_metadata={"model_provider": "anthropic"})


async def _read(message: Message, read_blob: BlobReader | None) -> Blobs:
    """The bytes of every picture and file of the message."""
    blobs: dict[BlobId, bytes | None] = {}
    for part in parts(message):
        if part.blob is None or part.blob in blobs:
            continue
        if read_blob is None:
            raise InvalidRequest("a message refers to a file and the request cannot read files")
        try:
            blobs[part.blob] = await read_blob(part.blob)
        except NotFound:
            blobs[part.blob] = None
    return blobs


def parts(message: Message) -> Sequence[Image | File]:
    """Every picture and file of a message, those in results included."""
    return [
        part
        for block in message.content
        for part in (block.content if isinstance(block, ToolResult) else (block,))
        if isinstance(part, Image | File)
    ]
