"""The running turns of this process.

A turn runs in a task that belongs to the manager. Readers come and go; only `cancel` or `aclose`
end a turn from outside. The newest ended sessions stay a while for late readers, within bounds of
time, number and bytes; then the durable run log serves. A held one stays as long as somebody reads
it: a turn that waits for a person may wait for ever, and everything of it is durable.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple
from weakref import WeakValueDictionary

from palaver import log
from palaver.domain.clock import Clock
from palaver.domain.errors import PalaverError
from palaver.domain.ids import TurnId
from palaver.domain.stream import TurnFailed, TurnInterrupted, TurnSuspended
from palaver.domain.values import ErrorInfo
from palaver.streams.bus import EventBus
from palaver.streams.session import StreamSession

_UNEXPECTED = ErrorInfo(
    "internal", "an unexpected error ended the turn", "The log has the details."
)

Drive = Callable[[StreamSession], Awaitable[None]]
"""Runs a turn and publishes its events to the session; the last one is terminal or a suspension."""


KEEP_BYTES = 4 << 20
"""Of the events of ended turns, all in all."""


class _Ended(NamedTuple):
    at: float
    weight: int


class StreamManager:
    """Starts, finds, cancels and ends turns.

    An ended one is kept for `keep_s` seconds, but only the newest `keep` and `KEEP_BYTES` of them.
    """

    def __init__(self, clock: Clock, *, keep_s: float = 60.0, keep: int = 32) -> None:
        self.bus = EventBus()
        self._clock, self._keep_s, self._keep = clock, keep_s, keep
        self._sessions: dict[TurnId, StreamSession] = {}
        self._held: WeakValueDictionary[TurnId, StreamSession] = WeakValueDictionary()
        self._ended: OrderedDict[TurnId, _Ended] = OrderedDict()
        self._ended_weight = 0
        self._tasks: dict[TurnId, asyncio.Task[None]] = {}
        self._heard: dict[TurnId, asyncio.Task[None]] = {}
        """Turns that ran here and run elsewhere now, and are told to the bus."""
        self._leaves = False

    def start(self, session: StreamSession, drive: Drive) -> None:
        """Run a turn, or run it on after a suspension. Its errors are the driver's to handle."""
        self._sessions[session.turn] = self.keep(session)
        self._count_out(session.turn)
        task = asyncio.create_task(self._run(session, drive), name=f"turn {session.turn}")
        self._tasks[session.turn] = task
        task.add_done_callback(partial(self._settle, session))

    def keep(self, session: StreamSession) -> StreamSession:
        """The session of this turn for everybody from now on: this one, unless there is one. It
        stays as long as somebody holds it."""
        self._forget_old()
        found = self.find(session.turn)
        if found is not None:
            return found
        self._held[session.turn] = session
        # Nothing here may hold the session, or a held one would never go.
        publish = partial(self.bus.publish, session.conversation, session.turn, epoch=session.epoch)
        session.follow(publish)
        if (elsewhere := self._heard.pop(session.turn, None)) is not None:
            elsewhere.cancel()  # it is heard from here again
        return session

    def find(self, turn: TurnId) -> StreamSession | None:
        """The session of a turn that runs here, is read here while it is held, or ended here a
        short while ago."""
        return self._sessions.get(turn) or self._held.get(turn)

    def forget(self, turn: TurnId) -> None:
        """Keep the events of a turn that does not run here no longer."""
        if turn not in self._tasks:
            self._sessions.pop(turn, None)
            self._held.pop(turn, None)
            self._count_out(turn)

    def is_running(self, turn: TurnId) -> bool:
        """Whether a task works on the turn right now."""
        return turn in self._tasks

    @property
    def running(self) -> int:
        """How many turns run in this process."""
        return len(self._tasks)

    @property
    def is_idle(self) -> bool:
        """Whether no turn runs in this process."""
        return not self._tasks

    async def settled(self, turn: TurnId) -> None:
        """Return when no task works on the turn: it has ended, or it is held."""
        task = self._tasks.get(turn)
        if task is not None:
            await asyncio.wait([task])

    async def drain(self, seconds: float) -> None:
        """Return when no turn runs any more, or after `seconds`."""
        tasks = list(self._tasks.values())
        if tasks and seconds > 0:
            await asyncio.wait(tasks, timeout=seconds)

    async def aclose(self, *, grace_s: float = 5.0, leave: bool = False) -> None:
        """Cancel every running turn as a person would; after `grace_s` seconds stop waiting.

        Turns that begin meanwhile are cancelled, too. `leave`: they are stopped where they are and
        stay open; whoever finds them decides about them, and their readers here hear nothing more.
        """
        self._leaves = leave
        while self._tasks:
            for turn in list(self._tasks):
                if leave:
                    self._tasks[turn].cancel()
                else:
                    self._sessions[turn].cancel()
            _, late = await asyncio.wait(list(self._tasks.values()), timeout=grace_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        heard = list(self._heard.values())
        for task in heard:
            task.cancel()
        if heard:
            await asyncio.wait(heard)

    async def _run(self, session: StreamSession, drive: Drive) -> None:
        try:
            await drive(session)
        except Exception as error:  # noqa: BLE001 - nobody awaits this task
            log.get("streams").error("turn_crashed", turn=session.turn, error=repr(error))
            session.error = session.error or error
            if not session.is_ended:
                told = error.info() if isinstance(error, PalaverError) else _UNEXPECTED
                session.publish([TurnFailed(session.turn, told)])

    def _settle(self, session: StreamSession, task: asyncio.Task[None]) -> None:
        # A callback, since a task that is cancelled before its first step runs no `finally`.
        if self._tasks.get(session.turn) is task:
            del self._tasks[session.turn]
        if task.cancelled() and not session.is_ended and not self._leaves:
            # Nothing durable says so yet; the next process finds the turn open and says the same.
            session.publish([TurnInterrupted(session.turn)])
        if session.is_ended:
            self._count_out(session.turn)
            self._ended[session.turn] = _Ended(self._clock.monotonic(), session.weight)
            self._ended_weight += session.weight
            self._forget_old()
        else:  # held, or another process's by now
            session.release()
            self._sessions.pop(session.turn, None)
            self._hear_out(session)

    def _hear_out(self, session: StreamSession) -> None:
        """Let the bus hear how a turn ends, or that it is held, that another process has taken."""
        rest = session.rest() if self.bus.is_heard and not self._leaves else None
        if rest is None:
            return

        async def hear() -> None:
            with suppress(PalaverError):
                async for batch in rest:
                    self.bus.publish(session.conversation, session.turn, *batch)
                    if isinstance(batch.events[-1], TurnSuspended):
                        return

        task = asyncio.create_task(hear(), name=f"hear turn {session.turn}")
        self._heard[session.turn] = task
        task.add_done_callback(partial(self._heard_out, session.turn))

    def _heard_out(self, turn: TurnId, task: asyncio.Task[None]) -> None:
        if self._heard.get(turn) is task:
            del self._heard[turn]

    def _forget_old(self) -> None:
        before = self._clock.monotonic() - self._keep_s
        while self._ended:
            turn, ended = next(iter(self._ended.items()))
            fits = len(self._ended) <= self._keep and self._ended_weight <= KEEP_BYTES
            if fits and ended.at >= before:
                return  # they are in order of time, so that a busy minute costs nothing here
            self._count_out(turn)
            if turn not in self._tasks:
                self._sessions.pop(turn, None)

    def _count_out(self, turn: TurnId) -> None:
        ended = self._ended.pop(turn, None)
        if ended is not None:
            self._ended_weight -= ended.weight
