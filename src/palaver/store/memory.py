"""A store without a file: for tests, for throw-away chats, as the plainest reading of the rules.

Every method runs without awaiting, so each is atomic. Nothing survives the process.
"""

from collections.abc import Sequence
from typing import NamedTuple

from palaver.domain.clock import Clock
from palaver.domain.errors import Conflict, InvalidInput, StoreError
from palaver.domain.events import (
    ConversationCreated,
    Event,
    MessageAdded,
    PromptSent,
    Recorded,
    TurnOpened,
)
from palaver.domain.ids import BlobId, ConversationId, MessageId, OwnerId, TurnId
from palaver.domain.messages import Message
from palaver.domain.snapshot import Snapshot
from palaver.domain.values import ClientTool, OutputSchema, Scope
from palaver.store.base import (
    Accepted,
    Appended,
    Page,
    RunRow,
    SearchHit,
    StoreStatistics,
    TurnRecord,
)
from palaver.store.memory_access import MemoryAccess
from palaver.store.memory_log import Log, Turn, give_to_heir, sharers
from palaver.store.projection import (
    blobs_in,
    check_key,
    check_known,
    check_new,
    check_number,
    check_same_type,
    decode_cursor,
    encode_cursor,
    encode_facts,
    missing,
    page_size,
    summarise,
)
from palaver.store.search_text import parse_query
from palaver.system import SystemClock, new_id


class Noted(NamedTuple):
    """Where an answer stands."""

    log: Log
    number: int
    at_ms: int


class MemoryStore:
    """A `ConversationStore` in this process's memory. `keep_runs`: as in `SqliteStore`."""

    def __init__(self, *, clock: Clock | None = None, keep_runs: int = 2) -> None:
        self._clock = clock or SystemClock()
        self._keep_runs = keep_runs
        self._owner = OwnerId(new_id("owner"))
        self._logs: dict[tuple[str, ConversationId], Log] = {}
        self._turns: dict[tuple[str, TurnId], Turn] = {}
        self._last_key = 0
        self._answers: dict[tuple[str, bytes], Noted] = {}
        self._closed = False
        self.access = MemoryAccess(clock=self._clock, check_open=self._check_open)
        """Keys, spend and the audit log, beside the conversations."""

    @property
    def owner(self) -> OwnerId:
        """The name of this process in the turn directory."""
        return self._owner

    async def create(
        self, scope: Scope, conversation: ConversationId, events: Sequence[Event]
    ) -> Appended:
        """See `ConversationStore.create`."""
        self._check_open()
        check_new(scope, conversation=conversation)
        if not events or not isinstance(events[0], ConversationCreated):
            raise InvalidInput("a log begins with ConversationCreated")
        facts = encode_facts(events)
        if (scope.tenant, conversation) in self._logs:
            raise Conflict(f"conversation {conversation!r} exists already")
        now = self._now_ms()
        log = self._logs[scope.tenant, conversation] = Log(self._next_key(), conversation, now, now)
        return log.write(events, facts, now)

    async def accept(
        self,
        scope: Scope,
        conversation: ConversationId,
        message: Message,
        *,
        turn: TurnId,
        expected: int,
        idempotency_key: str | None = None,
        output: OutputSchema | None = None,
        tools: tuple[ClientTool, ...] = (),
        own_tools: bool = True,
        sent: MessageId | None = None,
    ) -> Accepted:
        """See `ConversationStore.accept`."""
        check_known(scope, "conversation", conversation)
        check_new(scope, turn=turn)
        check_key(idempotency_key)
        taken = () if sent is None else (PromptSent(sent, turn),)
        opened = TurnOpened(turn, output, tools, own_tools)
        events = (*taken, opened, MessageAdded(message, turn))
        facts = encode_facts(events)
        log = self._log(scope, conversation)
        replayed = None if idempotency_key is None else log.replay(idempotency_key, message)
        if replayed is not None:
            return replayed
        log.check_expected(expected)
        self._check_unused(scope, turn)
        appended = log.write(events, facts, self._now_ms())
        self._open_turn(scope, log, turn, appended)
        if idempotency_key is not None:
            log.keys[idempotency_key] = (turn, appended.last - 1)
        return Accepted(turn, message.id, appended)

    async def append(
        self,
        scope: Scope,
        conversation: ConversationId,
        events: Sequence[Event],
        *,
        expected: int,
        run: tuple[TurnId, Sequence[RunRow]] | None = None,
        snapshot: Snapshot | None = None,
        opens: TurnId | None = None,
    ) -> Appended:
        """See `ConversationStore.append`."""
        check_known(scope, "conversation", conversation)
        if opens is not None:
            check_new(scope, turn=opens)
        facts = encode_facts(events)
        log = self._log(scope, conversation)
        log.check_expected(expected)
        if opens is not None:
            self._check_unused(scope, opens)
        opening = run is not None and run[0] == opens
        turn = None if run is None or opening else self._turn_within(scope, conversation, run[0])
        if run is not None:
            (turn or Turn(run[0], conversation, 0.0, scope)).check(run[1])
        if snapshot is not None and snapshot.seq > expected + len(facts):
            raise InvalidInput("the snapshot is ahead of the log")
        appended = log.write(events, facts, self._now_ms())
        if opens is not None:
            opened = self._open_turn(scope, log, opens, appended)
            turn = opened if opening else turn
        if run is not None and turn is not None:
            turn.rows.extend(run[1])
        log.close_turns(summarise(events).closed, keep_runs=self._keep_runs)
        if snapshot is not None:
            log.add_snapshot(snapshot)
        return appended

    async def read(
        self,
        scope: Scope,
        conversation: ConversationId,
        *,
        after: int = 0,
        until: int | None = None,
        kinds: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> list[Recorded]:
        """See `ConversationStore.read`."""
        log = self._log(scope, conversation)
        end = len(log.records) if until is None else max(0, until)
        start = max(0, after)
        found = log.records[start:end]
        if kinds is not None:
            pairs = zip(found, log.facts[start:end], strict=True)
            found = [record for record, fact in pairs if fact.kind in kinds]
        return found if limit is None else found[: max(0, limit)]

    async def snapshot(
        self, scope: Scope, conversation: ConversationId, *, until: int | None = None
    ) -> Snapshot | None:
        """See `ConversationStore.snapshot`."""
        log = self._log(scope, conversation)
        return log.newest_snapshot(len(log.records) if until is None else until)

    async def list_conversations(
        self,
        scope: Scope,
        *,
        limit: int = 50,
        cursor: str | None = None,
        archived: bool = False,
    ) -> Page:
        """See `ConversationStore.list_conversations`."""
        self._check_open()
        size = page_size(limit)
        before = decode_cursor(cursor) if cursor is not None else (1 << 63, 0)
        found = [
            (log.updated_ms, log.key, log)
            for (tenant, _), log in self._logs.items()
            if tenant == scope.tenant and log.metadata.archived == archived
        ]
        found = sorted((line for line in found if line[:2] < before), reverse=True)
        items = tuple(log.summary() for *_, log in found[:size])
        more = len(found) > size
        return Page(items, encode_cursor(*found[size - 1][:2]) if more else None)

    async def outboxes(self, scope: Scope) -> tuple[ConversationId, ...]:
        """See `ConversationStore.outboxes`."""
        self._check_open()
        waiting = [
            (log.updated_ms, log.key, log.name)
            for (tenant, _), log in self._logs.items()
            if tenant == scope.tenant and log.outbox > 0
        ]
        return tuple(name for *_, name in sorted(waiting))

    async def tenants(self) -> tuple[str, ...]:
        """See `ConversationStore.tenants`."""
        self._check_open()
        waiting = {tenant for (tenant, _), log in self._logs.items() if log.outbox > 0}
        return tuple(sorted(waiting | {t for (t, _), turn in self._turns.items() if turn.open}))

    async def search(
        self,
        scope: Scope,
        query: str,
        *,
        conversation: ConversationId | None = None,
        limit: int = 20,
    ) -> tuple[SearchHit, ...]:
        """See `ConversationStore.search`. Ranked by number of matches, then the newest first."""
        self._check_open()
        size = page_size(limit)
        if conversation is not None:
            places = [(self._log(scope, conversation), 0)]
        else:
            mine = (log for (tenant, _), log in self._logs.items() if tenant == scope.tenant)
            # What forks share is found where it was written.
            places = [(log, log.shared) for log in mine]
        phrases = parse_query(query)
        if not phrases:
            return ()
        found = [
            (score, log.records[i].at, log.key, i, log)
            for log, first in places
            for i in range(first, len(log.facts))
            if (score := log.score(i, phrases))
        ]
        found.sort(key=lambda hit: hit[:4], reverse=True)
        return tuple(log.hit(i, phrases) for *_, i, log in found[:size])

    async def fork(
        self,
        scope: Scope,
        source: ConversationId,
        conversation: ConversationId,
        events: Sequence[Event],
        *,
        at: int,
    ) -> Appended:
        """See `ConversationStore.fork`."""
        check_known(scope, "conversation", source)
        check_new(scope, conversation=conversation)
        facts = encode_facts(events)
        log = self._log(scope, source)
        check_number(source, at, len(log.records))
        if (scope.tenant, conversation) in self._logs:
            raise Conflict(f"conversation {conversation!r} exists already")
        forked = log.fork(self._next_key(), conversation, at, self._now_ms())
        self._logs[scope.tenant, conversation] = forked
        return forked.write(events, facts, self._now_ms())

    async def sharing(
        self, scope: Scope, conversation: ConversationId, number: int
    ) -> tuple[ConversationId, ...]:
        """See `ConversationStore.sharing`."""
        log = self._log(scope, conversation)
        check_number(conversation, number, len(log.records))
        found = sharers(self._logs.values(), log.writer_of(number), number)
        return tuple(each.name for each in found if each is not log)

    async def rewrite(
        self,
        scope: Scope,
        conversation: ConversationId,
        replaced: Sequence[tuple[int, Event]],
        events: Sequence[Event],
        *,
        expected: int,
        runs: Sequence[TurnId] = (),
    ) -> Appended:
        """See `ConversationStore.rewrite`."""
        check_known(scope, "conversation", conversation)
        new = encode_facts([event for _, event in replaced]) if replaced else []
        facts = encode_facts(events)
        log = self._log(scope, conversation)
        log.check_expected(expected)
        for number, _ in replaced:
            check_number(conversation, number, len(log.records))
        for (number, _), fact in zip(replaced, new, strict=True):
            check_same_type(number, fact.kind, log.facts[number - 1].kind)
        for (number, event), fact in zip(replaced, new, strict=True):
            for sharer in sharers(self._logs.values(), log.writer_of(number), number):
                sharer.replace(number, event, fact)
                self._forget_answers(sharer)
        for turn in runs:
            if (scope.tenant, turn) in self._turns:
                self._turns[scope.tenant, turn].rows.clear()
        return log.write(events, facts, self._now_ms())

    async def blob_references(self, scope: Scope) -> frozenset[BlobId]:
        """See `ConversationStore.blob_references`."""
        self._check_open()
        mine = (log for (tenant, _), log in self._logs.items() if tenant == scope.tenant)
        return frozenset(blob for log in mine for fact in log.facts for blob in blobs_in(fact.body))

    async def delete(self, scope: Scope, conversation: ConversationId) -> None:
        """See `ConversationStore.delete`."""
        log = self._log(scope, conversation)
        give_to_heir(self._logs.values(), log)
        for turn in log.turns:
            del self._turns[scope.tenant, turn.id]
        self._forget_answers(log)
        del self._logs[scope.tenant, conversation]

    async def turn(self, scope: Scope, turn: TurnId) -> TurnRecord:
        """See `ConversationStore.turn`."""
        found = self._turn(scope, turn)
        return TurnRecord(
            found.id,
            found.conversation,
            self._owner,
            found.open,
            found.epoch,
            found.started_at,
            found.scope,
        )

    async def take_turn(self, scope: Scope, turn: TurnId) -> TurnRecord:
        """See `ConversationStore.take_turn`."""
        found = self._turn(scope, turn)
        found.epoch += found.open
        return await self.turn(scope, turn)

    async def adopt_orphans(self, scope: Scope | None = None) -> tuple[TurnRecord, ...]:
        """Nothing: the turns of a dead process died with its memory."""
        self._check_open()
        return ()

    async def append_run(self, scope: Scope, turn: TurnId, rows: Sequence[RunRow]) -> None:
        """See `ConversationStore.append_run`."""
        found = self._turn(scope, turn)
        found.check(rows)
        found.rows.extend(rows)

    async def read_run(self, scope: Scope, turn: TurnId, *, after: int = 0) -> list[RunRow]:
        """See `ConversationStore.read_run`."""
        return [row for row in self._turn(scope, turn).rows if row.last > after]

    async def note_answer(
        self, scope: Scope, conversation: ConversationId, number: int, key: bytes, *, keep: int
    ) -> None:
        """See `AnswerStore.note_answer`."""
        log = self._log(scope, conversation)
        self._answers.pop((scope.tenant, key), None)
        self._answers[scope.tenant, key] = Noted(log, number, self._now_ms())
        mine = [name for name in self._answers if name[0] == scope.tenant]
        for name in mine[: max(0, len(mine) - keep)]:
            del self._answers[name]

    async def find_answer(self, scope: Scope, key: bytes, *, max_age_s: float) -> Message | None:
        """See `AnswerStore.find_answer`."""
        self._check_open()
        noted = self._answers.get((scope.tenant, key))
        if noted is None or noted.at_ms < self._now_ms() - max_age_s * 1000:
            return None
        added = noted.log.records[noted.number - 1].event
        return added.message if isinstance(added, MessageAdded) else None

    async def statistics(self) -> StoreStatistics:
        """See `ConversationStore.statistics`. Nothing is on disk; terms count as the index."""
        self._check_open()
        facts = [fact for log in self._logs.values() for fact in log.facts[log.shared :]]
        return StoreStatistics(
            conversations=len(self._logs),
            messages=sum(log.messages for log in self._logs.values()),
            log_bytes=sum(len(fact.body) for fact in facts),
            search_bytes=sum(len(term) for fact in facts for term in fact.terms),
            file_bytes=0,
        )

    async def close(self) -> None:
        """Forget everything."""
        self._closed = True
        self._logs.clear()
        self._answers.clear()
        self._turns.clear()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")

    def _log(self, scope: Scope, conversation: ConversationId) -> Log:
        self._check_open()
        check_known(scope, "conversation", conversation)
        log = self._logs.get((scope.tenant, conversation))
        if log is None:
            raise missing("conversation", conversation)
        return log

    def _turn(self, scope: Scope, turn: TurnId) -> Turn:
        self._check_open()
        check_known(scope, "turn", turn)
        found = self._turns.get((scope.tenant, turn))
        if found is None:
            raise missing("turn", turn)
        return found

    def _turn_within(self, scope: Scope, conversation: ConversationId, turn: TurnId) -> Turn:
        found = self._turn(scope, turn)
        if found.conversation != conversation:
            raise missing("turn", turn)
        return found

    def _check_unused(self, scope: Scope, turn: TurnId) -> None:
        if (scope.tenant, turn) in self._turns:
            raise Conflict(f"turn {turn!r} exists already")

    def _open_turn(self, scope: Scope, log: Log, turn: TurnId, appended: Appended) -> Turn:
        opened = Turn(turn, log.name, appended.at, scope)
        self._turns[scope.tenant, turn] = opened
        log.turns.append(opened)
        return opened

    def _forget_answers(self, log: Log) -> None:
        self._answers = {
            name: noted for name, noted in self._answers.items() if noted.log is not log
        }

    def _next_key(self) -> int:
        self._last_key += 1
        return self._last_key

    def _now_ms(self) -> int:
        return round(self._clock.now() * 1000)
