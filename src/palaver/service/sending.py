"""Sends what waits in the outboxes when the models answer again: one task of a manager.

It runs only while something waits. It asks in growing intervals, and at once when some turn of this
process has been answered; a breaker that is open keeps it from asking at all, and the first prompt
after its time is the breaker's probe. Prompts of one conversation go one turn after the other.
"""

import asyncio
from collections.abc import Awaitable, Callable

from palaver import log
from palaver.domain.clock import Clock
from palaver.domain.errors import ConversationBusy, PalaverError
from palaver.domain.ids import ConversationId
from palaver.domain.values import Scope
from palaver.service.outbox import send_first
from palaver.service.state import StateManager
from palaver.service.turns import TurnRunner
from palaver.settings import OutboxSettings
from palaver.store.base import ConversationStore


class OutboxSender:
    """Of one manager."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        scope: Scope,
        clock: Clock,
        settings: OutboxSettings,
        states: Callable[[ConversationId], Awaitable[StateManager]],
        runner: TurnRunner,
    ) -> None:
        self._store, self._scope, self._clock = store, scope, clock
        self._settings, self._states, self._runner = settings, states, runner
        self._task: asyncio.Task[None] | None = None
        self._answered = asyncio.Event()
        self._closed = False

    def begin(self, *, now: bool = False) -> None:
        """See to it that what waits is sent; the first try comes after a pause, or `now`."""
        is_idle = self._task is None or self._task.done()
        if self._settings.automatic and is_idle and not self._closed:
            self._task = asyncio.create_task(self._send(now=now), name="send what waits")

    def answered(self) -> None:
        """Some model has answered: do not wait any longer."""
        self._answered.set()

    async def send_all(self) -> int:
        """Try everything that waits, once. Returns how many prompts were answered."""
        answered = 0
        for conversation in await self._store.outboxes(self._scope):
            try:
                answered += await self._send_of(conversation)
            except PalaverError as error:  # the others can still be sent
                log.get("outbox").warning("not_sent", conversation=conversation, code=error.code)
        return answered

    async def aclose(self) -> None:
        """Begin nothing more."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _send(self, *, now: bool) -> None:
        pause_s = self._settings.first_s
        if not now:
            await self._pause(pause_s)
        try:
            while await self._store.outboxes(self._scope):
                if await self.send_all():
                    pause_s = self._settings.first_s
                    continue
                await self._pause(pause_s)
                pause_s = min(pause_s * 2, self._settings.longest_s)
        except PalaverError as error:  # the store is closed, or cannot be read
            log.get("outbox").warning("stopped", code=error.code)

    async def _pause(self, seconds: float) -> None:
        self._answered.clear()
        waits = [
            asyncio.ensure_future(self._clock.sleep(seconds)),
            asyncio.ensure_future(self._answered.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _send_of(self, conversation: ConversationId) -> int:
        """Send the prompts of one conversation until one is not answered."""
        states, answered = await self._states(conversation), 0
        await states.refresh()
        while states.state.outbox and self._runner.is_reachable(states.state):
            try:
                session = await send_first(states, self._runner)
            except ConversationBusy:
                break  # it goes on when that turn has ended
            if session is None:
                continue
            await self._runner.sessions.settled(session.turn)
            if session.error is not None:
                break
            answered += 1
        return answered
