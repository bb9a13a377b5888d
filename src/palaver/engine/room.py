"""Making room in the window within a turn: before a request, and after a provider's overflow.

The fact is durable before the request that relies on it is built. What was prepared in the
background is swapped in without waiting; anything else is awaited in a task of the turn, so that a
cancel ends it like everything else.
"""

from collections.abc import AsyncIterator

from palaver.context.need import Need
from palaver.domain.compaction import Compaction
from palaver.domain.events import Compacted, CompactionFailed, Event
from palaver.domain.state import INEFFECTIVE_LIMIT, ConversationState
from palaver.domain.stream import CompactionSkipped, CompactionStarted, ContextCompacted
from palaver.engine.inbox import Stop, Waited
from palaver.engine.ports import Commit, Emission, Shrunk, TurnPorts


class RoomMaker:
    """The compactions of one turn. `stopped`: what ended the turn meanwhile."""

    def __init__(self, ports: TurnPorts) -> None:
        self._ports = ports
        self.stopped: Stop | None = None

    async def make(self, need: Need) -> AsyncIterator[Emission]:
        """Meet `need`, as far as that goes: afterwards the state has a smaller window, or a fact
        says why not."""
        state = self._ports.latest()
        ready = self._ports.shrinker.prepared(state, need)
        yield [CompactionStarted(need.tokens, need.reason, is_prepared=ready is not None)]
        shrunk = ready or await self._made(state, need)
        if shrunk is None:
            return
        if shrunk.compaction is None:
            yield _skipped(state, need, shrunk)
        else:
            facts: tuple[Event, ...] = (*shrunk.paid, Compacted(shrunk.compaction))
            yield Commit(facts, (_shown(shrunk.compaction),))

    async def _made(self, state: ConversationState, need: Need) -> Shrunk | None:
        """None when the turn was stopped meanwhile."""
        done: list[Shrunk] = []

        async def work() -> None:
            try:
                done.append(await self._ports.shrinker.shrink(state, need))
            except Exception as error:  # noqa: BLE001 - the turn must not wait for ever
                done.append(Shrunk(None, f"{type(error).__name__}: {error}"))
            self._ports.inbox.put(Waited())

        self._ports.inbox.spawn(work(), name="compaction")
        while True:
            match await self._ports.inbox.get():
                case Waited() if done:
                    return done[0]
                case Stop() as stop:
                    self.stopped = stop
                    return None
                case _:
                    pass  # what an attempt that is over left behind


def _shown(compaction: Compaction) -> ContextCompacted:
    return ContextCompacted(
        compaction.id,
        compaction.strategy,
        tuple(compaction.tiers),
        compaction.tokens_before,
        compaction.tokens_after,
        compaction.reason,
        compaction.model,
    )


def _skipped(state: ConversationState, need: Need, shrunk: Shrunk) -> Commit:
    has_stopped = state.ineffective + 1 >= INEFFECTIVE_LIMIT
    return Commit(
        (*shrunk.paid, CompactionFailed(shrunk.reason, need.tokens)),
        (CompactionSkipped(shrunk.reason, need.tokens, has_stopped),),
    )
