"""Where undo, redo, edits and switches lead: pure questions to a conversation's state."""

from collections.abc import Iterator

import msgspec

from palaver.domain.branches import leaves
from palaver.domain.errors import InvalidInput, NotFound
from palaver.domain.ids import MessageId
from palaver.domain.messages import Message, Role
from palaver.domain.state import ConversationState

PREVIEW = 80


class Branch(msgspec.Struct, frozen=True):
    """A branch by its last message. `preview`: its last user message, at most 80 characters."""

    head: MessageId
    is_active: bool
    preview: str


class StateDiff(msgspec.Struct, frozen=True):
    """What is different in a later state: messages of its path that the earlier one has not, and
    the other way round; both empty where only settings changed."""

    added: tuple[Message, ...]
    removed: tuple[Message, ...]
    settings_changed: bool


def everywhere(state: ConversationState) -> Iterator[Message]:
    """Every message of every branch."""
    yield from state.messages
    for tail in state.aside:
        yield from tail.messages


def find(state: ConversationState, id: MessageId) -> Message:
    """The message with this id, on any branch. Raises NotFound."""
    for message in everywhere(state):
        if message.id == id:
            return message
    raise NotFound(f"no message {id!r} in this conversation")


def user_message(state: ConversationState, id: MessageId) -> Message:
    """The same, of a user. Raises InvalidInput for another speaker's."""
    found = find(state, id)
    if found.role is not Role.USER:
        raise InvalidInput("only user messages can be edited", hint="Regenerate an answer instead.")
    return found


def last_question(state: ConversationState) -> Message:
    """The last user message of the path. Raises InvalidInput when there is none."""
    for message in reversed(state.messages):
        if message.role is Role.USER:
            return message
    raise InvalidInput("nothing has been said yet")


def question_of(state: ConversationState, id: MessageId | None) -> Message:
    """The user message that `id` is or answers; the last one for None."""
    if id is None:
        return last_question(state)
    by_id = {message.id: message for message in everywhere(state)}
    at: MessageId | None = find(state, id).id
    while at is not None and at in by_id:
        if by_id[at].role is Role.USER:
            return by_id[at]
        at = by_id[at].parent
    raise InvalidInput("this message answers no user message")


def redo_target(state: ConversationState) -> MessageId:
    """The head before the last undo. Raises InvalidInput when nothing was undone since."""
    if not state.undone:
        raise InvalidInput("there is nothing to redo")
    return state.undone[-1]


def end_of_branch(state: ConversationState, id: MessageId) -> MessageId:
    """The last message of the branch that `id` lies on. Raises NotFound."""
    find(state, id)
    for tail in state.aside:
        if any(message.id == id for message in tail.messages):
            return tail.messages[-1].id
    return state.messages[-1].id


def branches(state: ConversationState) -> tuple[Branch, ...]:
    """All branches, the active one first."""
    by_id = {message.id: message for message in everywhere(state)}
    here = None if state.last is None else state.last.id
    return tuple(
        Branch(leaf.id, leaf.id == here, _preview(leaf, by_id))
        for leaf in leaves(state.messages, state.aside)
    )


def _preview(leaf: Message, by_id: dict[MessageId, Message]) -> str:
    at: Message | None = leaf
    while at is not None and at.role is not Role.USER:
        at = by_id.get(at.parent) if at.parent is not None else None
    text = " ".join((leaf if at is None else at).text.split())
    return text if len(text) <= PREVIEW else text[: PREVIEW - 1] + "…"


def difference(one: ConversationState, other: ConversationState) -> StateDiff:
    """What changed from `one` to `other`."""
    common = 0
    for mine, theirs in zip(one.messages, other.messages, strict=False):
        if mine != theirs:
            break
        common += 1
    return StateDiff(
        tuple(other.messages.since(common)),
        tuple(one.messages.since(common)),
        one.preferences != other.preferences or one.metadata != other.metadata,
    )
