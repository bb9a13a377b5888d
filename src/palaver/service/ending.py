"""Ending turns that no task works on: cancelled while held, or left by a process that died.

History is valid afterwards, whatever state the turn was left in: every call has a result, what
readers have seen is kept as a partial message, and the attempt under way has its row in the ledger.
"""

import asyncio
from collections.abc import Awaitable, Callable

from palaver import log
from palaver.context.window import ContextWindowManager
from palaver.domain.errors import PalaverError, StaleWriter
from palaver.domain.ids import MessageId, TurnId
from palaver.domain.messages import Text
from palaver.domain.state import ConversationState
from palaver.domain.stream import StreamEvent, TurnCancelled, TurnInterrupted
from palaver.domain.values import Scope, TurnOutcome
from palaver.engine.commits import STOPPED
from palaver.service.actions import EndTurn, Unsaid
from palaver.service.sessions import TurnSessions
from palaver.service.state import StateManager
from palaver.store.base import ConversationStore, TurnRecord
from palaver.streams.partial import unfinished_attempt
from palaver.streams.session import StreamSession
from palaver.system import new_id

PROGRAM_STOPPED = "This call did not finish: the program that ran it stopped."
TRIES = 5
"""Of ending a turn whose rows another process writes at the same time."""


class TurnEnder:
    """Ends turns of one tenant."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        scope: Scope,
        sessions: TurnSessions,
        window: ContextWindowManager,
        load: Callable[[TurnRecord], Awaitable[StateManager]],
    ) -> None:
        self._store, self._scope, self._sessions = store, scope, sessions
        self._window, self._load = window, load
        self._ending = asyncio.Lock()
        """Two who end a turn at once end it once."""

    async def cancel(self, states: StateManager, turn: TurnId) -> None:
        """Cancel a turn that no task of this process works on: a held one, or another process's,
        which finds out that the turn was taken and stops working on it."""
        async with self._ending:
            if self._sessions.is_running(turn):  # somebody has just decided its last call
                (await self._sessions.own(turn)).cancel()
                await self._sessions.settled(turn)
            await self._end(states, turn, TurnOutcome.CANCELLED)

    async def end_lost(self, states: StateManager, turn: TurnId) -> None:
        """End an open turn that nobody works on any more: its process died, or the store failed
        while it ran."""
        async with self._ending:
            await self._end(states, turn, TurnOutcome.INTERRUPTED)

    async def recover(self) -> int:
        """End open turns of this tenant whose process died. Held turns stay held.

        Returns how many were ended. One that cannot be ended is logged and left for later.
        """
        ended = 0
        for record in await self._store.adopt_orphans(self._scope):
            try:
                states = await self._load(record)
                ended += await self._end_orphan(states, record)
            except PalaverError as error:
                log.get("recovery").error("orphan_kept", turn=record.id, code=error.code)
        return ended

    async def _end_orphan(self, states: StateManager, record: TurnRecord) -> bool:
        opened = (await states.refresh()).turn
        if opened is None or opened.id != record.id or opened.held is not None:
            return False
        await self.end_lost(states, record.id)
        log.get("recovery").info("turn_interrupted", turn=record.id)
        return True

    async def _end(self, states: StateManager, turn: TurnId, outcome: TurnOutcome) -> None:
        """End the turn, which is this process's from now on, unless it has ended."""
        for tries_left in reversed(range(TRIES)):
            session = await self._sessions.own(turn)
            opened = (await states.refresh()).turn
            if opened is None or opened.id != turn:
                return
            try:
                await self._close(states, session, outcome)
            except StaleWriter:
                if not tries_left:
                    raise
                # Rows have been written that this session does not know of.
                self._sessions.streams.forget(turn)
            else:
                return

    async def _close(
        self, states: StateManager, session: StreamSession, outcome: TurnOutcome
    ) -> None:
        turn = session.turn
        staged: tuple[StreamEvent, ...] = ()
        if session.is_ended:
            # The store failed: readers have seen an end already, it only has to be written.
            outcome = TurnOutcome.INTERRUPTED
        elif outcome is TurnOutcome.CANCELLED:
            staged = (TurnCancelled(turn),)
        else:
            staged = (TurnInterrupted(turn),)
        why = STOPPED if outcome is TurnOutcome.CANCELLED else PROGRAM_STOPPED
        action = EndTurn(turn, outcome, why, await self._unsaid(states.state, session))
        rows = session.unwritten(staged)
        await states.dispatch(action, run=(turn, rows) if rows else None)
        session.publish(staged)
        session.written(session.last)

    async def _unsaid(self, state: ConversationState, session: StreamSession) -> Unsaid | None:
        """The attempt that clients have seen and the log does not know to have ended."""
        rows = await self._store.read_run(self._scope, session.turn)
        found = unfinished_attempt((*rows, *session.unwritten()))
        if found is None:
            return None
        usage = self._window.estimated_usage(state, (Text(found.text),) if found.text else ())
        message = MessageId(new_id("msg"))
        return Unsaid(found.number, found.model, message, found.text, usage)
