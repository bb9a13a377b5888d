"""The outbox of a conversation: prompts that were accepted and not sent, because no model could be
reached. They are facts of its log, so they survive what the conversation survives."""

import msgspec

from palaver.domain.ids import MessageId, TurnId
from palaver.domain.messages import Message
from palaver.domain.values import ClientTool, OutputSchema

REMEMBERED = 16
"""Newest turns of which it is remembered that their question was sent again."""


class QueuedPrompt(msgspec.Struct, frozen=True, omit_defaults=True):
    """A prompt that waits until a model can be reached."""

    message: Message
    """What will be said. Its id names the prompt."""
    idempotency_key: str | None = None
    output: OutputSchema | None = None
    """The shape that the answer is to have."""
    tried: TurnId | None = None
    """The turn that was opened for it and reached nobody; None: none was opened."""
    reason: str = ""
    """Code of the error that kept it."""
    tools: tuple[ClientTool, ...] = ()
    """Tools that its client runs."""
    own_tools: bool = True

    @property
    def id(self) -> MessageId:
        """Its name."""
        return self.message.id


def find(outbox: tuple[QueuedPrompt, ...], prompt: MessageId) -> QueuedPrompt | None:
    """The prompt with this id, if it waits."""
    return next((each for each in outbox if each.id == prompt), None)


def by_key(outbox: tuple[QueuedPrompt, ...], key: str | None) -> QueuedPrompt | None:
    """The prompt that was accepted with this idempotency key, if it waits."""
    return next((p for p in outbox if key is not None and p.idempotency_key == key), None)
