"""Turns that no task works on: cancelled while held, or left by a process that died.

They are ended, or run on. Either way history is valid: every call has a result, what readers have
seen of an answer that stays unfinished is kept as a partial message, and the attempt under way has
its row in the ledger.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Literal
from weakref import WeakValueDictionary

import msgspec
from msgspec.structs import replace

from palaver import log
from palaver.context.window import ContextWindowManager
from palaver.domain.errors import PalaverError, StaleWriter
from palaver.domain.events import AttemptMade
from palaver.domain.ids import ConversationId, MessageId, TurnId
from palaver.domain.messages import Role, Text
from palaver.domain.state import ConversationState
from palaver.domain.stream import (
    BlockReset,
    RetryScheduled,
    StreamEvent,
    TurnCancelled,
    TurnInterrupted,
)
from palaver.domain.values import ErrorInfo, Scope, TurnOutcome, Usage
from palaver.engine.commits import STOPPED
from palaver.engine.resume import Standing
from palaver.service.actions import EndTurn, RecordFacts, Unsaid
from palaver.service.sessions import TurnSessions
from palaver.service.state import StateManager
from palaver.store.base import ConversationStore, RunRow, TurnRecord
from palaver.streams.partial import Unfinished, unfinished_attempt
from palaver.streams.session import StreamSession
from palaver.system import new_id

PROGRAM_STOPPED = "This call did not finish: the program that ran it stopped."
RESTARTED = ErrorInfo(
    "program_stopped",
    "the program that asked the model stopped; the answer begins anew",
    retryable=True,
)
CONTINUED = replace(RESTARTED, message="the program that asked the model stopped; it goes on")
TRIES = 5
"""Of ending a turn whose rows another process writes at the same time."""
RESUMES = 5
"""How often a turn changes hands before it is no longer run on: it may be what kills programs."""
REMEMBERED = 1000
AT_ONCE = 64
"""Orphans that are decided together: their facts share the syncs of the disk."""


class Recovered(msgspec.Struct, frozen=True):
    """A turn whose process had died, and what became of it: it was ended, or runs on here."""

    conversation: ConversationId
    turn: TurnId
    runs_on: bool


class TurnEnder:
    """Ends turns of one tenant, or runs them on."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        scope: Scope,
        sessions: TurnSessions,
        window: ContextWindowManager,
        load: Callable[[TurnRecord], Awaitable[StateManager]],
        check_ready: Callable[[ConversationState], None],
        run_on: Callable[[StateManager, StreamSession, MessageId, Standing], None],
        on_restart: Literal["interrupt", "resume", "leave"],
        may_continue: bool = True,
    ) -> None:
        """`may_continue`: whether a turn that runs on goes on with half an answer, or begins it
        anew."""
        self._store, self._scope, self._sessions = store, scope, sessions
        self._window, self._load = window, load
        self._check_ready, self._run_on = check_ready, run_on
        self._resumes, self._may_continue = on_restart == "resume", may_continue
        self.recovered: list[Recovered] = []
        """Since this process began, at most `REMEMBERED`."""
        self._locks: WeakValueDictionary[TurnId, asyncio.Lock] = WeakValueDictionary()
        """Two who end a turn at once end it once."""

    async def cancel(self, states: StateManager, turn: TurnId) -> None:
        """Cancel a turn that no task of this process works on: a held one, or another process's,
        which finds out that the turn was taken and stops working on it."""
        async with self._sessions.alone(turn), self._lock(turn):
            if self._sessions.is_running(turn):  # somebody has just decided its last call
                (await self._sessions.own(turn)).cancel()
                await self._sessions.settled(turn)
            await self._end(states, turn, TurnOutcome.CANCELLED)

    async def end_lost(self, states: StateManager, turn: TurnId) -> None:
        """End an open turn that nobody works on any more: its process died, or the store failed
        while it ran."""
        async with self._lock(turn):
            await self._end(states, turn, TurnOutcome.INTERRUPTED)

    async def recover(self) -> int:
        """Decide about open turns of this tenant whose process died: each is ended, or runs on in
        this process. Held turns stay held.

        Returns how many were decided. One that cannot be is logged and left for later.
        """
        records = await self._store.adopt_orphans(self._scope)
        room = asyncio.Semaphore(AT_ONCE)

        async def decided(record: TurnRecord, begun: ExitStack) -> bool:
            async with room:
                return await self._decide(record, begun)

        with ExitStack() as begun:  # nobody has to wait for a decision until other turns have run
            return sum(await asyncio.gather(*(decided(record, begun) for record in records)))

    async def _decide(self, record: TurnRecord, begun: ExitStack) -> bool:
        try:
            states = await self._load(record)
            opened = (await states.refresh()).turn
            if opened is None or opened.id != record.id or opened.held is not None:
                return False
            async with self._lock(record.id):
                runs_on = self._resumes and await self._resume(states, record, begun)
                if not runs_on:
                    await self._end(states, record.id, TurnOutcome.INTERRUPTED, record)
            told = "turn_resumed" if runs_on else "turn_interrupted"
            log.get("recovery").info(told, turn=record.id)
            if len(self.recovered) < REMEMBERED:
                self.recovered.append(Recovered(record.conversation, record.id, runs_on))
        except PalaverError as error:
            log.get("recovery").error("orphan_kept", turn=record.id, code=error.code)
            return False
        return True

    def _lock(self, turn: TurnId) -> asyncio.Lock:
        return self._locks.setdefault(turn, asyncio.Lock())

    # Running on.

    async def _resume(self, states: StateManager, record: TurnRecord, begun: ExitStack) -> bool:
        """Have an orphan run on from its state at the end of `begun`, unless it cannot be.

        Text that its last attempt had said is continued, as where a stream breaks; an attempt that
        was at anything else is made anew. It was paid for all the same.
        """
        if record.epoch > RESUMES:
            log.get("recovery").warning("turn_given_up", turn=record.id)
            return False
        try:
            self._check_ready(states.state)
        except PalaverError as error:
            log.get("recovery").warning("turn_not_resumed", turn=record.id, code=error.code)
            return False
        session, rows = await self._sessions.adopt(record)
        state, said = states.state, Standing()
        found = unfinished_attempt(rows)
        if found is not None:
            said = _standing(state, found) if self._may_continue else said
            await self._break_off(states, session, found, said)
        question = next(m.id for m in reversed(state.messages) if m.role is Role.USER)
        begun.enter_context(self._sessions.beginning(record.id))
        begun.callback(self._run_on, states, session, question, said)
        return True

    async def _break_off(
        self, states: StateManager, session: StreamSession, found: Unfinished, said: Standing
    ) -> None:
        """Give a cut attempt its row, and tell readers what stands of it."""
        opened, continues = states.state.turn, bool(said.texts)
        is_waiting = opened is not None and found.number <= opened.attempts
        if is_waiting and (continues or not found.text):
            return  # it broke before its process died; its row is there, and readers know
        why = CONTINUED if continues else RESTARTED
        shown: tuple[StreamEvent, ...] = (RetryScheduled(found.number, 0.0, why, continues),)
        if continues and found.has_reasoned:
            shown = (BlockReset("reasoning"), *shown)
        if not is_waiting:
            usage = self._estimated(states.state, found)
            made = AttemptMade(session.turn, found.number, found.model, usage, error=why)
            facts = RecordFacts((made,), session.turn, session.epoch)
            await states.dispatch(facts, run=(session.turn, session.unwritten(shown)))
        session.publish(shown)
        if not is_waiting:  # else the turn writes it with its next words
            session.written(session.last)

    # Ending.

    async def _end(
        self,
        states: StateManager,
        turn: TurnId,
        outcome: TurnOutcome,
        adopted: TurnRecord | None = None,
    ) -> None:
        """End the turn, which is this process's from now on, unless it has ended."""
        for tries_left in reversed(range(TRIES)):
            if adopted is not None and not self._sessions.is_running(turn):
                session, rows = await self._sessions.adopt(adopted)
            else:
                session = await self._sessions.own(turn)
                rows = await self._store.read_run(self._scope, turn)
            opened = (await states.refresh()).turn
            if opened is None or opened.id != turn:
                return
            try:
                await self._close(states, session, rows, outcome)
            except StaleWriter:
                if not tries_left:
                    raise
                # Rows have been written that this session does not know of.
                adopted = None
                self._sessions.streams.forget(turn)
                # Under a later epoch, since readers may have seen what is not among them.
                await self._store.take_turn(self._scope, turn)
            else:
                return

    async def _close(
        self,
        states: StateManager,
        session: StreamSession,
        rows: Sequence[RunRow],
        outcome: TurnOutcome,
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
        unsaid = self._unsaid(states.state, (*rows, *session.unwritten()))
        action = EndTurn(turn, outcome, why, unsaid)
        unwritten = session.unwritten(staged)
        await states.dispatch(action, run=(turn, unwritten) if unwritten else None)
        session.publish(staged)
        session.written(session.last)

    def _unsaid(self, state: ConversationState, rows: Sequence[RunRow]) -> Unsaid | None:
        """The attempt that clients have seen and the log does not know to have ended."""
        found = unfinished_attempt(rows)
        if found is None:
            return None
        return Unsaid(
            found.number,
            found.model,
            MessageId(new_id("msg")),
            found.text,
            self._estimated(state, found),
            _joined(found).flags,
        )

    def _estimated(self, state: ConversationState, found: Unfinished) -> Usage:
        return self._window.estimated_usage(state, (Text(found.text),) if found.text else ())


def _joined(found: Unfinished) -> Standing:
    """The text of an attempt; how exact its joins were is not in the run log."""
    return Standing(texts=(Text(found.text),), joins=found.joins, is_exact=not found.joins)


def _standing(state: ConversationState, found: Unfinished) -> Standing:
    """What stands of a cut attempt and can be continued. A reply in a shape has no second half."""
    is_shaped = state.turn is not None and state.turn.output is not None
    can_go_on = bool(found.text.strip()) and not found.is_elsewhere and not is_shaped
    return _joined(found) if can_go_on and not state.pending_calls else Standing()
