"""What the parts of the contract share: a clock, names, and short ways to write something."""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

from palaver.domain.clock import Clock
from palaver.domain.errors import PalaverError
from palaver.domain.events import ConversationCreated, Event, MessageAdded, TurnClosed
from palaver.domain.ids import ConversationId, TurnId
from palaver.domain.messages import Message
from palaver.domain.values import Scope, SessionMetadata, TurnOutcome
from palaver.store.base import Accepted, ConversationStore
from palaver.system import new_id

E = TypeVar("E", bound=PalaverError)
ME = Scope("acme", "ann")
STRANGER = Scope("rival", "rob")
CHAT = ConversationId("conv_1")


class HandClock:
    """A clock that shows what is set by hand."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        """Seconds since 1970."""
        return self.time

    def monotonic(self) -> float:
        """The same, as a duration."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Does not wait."""
        self.time += seconds


@contextmanager
def raises(kind: type[E]) -> Iterator[list[E]]:
    """The block must raise `kind`; the list holds the error afterwards."""
    caught: list[E] = []
    try:
        yield caught
    except kind as error:
        caught.append(error)
        return
    raise AssertionError(f"{kind.__name__} was not raised")


def said(text: str, *, id: str = "") -> MessageAdded:
    """A user's message as a fact outside of any turn."""
    return MessageAdded(Message.user(text, id=id or new_id("msg")))


def closed(turn: TurnId) -> TurnClosed:
    """The end of a turn."""
    return TurnClosed(turn, TurnOutcome.COMPLETED)


async def begin(
    store: ConversationStore, name: str = CHAT, *events: Event, scope: Scope = ME, title: str = ""
) -> ConversationId:
    """A new conversation with `events` in it."""
    created = ConversationCreated(metadata=SessionMetadata(title=title))
    await store.create(scope, ConversationId(name), [created, *events])
    return ConversationId(name)


async def accept(
    store: ConversationStore, text: str, *, turn: str, expected: int, key: str | None = None
) -> Accepted:
    """`text` accepted in the conversation `CHAT`."""
    message = Message.user(text, id=f"msg_{turn}")
    return await store.accept(
        ME, CHAT, message, turn=TurnId(turn), expected=expected, idempotency_key=key
    )


class Contract:
    """A part of the contract."""

    def open_store(self, *, clock: Clock) -> AbstractAsyncContextManager[ConversationStore]:
        """A new, empty store that is closed at the end of the block. To be overridden."""
        raise NotImplementedError
