"""Redaction across conversations: what one message says is erased wherever it may stand.

A fork shares the facts of its origin, and each may have compactions of its own that quote them. So
the quotes of all who share the message are erased first, then the message: a crash between the two
leaves a message that is still there, and never a quote of one that is not.
"""

from collections.abc import Awaitable, Callable
from itertools import takewhile

from msgspec.structs import replace

from palaver.domain.errors import ConversationBusy, NotFound
from palaver.domain.events import Compacted, Event, MetadataChanged, Recorded
from palaver.domain.ids import BlobId, ConversationId, MessageId
from palaver.domain.state import ConversationState
from palaver.domain.values import Scope
from palaver.service.redaction import (
    Redaction,
    RedactionReceipt,
    after_redaction,
    plan,
)
from palaver.service.state import StateManager
from palaver.store.base import BlobStore, ConversationStore
from palaver.streams.manager import StreamManager


class Eraser:
    """Redacts messages of one tenant."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        blobs: BlobStore,
        scope: Scope,
        streams: StreamManager,
        states: Callable[[ConversationId], Awaitable[StateManager]],
        reload: Callable[[MessageId], Awaitable[None]],
    ) -> None:
        self._store, self._blobs, self._scope = store, blobs, scope
        self._streams, self._states, self._reload = streams, states, reload

    async def redact(self, states: StateManager, message: MessageId, note: str) -> RedactionReceipt:
        """Erase a message from log, index, snapshots, run logs, memory, from what compactions made
        of it, here and in forks, and where nothing else refers to them, its blobs."""
        sharers = await self._erase_quotes(states, message, note)
        planned, appended = await states.rewrite(
            lambda state, log: _erasure(state, log, message, note)
        )
        assert appended is not None  # the erasure itself is a fact
        for sharer in sharers:
            await sharer.reload()
        await self._reload(message)
        for turn in planned.turns:
            self._streams.forget(turn)
        gone: tuple[BlobId, ...] = ()
        if planned.blobs:
            named = await self._store.blob_references(self._scope)
            gone = tuple(sorted(planned.blobs - named))
        for blob in gone:
            await self._blobs.delete(self._scope, blob)
        facts = tuple(seq for seq, _ in planned.replaced)
        return RedactionReceipt(message, facts, planned.turns, gone, appended.at)

    async def _erase_quotes(
        self, states: StateManager, message: MessageId, note: str
    ) -> list[StateManager]:
        """Where it is shared. Their states still hold what they share; see `reload`."""
        mine = await self._store.read(self._scope, states.id)
        planned = plan(mine, message)
        sharers: list[StateManager] = []
        if planned.said_at is None:
            return sharers
        sharing = await self._store.sharing(self._scope, states.id, planned.said_at)
        for conversation in sharing:
            try:
                sharer = await self._states(conversation)
                await sharer.rewrite(lambda state, log: _unquoting(state, log, mine, message, note))
            except NotFound:  # deleted meanwhile
                continue
            sharers.append(sharer)
        return sharers


def _erasure(
    state: ConversationState, log: list[Recorded], message: MessageId, note: str
) -> tuple[Redaction, tuple[Event, ...]]:
    if state.turn is not None:
        raise ConversationBusy("a turn of this conversation is still open")
    planned = plan(log, message)
    return planned, after_redaction(state, planned, message, note)


def _unquoting(
    state: ConversationState,
    log: list[Recorded],
    other: list[Recorded],
    message: MessageId,
    note: str,
) -> tuple[Redaction, tuple[Event, ...]]:
    """For a conversation that shares the message: what its own facts made of it. The ones that it
    has in common with `other` are rewritten there. A turn may run on."""
    common = sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(log, other, strict=False))
    )
    planned = plan(log, message)
    replaced = tuple(
        (seq, event)
        for seq, event in planned.replaced
        if seq > common and isinstance(event, Compacted | MetadataChanged)
    )
    redaction = replace(planned, replaced=replaced, turns=(), blobs=frozenset())
    return redaction, after_redaction(state, planned, message, note) if replaced else ()
