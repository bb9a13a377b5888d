"""Which conversations are in memory: those in use, and the newest idle ones within two limits.

Everybody who opens a conversation while somebody holds it is given the same `StateManager`. When it
has been idle for longest and there is too much, its state is let go of. Who still holds it notices
nothing but the time of reading it again; when nobody does, the manager goes with its state.
"""

from collections import OrderedDict
from collections.abc import Callable
from weakref import WeakValueDictionary

from palaver.domain.ids import ConversationId
from palaver.service.state import StateManager

LOOKS = 64
"""Conversations that are looked at for one that is opened: where a thousand turns run at once, none
of them can be let go of, and each look would be at all of them."""


class OpenConversations:
    """The `StateManager`s of one `ConversationManager`, at most `limit` idle ones with their
    states, and `limit_bytes` of those. `let_go` is told of each whose state is no longer kept, so
    that others keep nothing of it either."""

    def __init__(
        self, *, limit: int, limit_bytes: int, let_go: Callable[[ConversationId], None]
    ) -> None:
        self._limit, self._limit_bytes, self._told = limit, limit_bytes, let_go
        self._held: WeakValueDictionary[ConversationId, StateManager] = WeakValueDictionary()
        self._awake: OrderedDict[ConversationId, tuple[StateManager, int]] = OrderedDict()
        """With their weights; the one that was used last is the last."""
        self._weight = 0

    def find(self, conversation: ConversationId) -> StateManager | None:
        """The one that somebody holds, or that was used lately."""
        return self._held.get(conversation)

    def use(self, states: StateManager) -> StateManager:
        """The manager of this conversation for everybody from now on: this one, unless there is
        one. Others may be let go of for it."""
        found = self._held.setdefault(states.id, states)
        self._count_out(states.id)
        self._awake[states.id] = found, found.weight
        self._weight += found.weight
        self._let_go(but=found)
        return found

    def forget(self, conversation: ConversationId) -> StateManager | None:
        """Keep it no longer; returns it if somebody holds it."""
        self._count_out(conversation)
        self._told(conversation)
        return self._held.pop(conversation, None)

    def awake(self) -> list[StateManager]:
        """Those whose states are in memory."""
        return [states for states in self._held.values() if not states.is_resting]

    def _let_go(self, *, but: StateManager) -> None:
        for _ in range(LOOKS):
            if len(self._awake) <= self._limit and self._weight <= self._limit_bytes:
                return
            states, _ = next(iter(self._awake.values()))
            if states is but:
                return
            if states.is_idle:
                self._count_out(states.id)
                states.rest()
                self._told(states.id)
            else:
                self._awake.move_to_end(states.id)
        self._awake.move_to_end(but.id)

    def _count_out(self, conversation: ConversationId) -> None:
        _, weight = self._awake.pop(conversation, (None, 0))
        self._weight -= weight
