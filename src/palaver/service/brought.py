"""Histories that somebody brings: taken in, mended, and made part of a conversation.

What is there already stays as it is and keeps what its owner never knew (reasoning, ids, tools that
ran here); the rest joins behind it, in a branch where the two part. Nothing is ever lost.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from palaver.domain.branches import move
from palaver.domain.errors import InvalidInput
from palaver.domain.events import Event, HeadMoved, MessageAdded
from palaver.domain.ids import MessageId
from palaver.domain.messages import Block, File, Image, Message, Role, ToolResult
from palaver.domain.state import ConversationState, tool_message_id
from palaver.service.prefix import Matched, matched
from palaver.travel.base import Repair

MOST_MESSAGES = 20_000
MOST_BYTES = 64 * 1024 * 1024
"""Of text. Longer histories are imported from a file."""
_ROLES = (Role.USER, Role.ASSISTANT, Role.TOOL)


class Aligned(msgspec.Struct, frozen=True):
    """What became of a history that a client brought. The active path says the same now.

    Of its messages, with what `repairs` says mended, the first `kept` were there already, and
    `appended` joined behind them. `has_branched`: the conversation goes on behind another message
    than before; what it left stays as a branch. `results`: the open turn waits for these, and
    `provide` gives them. `is_open`: it waits, for these or others.
    """

    kept: int
    appended: tuple[Message, ...] = ()
    repairs: tuple[Repair, ...] = ()
    has_branched: bool = False
    results: tuple[ToolResult, ...] = ()
    is_open: bool = False


class Brought(msgspec.Struct, frozen=True):
    """What a history makes of a conversation: where it goes on, and what joins there."""

    kept: int
    at: MessageId | None
    messages: tuple[Message, ...]
    repairs: tuple[Repair, ...]


def checked_history(messages: Sequence[Message]) -> tuple[Message, ...]:
    """`messages` of a client, whose tools it ran itself. Raises InvalidInput where there are system
    messages, or too much."""
    if len(messages) > MOST_MESSAGES:
        raise InvalidInput(
            f"the history has {len(messages):,} messages; at most {MOST_MESSAGES:,} are accepted"
        )
    size = 0
    taken: list[Message] = []
    for message in messages:
        if message.role not in _ROLES:
            raise InvalidInput(
                f"a history holds no {message.role} messages", hint="Set the system prompt instead."
            )
        content = tuple(map(_by_client, message.content))
        size += sum(_size(block) for block in content)
        taken.append(message if content == message.content else replace(message, content=content))
    if size > MOST_BYTES:
        raise InvalidInput(f"the history has more than {MOST_BYTES:,} bytes of text")
    return tuple(taken)


async def check_attachments(
    messages: Sequence[Message], check: Callable[[Message], Awaitable[None]]
) -> None:
    """Let `check` see every message's attachments, those within results included."""
    for message in messages:
        shown = [b for b in message.content if isinstance(b, Image | File)]
        for result in message.tool_results:
            shown += [b for b in result.content if isinstance(b, Image | File)]
        if shown:
            await check(replace(message, content=tuple(shown)))


def joined(
    state: ConversationState,
    messages: Sequence[Message],
    seed: str,
    *,
    found: Matched | None = None,
) -> Brought:
    """What `messages` make of `state`. New ones get ids that begin with `seed`. `found`: what
    `matched` says of them, where that is known."""
    found = found or matched(state, messages)
    if found.count == len(messages):
        return Brought(found.count, found.at, (), ())
    rest, repairs = _mended(state, messages, found)
    if repairs or (found.is_answer and rest and rest[0].role is Role.ASSISTANT):
        # Mended as a whole: what was mended the same way before is there already.
        messages, repairs = _repaired(messages)
        found = matched(state, messages)
        rest, _ = _mended(state, messages, found)
    return Brought(found.count, found.at, tuple(_linked(rest, found.at, seed)), repairs)


def facts_of(state: ConversationState, brought: Brought) -> tuple[Event, ...]:
    """The facts that make it so."""
    here = None if state.last is None else state.last.id
    moved = () if brought.at == here else (HeadMoved(brought.at, "edit"),)
    return (*moved, *(MessageAdded(message) for message in brought.messages))


def _repaired(messages: Sequence[Message]) -> tuple[tuple[Message, ...], tuple[Repair, ...]]:
    from palaver.travel.repair import repair

    return repair(messages)


def _mended(
    state: ConversationState, messages: Sequence[Message], found: Matched
) -> tuple[tuple[Message, ...], tuple[Repair, ...]]:
    from palaver.travel.pairing import Item
    from palaver.travel.repair import repair_items

    items = [Item(message, n) for n, message in enumerate(messages) if n >= found.count]
    mended, repairs = repair_items(items, behind=_path_to(state, found.at))
    return tuple(item.message for item in mended), repairs


def _path_to(state: ConversationState, at: MessageId | None) -> Sequence[Message]:
    if at is None:
        return ()
    if state.last is not None and at == state.last.id:
        return state.messages
    return move(state.messages, state.aside, at)[0]


def _linked(rest: Sequence[Message], at: MessageId | None, seed: str) -> Iterator[Message]:
    parent = at
    for number, message in enumerate(rest):
        content = tuple(map(_by_client, message.content))
        id = MessageId(f"{seed}.{number:05}")
        if message.role is Role.TOOL and parent is not None:
            id = tool_message_id(parent)
        yield replace(message, id=id, parent=parent, content=content)
        parent = id


def _by_client(block: Block) -> Block:
    if isinstance(block, ToolResult) and not block.by_client:
        return replace(block, by_client=True, full=None)
    return block


def _size(block: Block) -> int:
    text = getattr(block, "text", "") or getattr(block, "arguments", "")
    return len(text.encode("utf-8", "replace"))
