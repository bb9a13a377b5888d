"""A conversation's newest state in memory, or the way back to it.

A state that nobody has used for long is let go of, and read again when somebody does. Its messages
take 500 bytes each beside their text; the log holds them anyway.
"""

from collections import deque

import msgspec
from msgspec.structs import replace

from palaver import log
from palaver.domain import snapshot as snapshots
from palaver.domain.errors import PalaverError
from palaver.domain.events import Recorded
from palaver.domain.ids import ConversationId
from palaver.domain.messages import Message
from palaver.domain.reducer import fold
from palaver.domain.state import ConversationState
from palaver.domain.values import Scope
from palaver.store.base import BlockingStore, ConversationStore

HISTORY = 20
"""States kept in memory: those of some turns. They share their messages, and one takes 1 KB all the
same; older ones are read from the log."""
MESSAGE_BYTES = 500
"""What a message takes in memory beside its text; measured."""


class HeldState:
    """The state of one conversation, the ones before it, and where its newest snapshot is."""

    def __init__(
        self,
        store: ConversationStore,
        scope: Scope,
        state: ConversationState,
        *,
        snapshot_at: int,
    ) -> None:
        self.history: deque[ConversationState] = deque([state], maxlen=HISTORY)
        self.snapshot_at = snapshot_at
        self.id = state.id
        self._store, self._scope = store, scope
        self._state: ConversationState | None = state
        self._seq_at_rest = 0
        self._weight, self._weighed = 0, 0

    @classmethod
    async def load(
        cls, store: ConversationStore, scope: Scope, conversation: ConversationId
    ) -> "HeldState":
        """The state of a stored conversation. Raises NotFound."""
        state, at = await load_state(store, scope, conversation)
        return cls(store, scope, state, snapshot_at=at)

    @property
    def is_resting(self) -> bool:
        """Whether there is no state in memory."""
        return self._state is None

    @property
    def state(self) -> ConversationState:
        """The state, which must not rest."""
        if self._state is None:
            raise RuntimeError("the state rests")
        return self._state

    @property
    def weight(self) -> int:
        """About how many bytes of memory the messages take. Costs what is new since the last
        time."""
        if self._state is None:
            return 0
        messages = self._state.messages
        if len(messages) < self._weighed:
            self._weight, self._weighed = 0, 0
        self._weight += sum(map(_bytes_of, messages.since(self._weighed)))
        self._weighed = len(messages)
        return self._weight

    def become(self, state: ConversationState) -> None:
        """Go on with `state`."""
        self._state = state
        self.history.append(state)

    def rest(self) -> None:
        """Let go of the state and its history, where the store can give it back at any time."""
        if self._state is not None and isinstance(self._store, BlockingStore):
            self._seq_at_rest = self._state.seq
            self._weight, self._weighed = 0, 0
            self._state = None
            self.history.clear()

    async def reload(self) -> None:
        """Take the state from the store again: facts that were there have been rewritten."""
        state, self.snapshot_at = await load_state(self._store, self._scope, self.id)
        self.history.clear()
        self.become(state)

    async def wake(self) -> list[Recorded]:
        """Read the state again; returns what other processes wrote meanwhile. Raises StoreError."""
        return self._woken(*await self._load())

    def wake_at_once(self) -> list[Recorded]:
        """The same, while the thread waits."""
        if not isinstance(self._store, BlockingStore):
            raise RuntimeError("a state rests only where its store can be asked at any time")
        return self._woken(*self._store.blocking(self._load()))

    async def _load(self) -> tuple[ConversationState, int, list[Recorded]]:
        state, at = await load_state(self._store, self._scope, self.id)
        missed: list[Recorded] = []
        if state.seq > self._seq_at_rest:
            missed = await self._store.read(
                self._scope, self.id, after=self._seq_at_rest, until=state.seq
            )
        return state, at, missed

    def _woken(self, state: ConversationState, at: int, missed: list[Recorded]) -> list[Recorded]:
        if self._state is not None:  # somebody else has read it meanwhile
            return []
        self.snapshot_at = at
        self.become(state)
        return missed


def _bytes_of(message: Message) -> int:
    results = sum(len(result.text) for result in message.tool_results)
    arguments = sum(len(call.arguments) for call in message.tool_calls)
    return MESSAGE_BYTES + len(message.text) + results + arguments


async def load_state(
    store: ConversationStore, scope: Scope, conversation: ConversationId
) -> tuple[ConversationState, int]:
    """The newest state of a stored conversation, and the number of the snapshot it began from."""
    state, at = ConversationState(conversation), 0
    found = await store.snapshot(scope, conversation)
    if found is not None:
        records = await store.read(
            scope, conversation, until=found.seq, kinds=snapshots.MESSAGE_KINDS
        )
        try:
            # A fork begins with its origin's snapshot, which names the origin.
            restored = replace(snapshots.restore(found, records), id=conversation)
            state, at = restored, found.seq
        except (msgspec.MsgspecError, PalaverError):
            log.get("state").warning("snapshot_ignored", conversation=conversation)
    newer: list[Recorded] = await store.read(scope, conversation, after=at)
    return fold(state, newer), at
