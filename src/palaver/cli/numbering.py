"""Numbers for messages and branches, as `show` and `branches` print them, and back again.

Messages count from 1 along the path, the results of tools with the message that asked for them.
Branches count from 1 by age, so a number stays what it is when another branch becomes the active
one.
"""

from collections.abc import Iterator, Sequence

import msgspec

from palaver.domain.branches import leaves
from palaver.domain.errors import InvalidInput, NotFound
from palaver.domain.ids import MessageId
from palaver.domain.messages import Message, Role
from palaver.domain.state import ConversationState, tool_message_id
from palaver.service.branching import everywhere

SHORTEST_ENDING = 4
RESULTS = ".results"


def numbered(state: ConversationState) -> Iterator[tuple[int, Message]]:
    """The messages of the path that have a number, with it."""
    spoken = (message for message in state.messages if message.role is not Role.TOOL)
    return enumerate(spoken, 1)


def message_named(state: ConversationState, name: str) -> Message:
    """The message that a person means: a number (-1: the last), an id, or the end of an id.

    With `.results` behind it: what its tools answered. Raises NotFound, and InvalidInput where
    several fit.
    """
    if name.endswith(RESULTS) and name != RESULTS:
        asked = message_named(state, name.removesuffix(RESULTS))
        return _by_id(state, tool_message_id(asked.id), name)
    number = _number(name)
    if number is not None:
        spoken = [message for _, message in numbered(state)]
        at = number - 1 if number > 0 else len(spoken) + number
        if number and 0 <= at < len(spoken):
            return spoken[at]
        if len(name) < SHORTEST_ENDING or number < 0:
            raise NotFound(
                f"there is no message {name}; the conversation has {len(spoken)}",
                hint="`palaver show` prints the numbers.",
            )
    return _by_id(state, name, name)


def _number(name: str) -> int | None:
    digits = name.removeprefix("-")
    return int(name) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None


def _by_id(state: ConversationState, id: str, name: str) -> Message:
    fitting: list[Message] = []
    for message in everywhere(state):
        if message.id == id:
            return message
        if len(id) >= SHORTEST_ENDING and message.id.endswith(id):
            fitting.append(message)
    if len(fitting) > 1:
        raise InvalidInput(f"{name!r} fits {len(fitting)} messages; give more of the id")
    if not fitting:
        raise NotFound(
            f"no message {name!r} in this conversation",
            hint="Give a number as `palaver show` prints it, an id, or the end of one.",
        )
    return fitting[0]


def ordered_leaves(state: ConversationState) -> tuple[Message, ...]:
    """The last message of every branch, the oldest branch first: number 1 is the first one.

    Where an undo led back into the middle of a branch, that is no branch of its own.
    """
    order = {message.id: i for i, message in enumerate(everywhere(state))}
    answered = {tail.parent for tail in state.aside}
    ends = (end for end in leaves(state.messages, state.aside) if end.id not in answered)
    # Ids of ours sort by age; those of imported conversations at least stay as they are.
    return tuple(sorted(ends, key=lambda message: (message.id, order[message.id])))


def branch_named(state: ConversationState, name: str) -> MessageId:
    """A message on the branch that a person means: its number, an id, or the end of an id.

    Raises NotFound, and InvalidInput where several fit.
    """
    number, ends = _number(name), ordered_leaves(state)
    if number is not None and len(name) < SHORTEST_ENDING:
        if not 1 <= number <= len(ends):
            raise NotFound(
                f"there is no branch {name}; the conversation has {len(ends)}",
                hint="`palaver branches`, or /branch in a chat, lists them.",
            )
        return ends[number - 1].id
    return _by_id(state, name, name).id


class Place(msgspec.Struct, frozen=True):
    """Where a message stands among those that answer the same one: `number` of `count`, from 1."""

    number: int
    count: int


def alternatives(state: ConversationState) -> dict[MessageId, Place]:
    """The messages of the path that have others beside them, with their place."""
    if not state.aside:
        return {}
    beside = children(state)
    found: dict[MessageId, Place] = {}
    before: MessageId | None = None
    for message in state.messages:
        same = beside[before]
        if len(same) > 1:
            at = next(i for i, each in enumerate(same, 1) if each.id == message.id)
            found[message.id] = Place(at, len(same))
        before = message.id
    return found


def children(state: ConversationState) -> dict[MessageId | None, Sequence[Message]]:
    """By message (None: before the first one): what answers it, on any branch, by age."""
    found: dict[MessageId | None, list[Message]] = {}
    lines: list[tuple[MessageId | None, Sequence[Message]]] = [(None, state.messages)]
    lines += [(tail.parent, tail.messages) for tail in state.aside]
    for parent, line in lines:
        for message in line:
            found.setdefault(parent, []).append(message)
            parent = message.id  # noqa: PLW2901 - the next one answers it
    return {
        parent: sorted(messages, key=lambda message: message.id)
        for parent, messages in found.items()
    }
