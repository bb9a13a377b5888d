"""One database of several simulated processes, with the checks that must hold at each write."""

import random
from collections import Counter
from collections.abc import Sequence
from inspect import iscoroutinefunction
from typing import Any

from msgspec.structs import replace

from palaver.domain.clock import Clock
from palaver.domain.events import (
    Compacted,
    MessageAdded,
    PromptQueued,
    PromptSent,
    Recorded,
    TurnClosed,
    TurnOpened,
)
from palaver.domain.ids import ConversationId, OwnerId, TurnId
from palaver.domain.messages import Role
from palaver.domain.reducer import fold
from palaver.domain.state import ConversationState
from palaver.domain.values import Scope
from palaver.store.base import Appended, ConversationStore, RunRow, TurnRecord
from palaver.testing.history import valid_history
from palaver.testing.simulation_loop import Mortal, RealLoop

_SLOW_S = 0.01
"""A call of the store takes up to this long: others, and kills, come in between."""


class Database:
    """A store that outlives processes, knows who owns a turn, and checks each write.

    `real`: where a store runs that has threads of its own.
    """

    def __init__(
        self, store: ConversationStore, clock: Clock, real: RealLoop | None = None
    ) -> None:
        self._store, self.clock, self._real = store, clock, real
        self.states: dict[ConversationId, ConversationState] = {}
        self.questions: Counter[str] = Counter()
        """What was accepted, and how often: what reached nobody is sent again."""
        self.opened: list[TurnId] = []
        self.closed: dict[TurnId, str] = {}
        self.writes = self.compactions = self.kept = 0
        self.problems: list[str] = []
        """What does not hold that must."""
        self._owners: dict[TurnId, OwnerId] = {}
        self._last: dict[TurnId, int] = {}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not iscoroutinefunction(found):
            raise AttributeError(name)

        async def call(*arguments: Any, **named: Any) -> Any:
            work = found(*arguments, **named)
            return await work if self._real is None else self._real.ask(work)

        return call

    async def owner_of(self, turn: TurnId) -> OwnerId:
        """Whose turn it is."""
        return self._owners[turn]

    def own(self, turn: TurnId, owner: OwnerId) -> None:
        """Note whose turn it is."""
        self._owners.setdefault(turn, owner)

    async def adopt(
        self, scope: Scope, owner: OwnerId, living: Sequence[OwnerId]
    ) -> tuple[TurnRecord, ...]:
        """Open turns of those who live no longer."""
        lost = [t for t in self.opened if t not in self.closed and self._owners[t] not in living]
        return tuple([await self.take(scope, turn, owner) for turn in lost])

    async def take(self, scope: Scope, turn: TurnId, owner: OwnerId) -> TurnRecord:
        """It becomes `owner`'s."""
        if turn not in self.closed:
            self._owners[turn] = owner
        taken: TurnRecord = await self.take_turn(scope, turn)
        return taken

    async def check(self, scope: Scope, conversation: ConversationId, written: Appended) -> None:
        """Fold what was just written, and check that it may stand."""
        self.writes += 1
        state = self.states.get(conversation) or ConversationState(conversation)
        records: list[Recorded] = await self.read(scope, conversation, after=written.first - 1)
        resent = any(isinstance(recorded.event, PromptSent) for recorded in records)
        for recorded in records:
            self._note(recorded, resent=resent)
        state = self.states[conversation] = fold(state, records)
        messages = list(state.messages)
        if state.turn is None and messages and (wrong := valid_history(messages)):
            self.problems.append("; ".join(wrong))
        said = Counter(message.text for message in messages if message.role is Role.USER)
        self.problems += [f"{text!r} stands twice" for text, n in said.items() if n > 1]

    def _note(self, recorded: Recorded, *, resent: bool) -> None:
        match recorded.event:
            case TurnOpened(turn=turn):
                self.opened.append(turn)
            case TurnClosed(turn=turn, outcome=outcome):
                if turn in self.closed:
                    self.problems.append(f"turn {turn} ended twice")
                self.closed[turn] = outcome.value
            case MessageAdded(message=message) if message.role is Role.USER:
                if message.text in self.questions and not resent:
                    self.problems.append(f"{message.text!r} was accepted twice")
                self.questions[message.text] += 1
            case PromptQueued():
                self.kept += 1
            case Compacted():
                self.compactions += 1
            case _:
                pass

    def check_rows(self, turn: TurnId, rows: Sequence[RunRow]) -> None:
        """Numbers of the events that a turn has shown follow each other."""
        for row in rows:
            last = self._last.get(turn, 0)
            if row.first != last + 1:
                self.problems.append(f"event {row.first} of a turn follows event {last}")
            self._last[turn] = row.last


class Handle:
    """The database as one process sees it: slow by chance, and silent when the process is dead."""

    def __init__(
        self,
        database: Database,
        process: Mortal,
        owner: OwnerId,
        living: Any,
        chance: random.Random,
    ) -> None:
        self._database, self._process, self.owner = database, process, owner
        self._living, self._chance = living, chance

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._slow(name, getattr(self._database, name))

    def _slow(self, name: str, found: Any) -> Any:
        own = getattr(self, f"_{name}", None) if name in _OWN else None

        async def call(*arguments: Any, **named: Any) -> Any:
            await self._pass()
            result = await (own or found)(*arguments, **named)
            if name in ("accept", "append", "create"):
                await self._written(name, arguments, named, result)
            if name == "append_run":
                self._database.check_rows(*arguments[1:])
            await self._pass()
            return result

        return call

    async def _pass(self) -> None:
        await self._process.alive()
        await self._database.clock.sleep(self._chance.uniform(0.0, _SLOW_S))
        await self._process.alive()

    async def _written(self, name: str, given: Any, named: Any, result: Any) -> None:
        turn = named.get("turn") if name == "accept" else named.get("opens")
        if turn is not None:
            self._database.own(turn, self.owner)
        appended = result.appended if name == "accept" else result
        if appended is not None:
            await self._database.check(given[0], given[1], appended)
        if run := named.get("run"):
            self._database.check_rows(*run)

    async def _turn(self, scope: Scope, turn: TurnId) -> TurnRecord:
        return await self._as_stored(await self._database.turn(scope, turn))

    async def _take_turn(self, scope: Scope, turn: TurnId) -> TurnRecord:
        return await self._as_stored(await self._database.take(scope, turn, self.owner))

    async def _adopt_orphans(self, scope: Scope | None = None) -> tuple[TurnRecord, ...]:
        taken = await self._database.adopt(scope or Scope(), self.owner, self._living())
        return tuple([await self._as_stored(record) for record in taken])

    async def _as_stored(self, record: TurnRecord) -> TurnRecord:
        return replace(record, owner=await self._database.owner_of(record.id))

    async def close(self) -> None:
        """The database stays open."""


_OWN = ("turn", "take_turn", "adopt_orphans")
