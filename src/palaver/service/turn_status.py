"""Turns by their id alone, as somebody asks for one who has nothing else: a client that comes back.

Whether a turn is open, and whose it is, stands in the store's directory of turns; how it ended, in
the conversation's log.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from palaver.domain.errors import NotFound
from palaver.domain.events import TurnClosed
from palaver.domain.ids import ConversationId, TurnId, is_id
from palaver.domain.messages import ToolCall
from palaver.domain.values import ErrorInfo, Scope, SuspendReason, TurnOutcome
from palaver.service.sessions import TurnSessions
from palaver.service.state import StateManager
from palaver.store.base import ConversationStore
from palaver.streams.cursor import After
from palaver.streams.session import Numbered, StreamSession

_CLOSED = ("turn.closed",)


class TurnStatus(msgspec.Struct, frozen=True):
    """A turn as it stands now."""

    id: TurnId
    conversation: ConversationId
    open: bool
    """Accepted and not ended: it runs, waits for a place, or is held."""
    epoch: int
    """How often another process has taken it over."""
    started_at: float
    """Seconds since 1970, UTC."""
    held: SuspendReason | None = None
    """What an open turn waits for; None while it runs."""
    waiting: tuple[ToolCall, ...] = ()
    """The calls that wait for a decision, or for their client's result."""
    outcome: TurnOutcome | None = None
    """How it ended; None while it is open."""
    error: ErrorInfo | None = None
    """What ended a failed one."""


class TurnDirectory:
    """The turns of one tenant."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        scope: Scope,
        sessions: TurnSessions,
        states: Callable[[ConversationId], Awaitable[StateManager]],
    ) -> None:
        self._store, self._scope = store, scope
        self._sessions, self._states = sessions, states

    async def status(self, turn: str) -> TurnStatus:
        """How a turn stands. Of one that has ended it costs a walk over the kinds of the
        conversation's facts. Raises NotFound."""
        record = await self._store.turn(self._scope, _checked(turn))
        if record.open:
            state = await (await self._states(record.conversation)).refresh()
            opened = state.turn
            if opened is not None and opened.id == record.id:
                waiting = tuple(c for c in state.pending_calls if c.id in opened.waiting)
                return TurnStatus(
                    record.id,
                    record.conversation,
                    True,
                    record.epoch,
                    record.started_at,
                    opened.held,
                    waiting,
                )
            record = await self._store.turn(self._scope, record.id)  # it has just ended
        outcome, error = await self._ended(record.conversation, record.id)
        return TurnStatus(
            record.id,
            record.conversation,
            record.open,
            record.epoch,
            record.started_at,
            outcome=outcome,
            error=error,
        )

    async def session(self, turn: str, after: After = 0) -> StreamSession:
        """Where to read a turn behind `after`. Raises NotFound, InvalidInput."""
        return await self._sessions.reading(None, _checked(turn), after)

    async def follow(self, turn: str, after: After) -> AsyncIterator[Numbered]:
        """Every event of a turn behind `after`."""
        async for numbered in self._sessions.follow(None, _checked(turn), after):
            yield numbered

    async def _ended(
        self, conversation: ConversationId, turn: TurnId
    ) -> tuple[TurnOutcome | None, ErrorInfo | None]:
        facts = await self._store.read(self._scope, conversation, kinds=_CLOSED)
        for fact in reversed(facts):
            if isinstance(fact.event, TurnClosed) and fact.event.turn == turn:
                return fact.event.outcome, fact.event.error
        return None, None


def _checked(turn: str) -> TurnId:
    if not is_id(turn):
        raise NotFound(f"no turn {turn[:40]!r}")
    return TurnId(turn)
