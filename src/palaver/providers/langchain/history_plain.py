"""History for every other chat model, in LangChain's standard content blocks."""

from collections.abc import Sequence
from typing import Any

import msgspec
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from palaver.domain.messages import (
    Block,
    File,
    Image,
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    Unknown,
)
from palaver.providers.langchain.history_openai import Part, calls_of
from palaver.providers.openai_request import Attachments, left_out


async def plain_messages(
    messages: Sequence[Message], attachments: Attachments, origin: str
) -> list[BaseMessage]:
    """One message for each of ours, and one for each tool result.

    Blocks that `origin` made go back as they came; those of other providers stay out.
    """
    made: list[BaseMessage] = []
    for message in messages:
        match message.role:
            case Role.SYSTEM:
                made.append(SystemMessage(message.text))
            case Role.USER:
                if content := await _content(message.content, attachments):
                    made.append(HumanMessage(content=content))
            case Role.ASSISTANT:
                if (said := assistant(message, origin)) is not None:
                    made.append(said)
            case Role.TOOL:
                made += [
                    ToolMessage(
                        content=await _content(result.content, attachments) or "",
                        tool_call_id=result.call_id,
                        name=result.name,
                        status="error" if result.failed else "success",
                    )
                    for result in message.tool_results
                ]
    return made


def assistant(message: Message, origin: str) -> AIMessage | None:
    """An answer; None when nothing of it can be shown to this provider."""
    content: list[Part] = []
    for block in message.content:
        if isinstance(block, Text | Refusal):
            content += [{"type": "text", "text": block.text}] if block.text else []
        elif isinstance(block, Reasoning) and block.native and block.origin == origin:
            content.append(msgspec.json.decode(block.native))
        elif isinstance(block, Unknown) and block.origin == origin:
            content.append(msgspec.json.decode(block.raw))
    good, bad = calls_of(message)
    if not content and not good and not bad:
        return None
    is_text = all(isinstance(part, dict) and part.get("type") == "text" for part in content)
    return AIMessage(
        content=message.text if is_text else content, tool_calls=good, invalid_tool_calls=bad
    )


async def _content(blocks: Sequence[Block], attachments: Attachments) -> str | list[Part]:
    made: list[Part] = []
    for block in blocks:
        match block:
            case Text(text=text) | Refusal(text=text):
                made.append({"type": "text", "text": text})
            case Image() | File():
                made.append(await _attached(block, attachments))
            case Reasoning() | ToolCall() | Unknown():
                pass
            case _:
                pass
    if len(made) == 1 and isinstance(made[0], dict) and made[0]["type"] == "text":
        return str(made[0]["text"])
    return made


async def _attached(block: Image | File, attachments: Attachments) -> dict[str, Any]:
    if isinstance(block, File) and (text := await attachments.file_text(block)):
        return {"type": "text", "text": text}
    if isinstance(block, Image):
        url = await attachments.image_url(block)
    else:
        url = await attachments.file_url(block) or (block.url if attachments.info.files else None)
    if url is None:
        return {"type": "text", "text": left_out(block)}
    kind = "image" if isinstance(block, Image) else "file"
    return standard(kind, url, block.media_type, block.name)


def standard(kind: str, url: str, media_type: str, name: str) -> dict[str, Any]:
    """LangChain's standard block of a picture or file, by address or by its bytes."""
    made: dict[str, Any] = {"type": kind}
    if url.startswith("data:"):
        head, _, data = url.partition(";base64,")
        made |= {"base64": data, "mime_type": head.removeprefix("data:")}
    else:
        made["url"] = url
        if media_type:
            made["mime_type"] = media_type
    if name and kind == "file":
        made["extras"] = {"filename": name}
    return made
