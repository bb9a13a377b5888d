"""Ready before needed: a compaction is made in the background while there is room left.

At `prepare` of the window a task reads the state as it is, which nobody can change, and makes the
compaction that `trigger` will ask for; a turn then swaps it in without waiting. What was said
meanwhile stays behind it as it is. A preparation of a path that was left, redacted, pinned or
compacted otherwise is dropped. What it cost is in the ledger as soon as it is known.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import msgspec
from msgspec.structs import replace

from palaver import log
from palaver.context.need import Need, ahead
from palaver.context.window import ContextWindow, ContextWindowManager
from palaver.domain.compaction import Compaction
from palaver.domain.errors import PalaverError
from palaver.domain.ids import ConversationId
from palaver.domain.state import ConversationState
from palaver.engine.ports import Shrunk
from palaver.service.actions import RecordSideRequests
from palaver.service.compaction import Basis, Compactions, Wish
from palaver.service.state import StateManager

KEPT = 256
"""Conversations with something prepared; of more, the oldest preparation is dropped."""
NOTHING_NEW = 10
"""Messages. Where nothing could be gained, nothing is tried again before so many more."""
StatesOf = Callable[[ConversationId], Awaitable[StateManager]]


class Prepared(msgspec.Struct, frozen=True):
    """A compaction that waits until it is needed. None: there is nothing to gain."""

    basis: Basis
    messages: int
    """Of the path that was read."""
    compaction: Compaction | None

    def is_current(self, state: ConversationState) -> bool:
        """Whether another try would come to the same."""
        if self.compaction is None:
            return len(state.messages) - self.messages < NOTHING_NEW
        return self.fits(state)

    def fits(self, state: ConversationState) -> bool:
        """Whether it may be used for `state`."""
        return self.compaction is not None and self.basis.holds(state, self.compaction)


class Preparations:
    """At most one task for each conversation; all of them end with `aclose`."""

    def __init__(
        self, compactions: Compactions, window: ContextWindowManager, states: StatesOf
    ) -> None:
        self._compactions, self._window, self._states = compactions, window, states
        self._tasks: dict[ConversationId, asyncio.Task[None]] = {}
        self._ready: OrderedDict[ConversationId, Prepared] = OrderedDict()

    def consider(self, state: ConversationState, measured: ContextWindow) -> None:
        """Begin a preparation if one will be wanted soon, and none is there or under way."""
        if state.id in self._tasks or not self._window.should_prepare(state, measured):
            return
        ready = self._ready.get(state.id)
        if ready is not None and ready.is_current(state):
            return
        self._ready.pop(state.id, None)
        need = ahead(measured.filled, self._window.settings)
        task = asyncio.create_task(self._prepare(state, need), name="prepare a compaction")
        self._tasks[state.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(state.id, None))

    def is_under_way(self, conversation: ConversationId) -> bool:
        """Whether something is being prepared for it."""
        return conversation in self._tasks

    def is_ready(self, conversation: ConversationId) -> bool:
        """Whether something was prepared for it; it may be stale."""
        ready = self._ready.get(conversation)
        return ready is not None and ready.compaction is not None

    def take(self, state: ConversationState, need: Need) -> Shrunk | None:
        """What was prepared, if it meets the need now. It is handed out once."""
        ready = self._ready.get(state.id)
        if ready is None or ready.compaction is None:
            return None
        del self._ready[state.id]
        if not ready.fits(state):
            return None
        count = self._compactions.counter(state)
        since = sum(count(message) for message in state.messages.since(ready.messages))
        before = ready.compaction.tokens_before + since
        after = ready.compaction.tokens_after + since
        if after > min(need.limit, before * (1 - self._window.settings.min_gain)):
            return None
        made = replace(
            ready.compaction, reason=need.reason, tokens_before=before, tokens_after=after
        )
        return Shrunk(made)

    def drop(self, conversation: ConversationId) -> None:
        """Forget what was prepared, and stop what is being prepared."""
        self._ready.pop(conversation, None)
        task = self._tasks.get(conversation)
        if task is not None:
            task.cancel()

    def drop_all(self) -> None:
        """Forget everything that was prepared: a message was erased that it may quote."""
        for conversation in {*self._tasks, *self._ready}:
            self.drop(conversation)

    async def aclose(self) -> None:
        """Stop every task and wait for it."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._ready.clear()

    async def _prepare(self, state: ConversationState, need: Need) -> None:
        try:
            shrunk = await self._compactions.planned(state, need, Wish())
            made = Prepared(Basis.of(state), len(state.messages), shrunk.compaction)
            self._ready[state.id] = made
            if len(self._ready) > KEPT:
                self._ready.popitem(last=False)
            if shrunk.paid:
                states = await self._states(state.id)
                await states.dispatch(RecordSideRequests(shrunk.paid))
        except PalaverError as error:  # nothing is lost: the turn makes its own
            log.get("context").warning("preparation_failed", code=error.code)
        except Exception as error:  # noqa: BLE001 - a background task must not die unheard
            log.get("context").error("preparation_failed", error=repr(error))
