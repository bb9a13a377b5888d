"""What comes in from people and programs, made storable or refused with a reason."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol, TypeAlias

from msgspec.structs import replace

from palaver.domain.errors import InvalidInput
from palaver.domain.ids import BlobId, MessageId
from palaver.domain.messages import Block, File, Flag, Image, Message, Role, Text, ToolResult
from palaver.domain.text import clean


class ForeignMessage(Protocol):
    """A message of another library, such as LangChain's HumanMessage."""

    @property
    def type(self) -> str:
        """Who speaks."""
        ...


MessageInput: TypeAlias = str | Block | Sequence[Block] | Message | ForeignMessage
"""What may be said: text, blocks, a whole user message, or a LangChain one."""
TakeIn: TypeAlias = Callable[[object, Callable[[bytes], Awaitable[BlobId]]], Awaitable[object]]
"""Makes foreign messages ours; gets the way to the blob store. What it does not know it returns."""


def user_message(said: object, *, id: MessageId, limit_bytes: int) -> Message:
    """The user message to store, from a `MessageInput`. Raises InvalidInput for all else."""
    message = _as_message(said)
    if message.role is not Role.USER:
        raise InvalidInput(f"a {message.role} message cannot be sent; only user messages can")
    content, lost = _cleaned(message.content)
    if not any(not isinstance(block, Text) or block.text.strip() for block in content):
        raise InvalidInput("the message is empty", hint="Say something, or attach a file.")
    size = sum(len(b.text.encode()) for b in content if isinstance(b, Text))
    if size > limit_bytes:
        raise InvalidInput(
            f"the message has {size:,} bytes; at most {limit_bytes:,} are accepted",
            hint="Attach long text as a file, or split it.",
        )
    flags = (*message.flags, Flag.SANITISED) if lost else message.flags
    return replace(message, content=content, id=id, flags=flags)


def client_results(results: Sequence[ToolResult], *, limit_bytes: int) -> tuple[ToolResult, ...]:
    """Results of calls that a client ran, to store. Raises InvalidInput for anything else, and
    for more than `limit_bytes` of text together."""
    taken: list[ToolResult] = []
    size = 0
    for result in results:
        if not isinstance(result, ToolResult):
            raise InvalidInput(f"a tool's result is a ToolResult, not {type(result).__name__}")
        _check_blocks(result.content, "a tool's result")
        content, _ = _cleaned(tuple(block for block in result.content if block != Text("")))
        size += sum(len(block.text.encode()) for block in content if isinstance(block, Text))
        shown = tuple(block for block in content if isinstance(block, Text | Image | File))
        taken.append(ToolResult(result.call_id, "", shown, failed=result.failed, by_client=True))
    if not taken:
        raise InvalidInput("there is no result")
    if size > limit_bytes:
        raise InvalidInput(
            f"the results have {size:,} bytes; at most {limit_bytes:,} are accepted",
            hint="Attach long output as a file, or shorten it.",
        )
    return tuple(taken)


def _as_message(said: object) -> Message:
    if isinstance(said, str):
        return Message.user(said)
    if isinstance(said, Message):
        message = said
    else:
        blocks = tuple(said) if isinstance(said, Iterable) else (said,)
        message = Message(Role.USER, blocks)
    _check_blocks(message.content, "a user message")
    return message


def _check_blocks(content: Sequence[Block], what: str) -> None:
    for block in content:
        if not isinstance(block, Text | Image | File):
            raise InvalidInput(f"{what} holds text, images and files, not {block!r}")
        if not isinstance(block, Text) and (block.blob is None) == (block.url is None):
            raise InvalidInput("a picture or file has either a blob or an address")


def _cleaned(content: tuple[Block, ...]) -> tuple[tuple[Block, ...], bool]:
    cleaned: list[Block] = []
    any_lost = False
    for block in content:
        if isinstance(block, Text):
            text, lost = clean(block.text)
            any_lost = any_lost or lost
            cleaned.append(block if text is block.text else replace(block, text=text))
        elif isinstance(block, Image | File) and block.name:
            cleaned.append(replace(block, name=clean(block.name)[0]))
        else:
            cleaned.append(block)
    return tuple(cleaned), any_lost
