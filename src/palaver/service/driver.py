"""Drives a turn: what the engine yields is made durable, then shown.

The engine decides, the driver persists. Facts, the events that tell of them and all deltas that are
still unwritten go into one transaction; deltas between facts are written a little later, together.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from palaver import log
from palaver.domain.errors import PalaverError
from palaver.domain.stream import TurnFailed
from palaver.domain.values import Scope
from palaver.engine.ports import Commit, Emission
from palaver.service.actions import RecordFacts
from palaver.service.state import StateManager
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
        flush_s: float,
    ) -> None:
        self._states, self._store, self._scope = states, store, scope
        self._session, self._flush_s = session, flush_s
        self._flush: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        """Held while rows are on their way: rows of a run log must follow each other."""

    async def drive(self, emissions: AsyncIterator[Emission]) -> None:
        """Run the turn until it ends or is held. Failures of the store end it, and are shown."""
        try:
            async with aclosing(emissions) as turn:  # type: ignore[type-var]
                async for emission in turn:
                    if isinstance(emission, Commit):
                        await self._commit(emission)
                    else:
                        self._session.publish(emission)
                        self._flush_later()
        except PalaverError as error:
            log.get("turn").error("turn_lost", turn=self._session.turn, code=error.code)
            self._session.error = error
            if not self._session.is_ended:
                self._session.publish([TurnFailed(self._session.turn, error.info())])
        finally:
            await self._stop_flushing()

    async def _commit(self, commit: Commit) -> None:
        async with self._writing:
            rows = self._session.unwritten(commit.shown)
            run = (self._session.turn, rows) if rows else None
            await self._states.dispatch(RecordFacts(commit.facts), run=run)
            self._session.error = commit.error
            self._session.publish(commit.shown)
            self._session.written(self._session.last)

    def _flush_later(self) -> None:
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._write_soon(), name="write deltas")

    async def _write_soon(self) -> None:
        is_behind = True
        while is_behind:
            await asyncio.sleep(self._flush_s)
            async with self._writing:
                is_behind = await self._write()

    async def _write(self) -> bool:
        """Write what is shown and not durable. Returns whether more has come meanwhile."""
        rows = self._session.unwritten()
        if not rows:
            return False
        try:
            await self._store.append_run(self._scope, self._session.turn, rows)
        except PalaverError as error:
            # Deltas promise nothing: the next commit carries them, and speaks up if it cannot,
            # also where another process has taken the turn over or deleted the conversation.
            log.get("turn").warning("deltas_not_written", code=error.code)
            return False
        self._session.written(rows[-1].last)
        return self._session.last > rows[-1].last

    async def _stop_flushing(self) -> None:
        async with self._writing:  # a write under way is not cut off, a later one is not begun
            if self._flush is not None:
                self._flush.cancel()
