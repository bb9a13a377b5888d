"""The client for code without `async`: the same methods, which block.

from palaver.client import sync

with sync.connect("http://127.0.0.1:8642", key="pal_…") as palaver:
    print(palaver.create().say("What is 17 * 23?").text)
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from palaver.client import conversations as asynchronous
from palaver.client.conversations import ConversationInfo, ListedPage
from palaver.client.following import Replaced
from palaver.domain.ids import ConversationId, TurnId
from palaver.domain.messages import Block, Message
from palaver.domain.stream import StreamEvent
from palaver.domain.values import UserPreferences
from palaver.loop_thread import LoopThread
from palaver.service.reply import Reply
from palaver.service.turn_status import TurnStatus
from palaver.store.base import SearchHit
from palaver.streams.cursor import After
from palaver.streams.session import Numbered


class Conversation:
    """See `palaver.client.Conversation`."""

    def __init__(self, loop: LoopThread, wrapped: asynchronous.Conversation) -> None:
        self._loop, self._wrapped = loop, wrapped

    @property
    def id(self) -> ConversationId:
        """The conversation's id."""
        return self._wrapped.id

    @property
    def info(self) -> ConversationInfo:
        """What was known of it when it was last asked about."""
        return self._wrapped.info

    def refresh(self) -> ConversationInfo:
        """Read it again. Raises NotFound."""
        return self._loop.run(self._wrapped.refresh())

    def messages(self) -> Sequence[Message]:
        """All messages of the branch that is talked on, oldest first."""
        return self._loop.run(self._wrapped.messages())

    def start(
        self,
        said: str | Sequence[Block],
        *,
        on_busy: str = "reject",
        idempotency_key: str | None = None,
    ) -> TurnId:
        """Accept a message durably and begin its turn."""
        work = self._wrapped.start(said, on_busy=on_busy, idempotency_key=idempotency_key)
        return self._loop.run(work)

    def stream(
        self,
        said: str | Sequence[Block],
        *,
        on_busy: str = "reject",
        idempotency_key: str | None = None,
    ) -> Iterator[StreamEvent | Replaced]:
        """Say something and follow the answer."""
        return self._loop.iterate(
            self._wrapped.stream(said, on_busy=on_busy, idempotency_key=idempotency_key)
        )

    def say(
        self,
        said: str | Sequence[Block],
        *,
        on_busy: str = "reject",
        idempotency_key: str | None = None,
    ) -> Reply:
        """Say something and return the whole answer. Raises TurnFailure when the turn failed."""
        work = self._wrapped.say(said, on_busy=on_busy, idempotency_key=idempotency_key)
        return self._loop.run(work)

    def reply(self, turn: str, *, after: After = 0) -> Reply:
        """What a turn says behind `after`, when it has ended or waits."""
        return self._loop.run(self._wrapped.reply(turn, after=after))

    def follow(self, turn: str, *, after: After = 0) -> Iterator[Numbered | Replaced]:
        """The events of a turn behind `after`, to its end or to a suspension that lasts."""
        return self._loop.iterate(self._wrapped.follow(turn, after=after))

    def turn(self, turn: str) -> TurnStatus:
        """A turn as it stands. Raises NotFound."""
        return self._loop.run(self._wrapped.turn(turn))

    def cancel(self) -> None:
        """End the open turn; what came is kept. May be called from another thread."""
        self._loop.run(self._wrapped.cancel())

    def decide(self, call_id: str, *, approve: bool, note: str = "") -> TurnId:
        """Allow or refuse a call that waits."""
        return self._loop.run(self._wrapped.decide(call_id, approve=approve, note=note))

    def resume(self, decisions: dict[str, bool]) -> Reply:
        """Decide all waiting calls and return the answer of the whole turn."""
        return self._loop.run(self._wrapped.resume(decisions))

    def set_title(self, title: str) -> None:
        """Name the conversation."""
        self._loop.run(self._wrapped.set_title(title))

    def set_preferences(self, **changes: Any) -> UserPreferences:
        """Change preferences by name."""
        return self._loop.run(self._wrapped.set_preferences(**changes))


class Client:
    """See `palaver.client.Client`."""

    def __init__(self, loop: LoopThread, wrapped: asynchronous.Client) -> None:
        self._loop, self._wrapped = loop, wrapped

    def create(
        self, *, title: str = "", tags: Sequence[str] = (), **preferences: Any
    ) -> Conversation:
        """A new conversation."""
        made = self._loop.run(self._wrapped.create(title=title, tags=tags, **preferences))
        return Conversation(self._loop, made)

    def open(self, conversation: str) -> Conversation:
        """A stored conversation. Raises NotFound."""
        return Conversation(self._loop, self._loop.run(self._wrapped.open(conversation)))

    def list(
        self, *, limit: int = 50, cursor: str | None = None, archived: bool = False
    ) -> ListedPage:
        """Conversations by newest change."""
        return self._loop.run(self._wrapped.list(limit=limit, cursor=cursor, archived=archived))

    def search(self, query: str, *, limit: int = 20) -> tuple[SearchHit, ...]:
        """Messages with all words of `query`, the best first."""
        return self._loop.run(self._wrapped.search(query, limit=limit))

    def delete(self, conversation: str) -> None:
        """Erase a conversation."""
        self._loop.run(self._wrapped.delete(conversation))

    def turn(self, turn: str) -> TurnStatus:
        """A turn as it stands. Raises NotFound."""
        return self._loop.run(self._wrapped.turn(turn))

    def follow(self, turn: str, *, after: After = 0) -> Iterator[Numbered | Replaced]:
        """The events of a turn behind `after`, to its end."""
        return self._loop.iterate(self._wrapped.follow(turn, after=after))


@contextmanager
def connect(address: str, *, key: str = "") -> Iterator[Client]:
    """See `palaver.client.connect`."""
    loop = LoopThread()
    try:
        door = asynchronous.connect(address, key=key)
        opened = loop.run(door.__aenter__())
        try:
            yield Client(loop, opened)
        finally:
            loop.run(door.__aexit__(None, None, None))
    finally:
        loop.close()
