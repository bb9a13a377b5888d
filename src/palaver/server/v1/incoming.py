"""What clients send of a conversation, as messages of ours.

OpenAI has one message for each tool result and system messages anywhere; here the results of one
assistant message are one message, in call order, and what all system messages say is the
conversation's prompt. Pictures and files come as data URLs: nothing is ever fetched for a client.
"""

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence

import msgspec

from palaver.domain.ids import CallId
from palaver.domain.messages import (
    Block,
    File,
    Image,
    Message,
    Refusal,
    Role,
    StopReason,
    Text,
    ToolCall,
    ToolResult,
)
from palaver.domain.text import clean
from palaver.server.v1.chat_shapes import (
    ChatDocument,
    ChatImage,
    ChatInput,
    ChatRefusal,
    ChatText,
    Part,
)
from palaver.server.v1.errors import invalid

Attach = Callable[[bytes, str, str], Awaitable[Image | File]]
"""Stores bytes of a media type under a name."""
_DATA = re.compile(r"data:(?P<type>[a-zA-Z0-9.+/-]*)(?:;[^;,]*)*;base64,", re.ASCII)
_ASSISTANT = (Text, Refusal)


class Said(msgspec.Struct, frozen=True):
    """A request's conversation: the prompt (None: the client sent none) and its messages."""

    system: str | None
    messages: tuple[Message, ...]

    @property
    def last(self) -> Message:
        """The newest one."""
        return self.messages[-1]


async def read_messages(
    given: Sequence[ChatInput], attach: Attach, *, goes_on: bool = False
) -> Said:
    """The messages of a chat completion. `goes_on`: they may begin with results of calls that are
    here. Raises InvalidInput with the place of what is wrong."""
    gathering = Gathering(goes_on=goes_on)
    for number, message in enumerate(given):
        place = f"messages[{number}]"
        match message.role:
            case "system" | "developer":
                gathering.system(_plain(message.content, place))
            case "user":
                gathering.user(await _blocks(message.content, place, attach), place)
            case "assistant":
                gathering.assistant(await _answer(message, place, attach), place)
            case "tool":
                blocks = await _blocks(message.content, place, attach)
                gathering.result(message.tool_call_id or "", blocks, place)
    return gathering.said()


class Gathering:
    """Puts what comes one after another into messages of ours. What is said to the model in between
    joins the prompt: not every provider takes it anywhere else."""

    def __init__(self, *, goes_on: bool = False, place: str = "messages") -> None:
        self._goes_on, self._place = goes_on, place
        self._system: list[str] = []
        self._drafts: list[tuple[Role, list[Block]]] = []
        """Messages; the last one may still grow."""
        self._open: dict[str, ToolCall] = {}
        """Calls of the newest assistant message that have no result yet."""

    def system(self, text: str) -> None:
        """A prompt, or a part of it."""
        self._system.append(text)

    def user(self, blocks: tuple[Block, ...], place: str) -> None:
        """Something said by the user."""
        if not blocks:
            raise invalid(place, "the message is empty")
        self._add(Role.USER, blocks, place)

    def assistant(self, blocks: tuple[Block, ...], place: str) -> None:
        """Something said by the model. Two in a row are one message."""
        if not blocks:
            return
        if self._last_role() is Role.ASSISTANT:
            self._drafts[-1][1].extend(blocks)
        else:
            self._add(Role.ASSISTANT, blocks, place)
        for call in blocks:
            if isinstance(call, ToolCall):
                if call.id in self._open:
                    raise invalid(place, "two calls have the same id")
                self._open[call.id] = call

    def result(self, call_id: str, blocks: tuple[Block, ...], place: str) -> None:
        """The result of a call."""
        call = self._open.pop(call_id, None)
        is_first = not self._drafts or self._drafts[0][0] is Role.TOOL
        if call is None and not (self._goes_on and is_first and call_id):
            raise invalid(f"{place}.tool_call_id", f"no call {call_id[:64]!r} waits for a result")
        content = tuple(b for b in blocks if isinstance(b, Text | Image | File))
        result = ToolResult(CallId(call_id), "" if call is None else call.name, content)
        if self._last_role() is Role.TOOL:
            self._drafts[-1][1].append(result)
        else:
            self._drafts.append((Role.TOOL, [result]))

    def _last_role(self) -> Role | None:
        return self._drafts[-1][0] if self._drafts else None

    def _add(self, role: Role, blocks: tuple[Block, ...], place: str) -> None:
        if self._open:
            missing = next(iter(self._open))
            raise invalid(place, f"the call {missing[:64]!r} before it has no result")
        self._drafts.append((role, list(blocks)))

    def said(self) -> Said:
        """What came. Raises InvalidInput where nobody waits for an answer."""
        if not self._drafts:
            raise invalid(self._place, "nothing is asked: there is no message")
        if self._open:
            missing = next(iter(self._open))
            raise invalid(self._place, f"the call {missing[:64]!r} has no result")
        if self._last_role() not in (Role.USER, Role.TOOL):
            raise invalid(self._place, "the last message must be a user's, or a call's result")
        return self.history()

    def history(self) -> Said:
        """What came, whoever said it last."""
        system = "\n\n".join(text for text in self._system if text) if self._system else None
        return Said(system, tuple(self._made()))

    def _made(self) -> Iterator[Message]:
        """Results are in the order of their calls."""
        order: dict[str, int] = {}
        for role, blocks in self._drafts:
            content = blocks
            if role is Role.TOOL:
                results = [block for block in blocks if isinstance(block, ToolResult)]
                places = [order.get(result.call_id, 0) for result in results]
                in_order = sorted(range(len(results)), key=places.__getitem__)
                content = [results[number] for number in in_order]
            calls = [block.id for block in blocks if isinstance(block, ToolCall)]
            order = {id: number for number, id in enumerate(calls)}
            stop = StopReason.TOOL_USE if calls else StopReason.END_TURN
            yield Message(role, tuple(content), stop=stop if role is Role.ASSISTANT else None)


async def _answer(message: ChatInput, place: str, attach: Attach) -> tuple[Block, ...]:
    said = await _blocks(message.content, place, attach)
    blocks: list[Block] = [b for b in said if isinstance(b, _ASSISTANT)]
    if message.refusal:
        blocks.append(Refusal(stored(message.refusal)))
    for number, call in enumerate(message.tool_calls or ()):
        if not call.id or not call.function.name:
            raise invalid(f"{place}.tool_calls[{number}]", "a call needs an id and a name")
        arguments = stored(call.function.arguments)
        blocks.append(ToolCall(CallId(stored(call.id)), stored(call.function.name), arguments))
    return tuple(blocks)


def _plain(content: str | list[Part] | None, place: str) -> str:
    if content is None or isinstance(content, str):
        return stored(content or "")
    texts = [part.text for part in content if isinstance(part, ChatText)]
    if len(texts) != len(content):
        raise invalid(f"{place}.content", "a system message holds text only")
    return stored("\n\n".join(texts))


async def _blocks(
    content: str | list[Part] | None, place: str, attach: Attach
) -> tuple[Block, ...]:
    if content is None or isinstance(content, str):
        return text_block(content or "")
    blocks: list[Block] = []
    for number, part in enumerate(content):
        where = f"{place}.content[{number}]"
        match part:
            case ChatText(text=text):
                blocks += text_block(text)
            case ChatRefusal(refusal=refusal):
                blocks.append(Refusal(stored(refusal)))
            case ChatImage(image_url=image):
                blocks.append(await picture(image.url, f"{where}.image_url.url", attach))
            case ChatDocument(file=file):
                where = f"{where}.file"
                blocks.append(await document(file.file_data, file.filename, where, attach))
    return tuple(blocks)


def text_block(text: str) -> tuple[Text, ...]:
    """Text as a block; nothing for an empty one."""
    return (Text(stored(text)),) if text else ()


def stored(text: str) -> str:
    """Text that every store can hold."""
    return clean(text)[0]


async def picture(url: str, place: str, attach: Attach) -> Image:
    """A picture from its data URL. Raises InvalidInput for any other address and for what is no
    picture."""
    data, media_type = _decoded(url, place)
    block = await attach(data, media_type, "")
    if not isinstance(block, Image):
        raise invalid(place, "this is no picture that models can see (PNG, JPEG, GIF, WebP)")
    return block


async def document(data: str | None, name: str | None, place: str, attach: Attach) -> Block:
    """A file from its data URL, or a picture, if it is one. Raises InvalidInput."""
    if data is None:
        raise invalid(place, "only files in `file_data` are accepted, not ones by id or address")
    content, media_type = _decoded(data, f"{place}.file_data")
    return await attach(content, media_type, name or "")


def _decoded(url: str, place: str) -> tuple[bytes, str]:
    head = _DATA.match(url)
    if head is None:
        raise invalid(
            place,
            "only data URLs (`data:image/png;base64,…`) are accepted",
            hint="This server fetches nothing for clients; send the bytes.",
        )
    try:
        return base64.b64decode(url[head.end() :], validate=True), head["type"]
    except (binascii.Error, ValueError) as error:
        raise invalid(place, "the data URL is not valid base64") from error
