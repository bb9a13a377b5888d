"""Commands about the outbox, and the facts that they make. Pure."""

import msgspec
from msgspec.structs import replace

from palaver.domain.errors import ConversationBusy, IdempotencyMismatch, NotFound
from palaver.domain.events import (
    Event,
    HeadMoved,
    MessageAdded,
    PromptEdited,
    PromptQueued,
    PromptSent,
    PromptWithdrawn,
    TurnOpened,
)
from palaver.domain.ids import MessageId, TurnId
from palaver.domain.messages import Block, Message
from palaver.domain.outbox import QueuedPrompt, by_key, find
from palaver.domain.state import ConversationState, OpenTurn


class QueuePrompt(msgspec.Struct, frozen=True):
    """Keep a prompt until a model can be reached. One whose key waits already is not kept twice."""

    prompt: QueuedPrompt


class EditPrompt(msgspec.Struct, frozen=True):
    """Change what a waiting prompt says."""

    prompt: MessageId
    content: tuple[Block, ...]


class WithdrawPrompt(msgspec.Struct, frozen=True):
    """Take a waiting prompt back."""

    prompt: MessageId


class SendPrompt(msgspec.Struct, frozen=True):
    """Say the prompt that waits longest, if that is this one: opens a turn. No middleware sees it:
    it saw the prompt when it was accepted."""

    prompt: MessageId
    turn: TurnId
    spare: MessageId
    """The message's id where the prompt's is that of a message which stands elsewhere."""


def outbox_facts(
    state: ConversationState, action: QueuePrompt | EditPrompt | WithdrawPrompt | SendPrompt
) -> tuple[Event, ...]:
    """The facts that carrying out `action` makes.

    Raises NotFound for a prompt that does not wait, ConversationBusy where one is to be sent while
    a turn is open, IdempotencyMismatch where its key waits with other words.
    """
    match action:
        case QueuePrompt(prompt=prompt):
            known = by_key(state.outbox, prompt.idempotency_key)
            if known is not None and known.message.content != prompt.message.content:
                raise IdempotencyMismatch("the idempotency key was used for another message")
            return () if known is not None else (PromptQueued(prompt),)
        case EditPrompt(prompt=name, content=content):
            _check_waiting(state, name)
            return (PromptEdited(name, content),)
        case WithdrawPrompt(prompt=name):
            _check_waiting(state, name)
            return (PromptWithdrawn(name),)
        case SendPrompt():
            return _sending(state, action)


def _check_waiting(state: ConversationState, prompt: MessageId) -> None:
    if find(state.outbox, prompt) is None:
        raise NotFound(f"no prompt {prompt!r} waits", hint="It may have been sent meanwhile.")


def _sending(state: ConversationState, action: SendPrompt) -> tuple[Event, ...]:
    if not state.outbox or state.outbox[0].id != action.prompt:
        return ()
    if state.turn is not None:
        raise ConversationBusy("a turn of this conversation is still open")
    prompt, turn = state.outbox[0], action.turn
    sent = PromptSent(prompt.id, turn)
    opened = TurnOpened(turn, prompt.output, prompt.tools, prompt.own_tools)
    here = None if state.last is None else state.last.id
    if prompt.tried is None:
        return (sent, opened, MessageAdded(replace(prompt.message, parent=here), turn))
    if _stands_behind(state, prompt.message, here):
        return (sent, HeadMoved(prompt.id, "switch"), opened)
    anew = replace(prompt.message, id=action.spare, parent=here)
    return (sent, opened, MessageAdded(anew, turn))


def _stands_behind(state: ConversationState, message: Message, here: MessageId | None) -> bool:
    """Whether the message stands as it is in a branch that begins here."""
    beside = (m for tail in state.aside for m in tail.messages if m.id == message.id)
    return any(m.parent == here and m.content == message.content for m in beside)


def kept_from(
    state: ConversationState, turn: TurnId, question: Message, *, key: str | None, reason: str
) -> tuple[Event, ...]:
    """The facts behind the end of a turn that reached nobody: its question goes to the front of
    the outbox and leaves the history, so that it does not stand there twice."""
    opened = state.turn or OpenTurn(turn)
    prompt = QueuedPrompt(
        question, key, opened.output, turn, reason, opened.tools, opened.own_tools
    )
    return (HeadMoved(question.parent, "edit"), PromptQueued(prompt, is_first=True))
