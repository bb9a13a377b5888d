"""Drives a turn: what the engine yields is made durable, then shown.

The engine decides, the driver persists. Facts, the events that tell of them and all deltas that are
still unwritten go into one transaction; deltas between facts are written a little later, together.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from palaver import log
from palaver.domain.errors import PalaverError, StaleWriter, StoreError, TurnTakenOver
from palaver.domain.events import MessageAdded
from palaver.domain.stream import StreamEvent, TurnFailed
from palaver.domain.values import Scope
from palaver.engine.ports import Commit, Emission
from palaver.service.actions import RecordFacts
from palaver.service.answers import CachedAnswers
from palaver.service.outbox import Keeping, kept
from palaver.service.state import Dispatched, StateManager
from palaver.settings import StreamSettings
from palaver.store.base import ConversationStore
from palaver.streams.session import StreamSession


class TurnDriver:
    """Carries the emissions of one run of a turn to the log and to the session."""

    def __init__(
        self,
        states: StateManager,
        store: ConversationStore,
        scope: Scope,
        session: StreamSession,
        *,
        settings: StreamSettings,
        moved: Callable[[StreamSession], Awaitable[None]],
        keeping: Keeping | None = None,
        answers: CachedAnswers | None = None,
        refused: Callable[[StoreError], list[StreamEvent]] | None = None,
    ) -> None:
        """`keeping`: the question goes to the outbox when no model can be reached. `answers`: where
        good ones are noted. `refused` is told what the store does not take, and says what to show.
        """
        self._states, self._store, self._scope = states, store, scope
        self._session, self._settings, self._moved = session, settings, moved
        self._keeping, self._answers, self._refused = keeping, answers, refused
        self._flush: asyncio.TimerHandle | asyncio.Task[None] | None = None
        """Deltas will be written, or are being written."""
        self._look: asyncio.TimerHandle | asyncio.Task[None] | None = None
        self._has_written = False
        """Since the last look at the turn's owner; a write of rows proves who that is."""
        self._writing = asyncio.Lock()
        """Held while rows are on their way: rows of a run log must follow each other."""

    async def drive(self, emissions: AsyncIterator[Emission]) -> None:
        """Run the turn until it ends, is held, or another process takes it over, which its readers
        then follow. Failures of the store end it, and are shown."""
        self._look_later()
        try:
            async with aclosing(emissions) as turn:  # type: ignore[type-var]
                async for emission in turn:
                    if isinstance(emission, Commit):
                        await self._commit(emission)
                    else:
                        self.show(emission)
        except TurnTakenOver as error:
            await self._leave(error)
        except PalaverError as error:
            if self._is_over_elsewhere():  # the engine has looked at a state that knows it already
                await self._leave(TurnTakenOver("another process ended the turn"))
            else:
                self._fail(error)
        except asyncio.CancelledError:  # left open for the next process, with all that it said
            async with self._writing:
                await self._write()
            raise
        finally:
            self._stop_looking()
            await self._stop_flushing()

    def _is_over_elsewhere(self) -> bool:
        opened = self._states.state.turn
        is_open = opened is not None and opened.id == self._session.turn
        return not is_open and not self._session.is_ended

    def show(self, events: list[StreamEvent]) -> None:
        """Show events now; they are written a little later, or with the next facts."""
        self._session.publish(events)
        self._flush_later()

    async def _leave(self, taken: TurnTakenOver) -> None:
        log.get("turn").warning("turn_taken_over", turn=self._session.turn)
        try:
            await self._moved(self._session)
        except PalaverError:  # nobody can be followed: the store fails, or all was deleted
            self._fail(taken)

    def _fail(self, error: PalaverError) -> None:
        log.get("turn").error("turn_lost", turn=self._session.turn, code=error.code)
        self._session.error = error
        if not self._session.is_ended:
            news: list[StreamEvent] = []
            if self._refused is not None and isinstance(error, StoreError):
                news = self._refused(error)
            self._session.publish([*news, TurnFailed(self._session.turn, error.info())])

    # Another process may take the turn, also while nothing of it is written.

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._look = loop.call_later(self._settings.owner_check_s, self._look_at_owner)

    def _look_at_owner(self) -> None:
        if self._has_written or self._writing.locked():  # one that is under way will say so, too
            self._has_written = False
            self._look_later()
        else:
            self._look = asyncio.create_task(self._check_owner(), name="look at the turn's owner")

    async def _check_owner(self) -> None:
        """Stop the turn when another process has taken it."""
        try:
            record = await self._store.turn(self._scope, self._session.turn)
        except PalaverError:
            pass  # the next commit says what is wrong
        else:
            if record.epoch != self._session.epoch:
                self._session.cancel()
                return
        self._look_later()

    def _stop_looking(self) -> None:
        if self._look is not None:
            self._look.cancel()

    async def _commit(self, commit: Commit) -> None:
        commit = kept(self._states.state, commit, self._keeping)
        async with self._writing:
            rows = self._session.unwritten(commit.shown)
            run = (self._session.turn, rows) if rows else None
            facts = RecordFacts(commit.facts, self._session.turn, self._session.epoch)
            done = await self._states.dispatch(facts, run=run)
            self._has_written = self._has_written or bool(rows)
            self._session.error = commit.error
            self._session.publish(commit.shown)
            self._session.written(self._session.last)
        if commit.answers and self._answers is not None:
            await self._note(self._answers, done, commit.answers)

    async def _note(self, answers: CachedAnswers, done: Dispatched, key: bytes) -> None:
        """Remember where the answer stands that was just written."""
        first = done.state.seq - len(done.facts) + 1
        for number, fact in enumerate(done.facts, first):
            if isinstance(fact, MessageAdded):
                await answers.note(done.state.id, number, fact.message, key)

    def _flush_later(self) -> None:
        if self._flush is None:
            loop = asyncio.get_running_loop()
            self._flush = loop.call_later(self._settings.flush_s, self._begin_flush)

    def _begin_flush(self) -> None:
        self._flush = asyncio.create_task(self._write_together(), name="write deltas")

    async def _write_together(self) -> None:
        async with self._writing:
            try:
                is_behind = await self._write()
            finally:
                self._flush = None
        if is_behind:
            self._flush_later()

    async def _write(self) -> bool:
        """Write what is shown and not durable. Returns whether more has come meanwhile."""
        rows = self._session.unwritten()
        if not rows:
            return False
        try:
            await self._store.append_run(self._scope, self._session.turn, rows)
        except StaleWriter:  # another process has taken the turn: what runs here is for nothing
            self._session.cancel()
            return False
        except PalaverError as error:
            # Deltas promise nothing: the next commit carries them, and speaks up if it cannot.
            log.get("turn").warning("deltas_not_written", code=error.code)
            return False
        self._has_written = True
        self._session.written(rows[-1].last)
        return self._session.last > rows[-1].last

    async def _stop_flushing(self) -> None:
        async with self._writing:  # a write under way is not cut off, a later one is not begun
            if self._flush is not None:
                self._flush.cancel()
