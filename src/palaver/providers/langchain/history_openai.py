"""History for ChatOpenAI and its relatives, for both of OpenAI's APIs."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.content import InvalidToolCall
from langchain_core.messages.tool import ToolCall as LangChainCall

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
from palaver.providers.openai_request import Attachments, left_out

Part: TypeAlias = str | dict[Any, Any]
_SHOWN = "Pictures and files of the tool result"
_SHOWN_BELOW = "(shown in the next message)"


async def chat_messages(messages: Sequence[Message], attachments: Attachments) -> list[BaseMessage]:
    """For chat completions, which know text and calls, but no thinking."""
    made: list[BaseMessage] = []
    for message in messages:
        match message.role:
            case Role.SYSTEM:
                made.append(SystemMessage(message.text))
            case Role.USER:
                if content := await user_content(message.content, attachments):
                    made.append(HumanMessage(content=content))
            case Role.ASSISTANT:
                if message.text or message.tool_calls:
                    made.append(_said(message))
            case Role.TOOL:
                made += await _results(message, attachments)
    return made


async def responses_messages(
    messages: Sequence[Message], attachments: Attachments, origin: str
) -> list[BaseMessage]:
    """For the Responses API without state on the server; thinking goes back as the item it was."""
    made: list[BaseMessage] = []
    for message in messages:
        match message.role:
            case Role.SYSTEM:
                made.append(SystemMessage(message.text, additional_kwargs=_DEVELOPER))
            case Role.USER:
                if content := await user_content(message.content, attachments):
                    made.append(HumanMessage(content=content))
            case Role.ASSISTANT:
                if items := _items(message, origin):
                    made.append(AIMessage(content=items, response_metadata=_OPENAI))
            case Role.TOOL:
                made += [
                    ToolMessage(
                        content=await user_content(result.content, attachments) or "",
                        tool_call_id=result.call_id,
                    )
                    for result in message.tool_results
                ]
    return made


_OPENAI = {"model_provider": "openai"}
_DEVELOPER = {"__openai_role__": "developer"}


async def user_content(blocks: Sequence[Block], attachments: Attachments) -> str | list[Part]:
    """Text, pictures and files; a single text as a string, which every server understands."""
    made: list[Part] = [
        await _part(block, attachments)
        for block in blocks
        if isinstance(block, Text | Image | File)
    ]
    if len(made) == 1 and isinstance(made[0], dict) and made[0]["type"] == "text":
        return str(made[0]["text"])
    return made


async def _part(block: Text | Image | File, attachments: Attachments) -> dict[str, Any]:
    if isinstance(block, Text):
        return {"type": "text", "text": block.text}
    if isinstance(block, Image):
        url = await attachments.image_url(block)
        if url is None:
            return {"type": "text", "text": left_out(block)}
        return {"type": "image_url", "image_url": {"url": url}}
    if text := await attachments.file_text(block):
        return {"type": "text", "text": text}
    if data := await attachments.file_url(block):
        return {"type": "file", "file": {"filename": block.name or "file", "file_data": data}}
    return {"type": "text", "text": left_out(block)}


def calls_of(message: Message) -> tuple[list[LangChainCall], list[InvalidToolCall]]:
    """The calls whose arguments are an object, and the others."""
    good: list[LangChainCall] = []
    bad: list[InvalidToolCall] = []
    for call in message.tool_calls:
        try:
            arguments = call.parsed()
        except (ValueError, RecursionError) as error:
            bad.append(
                InvalidToolCall(
                    type="invalid_tool_call",
                    id=call.id,
                    name=call.name,
                    args=call.arguments,
                    error=str(error),
                )
            )
        else:
            good.append(LangChainCall(type="tool_call", id=call.id, name=call.name, args=arguments))
    return good, bad


def _said(message: Message) -> AIMessage:
    good, bad = calls_of(message)
    return AIMessage(
        content=message.text,
        tool_calls=good,
        invalid_tool_calls=bad,
        response_metadata=_OPENAI,
    )


async def _results(message: Message, attachments: Attachments) -> list[BaseMessage]:
    """One message for each result, then one with all that a tool message cannot hold."""
    made: list[BaseMessage] = []
    shown: list[Part] = []
    for result in message.tool_results:
        told = []
        for block in result.content:
            part = await _part(block, attachments)
            if part["type"] == "text":
                told.append(part["text"])
            else:
                told.append(_SHOWN_BELOW)
                shown += ({"type": "text", "text": f"{_SHOWN} {result.call_id}"}, part)
        made.append(ToolMessage(content="\n".join(told), tool_call_id=result.call_id))
    return [*made, HumanMessage(content=shown)] if shown else made


def _items(message: Message, origin: str) -> list[Part]:
    """The message's blocks; thinking only where the item that it led to follows."""
    items: list[Part] = []
    thoughts: list[Part] = []
    for block in message.content:
        if isinstance(block, Reasoning):
            # Without its encrypted content the API would look for it on the server.
            if block.origin == origin and block.native and block.encrypted:
                thoughts.append(msgspec.json.decode(block.native))
            continue
        item = _item(block, origin)
        if item is not None:
            items += (*thoughts, item)
            thoughts.clear()
    return items


def _item(block: Block, origin: str) -> dict[str, Any] | None:
    match block:
        case Text(text=text) if text:
            return {"type": "text", "text": text}
        case Refusal(text=text):
            return {"type": "refusal", "refusal": text}
        case ToolCall():
            call = {"call_id": block.id, "name": block.name, "arguments": block.arguments}
            return {"type": "function_call", **call}
        case Unknown(raw=raw) if block.origin == origin:
            found: dict[str, Any] = msgspec.json.decode(raw)
            return found
        case _:
            return None
