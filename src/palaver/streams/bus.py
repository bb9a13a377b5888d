"""One place to hear every event of every turn, for metrics, logs and consoles.

A subscription has a bounded buffer. When its reader is too slow, the oldest events are dropped and
the reader is told how many (`Gap`): a bus is for watching, a session is for following.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import TypeAlias

import msgspec

from palaver.domain.ids import ConversationId, TurnId
from palaver.domain.stream import StreamEvent


class Published(msgspec.Struct, frozen=True):
    """An event with its place."""

    conversation: ConversationId
    turn: TurnId
    number: int
    event: StreamEvent
    epoch: int = 0
    """Higher than before: what was published of the turn from this number on is replaced."""


class Gap(msgspec.Struct, frozen=True):
    """`lost` events were dropped here because the reader was too slow."""

    lost: int


BusItem: TypeAlias = Published | Gap


class Subscription:
    """An open ear. Iterate it; `close` ends the iteration."""

    def __init__(self, bus: "EventBus", conversation: ConversationId | None, size: int) -> None:
        self._bus, self.conversation, self._size = bus, conversation, size
        self._buffer: deque[Published] = deque()
        self._lost = 0
        self._closed = False
        self._ready = asyncio.Event()

    def offer(self, item: Published) -> None:
        """Put an event into the buffer, dropping the oldest when it is full."""
        if len(self._buffer) >= self._size:
            self._buffer.popleft()
            self._lost += 1
        self._buffer.append(item)
        self._ready.set()

    def close(self) -> None:
        """Hear nothing more."""
        self._closed = True
        self._bus.forget(self)
        self._ready.set()

    async def __aiter__(self) -> AsyncIterator[BusItem]:
        while True:
            if self._lost:
                lost, self._lost = self._lost, 0
                yield Gap(lost)
            elif self._buffer:
                yield self._buffer.popleft()
            elif self._closed:
                return
            else:
                self._ready.clear()
                await self._ready.wait()


class EventBus:
    """Hands every published event to every subscription."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []

    def subscribe(
        self, conversation: ConversationId | None = None, *, size: int = 10_000
    ) -> Subscription:
        """Hear events from now on, of one conversation or of all."""
        subscription = Subscription(self, conversation, size)
        self._subscriptions.append(subscription)
        return subscription

    @property
    def is_heard(self) -> bool:
        """Whether anybody subscribes."""
        return bool(self._subscriptions)

    def forget(self, subscription: Subscription) -> None:
        """Stop handing events to `subscription`."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def publish(
        self,
        conversation: ConversationId,
        turn: TurnId,
        first: int,
        events: Sequence[StreamEvent],
        epoch: int = 0,
    ) -> None:
        """Hand on `events`, numbered from `first`, shown under `epoch`."""
        for subscription in self._subscriptions:
            if subscription.conversation in (None, conversation):
                for number, event in enumerate(events, first):
                    subscription.offer(Published(conversation, turn, number, event, epoch))
