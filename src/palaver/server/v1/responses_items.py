"""Messages of ours as items of a response or a conversation.

One message may be several items; an item's name is made of its message's and its place there, so
that it is the same every time.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import msgspec

from palaver.domain.errors import NotFound
from palaver.domain.messages import (
    File,
    Flag,
    Image,
    Message,
    Reasoning,
    Refusal,
    ResultContent,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from palaver.server.v1.responses_shapes import (
    OutputCall,
    OutputReasoning,
    OutputText,
    SummaryText,
)


class InputText(msgspec.Struct, frozen=True, tag="input_text", tag_field="type"):
    """Text of a user."""

    text: str


class InputImage(msgspec.Struct, frozen=True, tag="input_image", tag_field="type"):
    """A picture: its blob's name, or its address."""

    file_id: str | None = None
    image_url: str | None = None
    detail: str = "auto"


class InputFile(msgspec.Struct, frozen=True, tag="input_file", tag_field="type"):
    """A document: its blob's name, or its address."""

    filename: str
    file_id: str | None = None
    file_url: str | None = None


Content: TypeAlias = InputText | InputImage | InputFile | OutputText


class MessageItem(msgspec.Struct, frozen=True, tag="message", tag_field="type"):
    """A message of anybody."""

    id: str
    role: str
    content: tuple[Content, ...]
    status: str = "completed"


class CallOutput(msgspec.Struct, frozen=True, tag="function_call_output", tag_field="type"):
    """The result of a call."""

    id: str
    call_id: str
    output: str
    status: str = "completed"


ResponseItem: TypeAlias = MessageItem | OutputReasoning | OutputCall | CallOutput


class ItemList(msgspec.Struct, frozen=True):
    """Some items; `last_id` continues."""

    data: tuple[ResponseItem, ...]
    first_id: str
    last_id: str
    has_more: bool
    object: str = "list"


def items_of(messages: Iterable[Message]) -> Iterator[ResponseItem]:
    """All items, in the order of the messages."""
    for message in messages:
        yield from _items(message)


def page(
    messages: Sequence[Message], *, limit: int, after: str | None, newest_first: bool
) -> ItemList:
    """Some items of a path, behind item `after`. Raises NotFound where that is none of them."""
    behind = after is None
    found: list[ResponseItem] = []
    for message in reversed(messages) if newest_first else messages:
        made = list(_items(message))
        for item in reversed(made) if newest_first else made:
            if behind:
                found.append(item)
            behind = behind or item.id == after
        if len(found) > limit:
            break
    if not behind:
        raise NotFound(f"no item {after!r} here")
    shown = found[:limit]
    first, last = (shown[0].id, shown[-1].id) if shown else ("", "")
    return ItemList(tuple(shown), first, last, len(found) > limit)


def _items(message: Message) -> Iterator[ResponseItem]:
    name = message.id.partition("_")[2] or message.id
    match message.role:
        case Role.ASSISTANT:
            yield from _answer(message, name)
        case Role.TOOL:
            for number, result in enumerate(message.tool_results):
                yield CallOutput(f"fco_{name}_{number}", result.call_id, _output(result))
        case Role.USER | Role.SYSTEM:
            yield MessageItem(message.id, message.role, tuple(_content(message)))


def _answer(message: Message, name: str) -> Iterator[ResponseItem]:
    status = "incomplete" if Flag.PARTIAL in message.flags else "completed"
    for number, block in enumerate(message.content):
        if isinstance(block, Reasoning) and block.text:
            summary = (SummaryText(block.text),)
            yield OutputReasoning(f"rs_{name}_{number}", status, summary)
    if message.text:
        yield MessageItem(message.id, "assistant", (OutputText(message.text),), status)
    for number, block in enumerate(message.content):
        if isinstance(block, ToolCall):
            yield OutputCall(f"fc_{name}_{number}", block.id, block.name, block.arguments)


def _content(message: Message) -> Iterator[Content]:
    for block in message.content:
        match block:
            case Text(text=text) | Refusal(text=text):
                yield InputText(text)
            case Image():
                yield InputImage(block.blob, block.url)
            case File():
                yield InputFile(block.name, block.blob, block.url)
            case _:
                pass


def _output(result: ToolResult) -> str:
    return "".join(_shown(block) for block in result.content)


def _shown(block: ResultContent) -> str:
    return block.text if isinstance(block, Text) else f"[{block.media_type} {block.name}]"
