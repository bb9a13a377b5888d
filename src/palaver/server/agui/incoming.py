"""What an AG-UI client brings, in our terms: its messages, its tools, its answers to interrupts."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import msgspec
from ag_ui.core import RunAgentInput
from pydantic import ValidationError

from palaver.domain.errors import InvalidInput
from palaver.domain.ids import CallId, MessageId
from palaver.domain.messages import Block, Image, Message, Role, Text, ToolCall, ToolResult
from palaver.domain.values import ClientTool
from palaver.service.manager import ConversationManager

_MEDIA = {"image", "document"}


class Decision(msgspec.Struct, frozen=True):
    """A person's answer to an interrupt: whether a call may run."""

    call: CallId
    approved: bool
    note: str = ""


class Incoming(msgspec.Struct, frozen=True):
    """A run as it came in. `results` are those behind the last assistant message."""

    thread: str
    run: str
    system: str
    messages: tuple[Message, ...]
    tools: tuple[ClientTool, ...]
    decisions: tuple[Decision, ...]
    raw: tuple[dict[str, Any], ...]
    """The client's messages as they came, for snapshots."""


def parsed(raw: bytes) -> RunAgentInput:
    """The request. Raises InvalidInput, which names the first field that is wrong."""
    try:
        return RunAgentInput.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the body"
        raise InvalidInput(f"{place}: {first['msg']}", hint="Send a RunAgentInput.") from error


async def incoming(given: RunAgentInput, manager: ConversationManager) -> Incoming:
    """What the request says. Raises InvalidInput for what cannot be taken in."""
    system: list[str] = []
    messages: list[Message] = []
    names: dict[str, str] = {}
    for each in given.messages:
        match each.role:
            case "system" | "developer":
                system.append(each.content)
            case "user":
                content = await _content(each.content, manager)
                messages.append(Message(Role.USER, content, MessageId(each.id)))
            case "assistant":
                calls = [
                    ToolCall(CallId(c.id), c.function.name, c.function.arguments)
                    for c in each.tool_calls or ()
                ]
                names |= {call.id: call.name for call in calls}
                text = [Text(each.content)] if each.content else []
                if text or calls:
                    messages.append(Message(Role.ASSISTANT, (*text, *calls), MessageId(each.id)))
            case "tool":
                _add_result(messages, each, names)
            case _:
                pass  # reasoning and activities are shown to people; no model reads them again
    system += [f"{context.description}: {context.value}" for context in given.context or ()]
    return Incoming(
        thread=given.thread_id,
        run=given.run_id,
        system="\n\n".join(part for part in system if part.strip()),
        messages=tuple(messages),
        tools=tuple(
            ClientTool(t.name, t.description, t.parameters or {"type": "object"})
            for t in given.tools or ()
        ),
        decisions=tuple(_decision(entry) for entry in given.resume or ()),
        raw=tuple(
            m.model_dump(mode="json", by_alias=True, exclude_none=True) for m in given.messages
        ),
    )


def _add_result(messages: list[Message], each: Any, names: dict[str, str]) -> None:
    text = each.content if isinstance(each.content, str) else _plain(each.content)
    result = ToolResult(
        CallId(each.tool_call_id),
        names.get(each.tool_call_id, ""),
        (Text(each.error or text),),
        failed=bool(each.error),
    )
    if messages and messages[-1].role is Role.TOOL:
        last = messages.pop()
        messages.append(Message(Role.TOOL, (*last.content, result), last.id))
    else:
        messages.append(Message(Role.TOOL, (result,), MessageId(each.id)))


def _plain(parts: Sequence[Any]) -> str:
    return "\n".join(part.text for part in parts if part.type == "text")


async def _content(content: Any, manager: ConversationManager) -> tuple[Block, ...]:
    if isinstance(content, str):
        return (Text(content),)
    return tuple([await _part(part, manager) for part in content])


async def _part(part: Any, manager: ConversationManager) -> Block:
    if part.type == "text":
        return Text(part.text)
    if part.type not in _MEDIA:
        raise InvalidInput(f"{part.type} cannot be sent to a model here")
    source = part.source
    if source.type == "url" and part.type == "image":
        if not source.value.startswith(("https://", "http://")):
            raise InvalidInput("a picture's address begins with https://")
        return Image(media_type=source.mime_type or "", url=source.value)
    if source.type != "data":
        raise InvalidInput(f"send the bytes of a {part.type}", hint="As a source of type `data`.")
    try:
        data = base64.b64decode(source.value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"the {part.type} is no base64") from error
    return await manager.attach(data, media_type=source.mime_type)


def _decision(entry: Any) -> Decision:
    payload = entry.payload if isinstance(entry.payload, dict) else {}
    approved = entry.status == "resolved" and payload.get("approved", True) is True
    note = payload.get("note", "")
    return Decision(CallId(entry.interrupt_id), approved, note if isinstance(note, str) else "")
