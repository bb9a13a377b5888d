"""A store without a file: for tests, for throw-away chats, as the plainest reading of the rules.

Every method runs without awaiting, so each is atomic. Nothing survives the process.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from palaver.domain.clock import Clock
from palaver.domain.errors import (
    Conflict,
    IdempotencyMismatch,
    InvalidInput,
    StaleWriter,
    StoreError,
)
from palaver.domain.events import ConversationCreated, Event, MessageAdded, Recorded, TurnOpened
from palaver.domain.ids import ConversationId, MessageId, OwnerId, TurnId
from palaver.domain.messages import Message
from palaver.domain.snapshot import SNAPSHOT_VERSION, Snapshot
from palaver.domain.values import Scope, SessionMetadata
from palaver.store.base import (
    Accepted,
    Appended,
    ConversationSummary,
    Page,
    RunRow,
    SearchHit,
    StoreStatistics,
    TurnRecord,
)
from palaver.store.projection import (
    Fact,
    check_key,
    check_known,
    check_new,
    check_rows,
    decode_cursor,
    encode_cursor,
    encode_facts,
    missing,
    page_size,
    result_message,
    same_message,
    searchable,
    summarise,
)
from palaver.store.search_text import Phrase, parse_query, snippet
from palaver.system import SystemClock, new_id


@dataclass
class _Turn:
    id: TurnId
    conversation: ConversationId
    started_at: float
    scope: Scope
    open: bool = True
    epoch: int = 0
    rows: list[RunRow] = field(default_factory=list)


@dataclass
class _Log:
    key: int
    created_ms: int
    updated_ms: int
    records: list[Recorded] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    metadata: SessionMetadata = field(default_factory=SessionMetadata)
    messages: int = 0
    preview: str = ""
    snapshot: Snapshot | None = None
    turns: list[_Turn] = field(default_factory=list)
    keys: dict[str, tuple[TurnId, Message]] = field(default_factory=dict)


class MemoryStore:
    """A `ConversationStore` in this process's memory. `keep_runs`: as in `SqliteStore`."""

    def __init__(self, *, clock: Clock | None = None, keep_runs: int = 2) -> None:
        self._clock = clock or SystemClock()
        self._keep_runs = keep_runs
        self._owner = OwnerId(new_id("owner"))
        self._logs: dict[tuple[str, ConversationId], _Log] = {}
        self._turns: dict[tuple[str, TurnId], _Turn] = {}
        self._last_key = 0
        self._closed = False

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
        self._last_key += 1
        now = self._now_ms()
        log = self._logs[scope.tenant, conversation] = _Log(self._last_key, now, now)
        return self._write(log, events, facts)

    async def accept(
        self,
        scope: Scope,
        conversation: ConversationId,
        message: Message,
        *,
        turn: TurnId,
        expected: int,
        idempotency_key: str | None = None,
    ) -> Accepted:
        """See `ConversationStore.accept`."""
        check_known(scope, "conversation", conversation)
        check_new(scope, turn=turn)
        check_key(idempotency_key)
        events = (TurnOpened(turn), MessageAdded(message, turn))
        facts = encode_facts(events)
        log = self._log(scope, conversation)
        if idempotency_key is not None and idempotency_key in log.keys:
            earlier, said = log.keys[idempotency_key]
            if not same_message(said, message):
                raise IdempotencyMismatch("the idempotency key was used for another message")
            return Accepted(earlier, said.id, None, replayed=True)
        _check_expected(log, expected)
        if (scope.tenant, turn) in self._turns:
            raise Conflict(f"turn {turn!r} exists already")
        appended = self._write(log, events, facts)
        opened = _Turn(turn, conversation, appended.at, scope)
        self._turns[scope.tenant, turn] = opened
        log.turns.append(opened)
        if idempotency_key is not None:
            log.keys[idempotency_key] = (turn, message)
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
    ) -> Appended:
        """See `ConversationStore.append`."""
        check_known(scope, "conversation", conversation)
        facts = encode_facts(events)
        log = self._log(scope, conversation)
        _check_expected(log, expected)
        turn = None if run is None else self._turn_within(scope, conversation, *run)
        if snapshot is not None and snapshot.seq > expected + len(facts):
            raise InvalidInput("the snapshot is ahead of the log")
        if run is not None and turn is not None:
            turn.rows.extend(run[1])
        appended = self._write(log, events, facts)
        if snapshot is not None:
            log.snapshot = snapshot
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

    async def snapshot(self, scope: Scope, conversation: ConversationId) -> Snapshot | None:
        """See `ConversationStore.snapshot`."""
        held = self._log(scope, conversation).snapshot
        return held if held is not None and held.version == SNAPSHOT_VERSION else None

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
            (log.updated_ms, log.key, name, log)
            for (tenant, name), log in self._logs.items()
            if tenant == scope.tenant and log.metadata.archived == archived
        ]
        found = sorted((line for line in found if line[:2] < before), reverse=True)
        items = tuple(_summary(name, log) for _, _, name, log in found[:size])
        more = len(found) > size
        return Page(items, encode_cursor(*found[size - 1][:2]) if more else None)

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
            self._log(scope, conversation)
        phrases = parse_query(query)
        if not phrases:
            return ()
        found = [
            (score, log.records[i].at, log.key, i, name, log)
            for (tenant, name), log in self._logs.items()
            if tenant == scope.tenant and conversation in (None, name)
            for i, fact in enumerate(log.facts)
            if (score := _score(list(fact.terms), phrases))
        ]
        found.sort(key=lambda hit: hit[:4], reverse=True)
        return tuple(_hit(name, log, i, phrases) for *_, i, name, log in found[:size])

    async def delete(self, scope: Scope, conversation: ConversationId) -> None:
        """See `ConversationStore.delete`."""
        for turn in self._log(scope, conversation).turns:
            del self._turns[scope.tenant, turn.id]
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

    async def adopt_orphans(self) -> tuple[TurnRecord, ...]:
        """Nothing: the turns of a dead process died with its memory."""
        self._check_open()
        return ()

    async def append_run(self, scope: Scope, turn: TurnId, rows: Sequence[RunRow]) -> None:
        """See `ConversationStore.append_run`."""
        found = self._turn(scope, turn)
        _check_rows(found, rows)
        found.rows.extend(rows)

    async def read_run(self, scope: Scope, turn: TurnId, *, after: int = 0) -> list[RunRow]:
        """See `ConversationStore.read_run`."""
        return [row for row in self._turn(scope, turn).rows if row.last > after]

    async def statistics(self) -> StoreStatistics:
        """See `ConversationStore.statistics`. Nothing is on disk; terms count as the index."""
        self._check_open()
        facts = [fact for log in self._logs.values() for fact in log.facts]
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
        self._turns.clear()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")

    def _log(self, scope: Scope, conversation: ConversationId) -> _Log:
        self._check_open()
        check_known(scope, "conversation", conversation)
        log = self._logs.get((scope.tenant, conversation))
        if log is None:
            raise missing("conversation", conversation)
        return log

    def _turn(self, scope: Scope, turn: TurnId) -> _Turn:
        self._check_open()
        check_known(scope, "turn", turn)
        found = self._turns.get((scope.tenant, turn))
        if found is None:
            raise missing("turn", turn)
        return found

    def _turn_within(
        self, scope: Scope, conversation: ConversationId, turn: TurnId, rows: Sequence[RunRow]
    ) -> _Turn:
        found = self._turn(scope, turn)
        if found.conversation != conversation:
            raise missing("turn", turn)
        _check_rows(found, rows)
        return found

    def _now_ms(self) -> int:
        return round(self._clock.now() * 1000)

    def _write(self, log: _Log, events: Sequence[Event], facts: list[Fact]) -> Appended:
        first = len(log.records) + 1
        # A clock that was set back must not put a later fact before an earlier one.
        log.updated_ms = max(log.updated_ms, self._now_ms())
        at = log.updated_ms / 1000
        log.records.extend(Recorded(first + i, at, event) for i, event in enumerate(events))
        log.facts.extend(facts)
        change = summarise(events)
        log.messages += change.messages
        log.preview = log.preview if change.preview is None else change.preview
        log.metadata = change.metadata or log.metadata
        for turn in change.closed:
            self._close_turn(log, turn)
        return Appended(first, len(log.records), at)

    def _close_turn(self, log: _Log, closed: TurnId) -> None:
        for turn in log.turns:
            turn.open = turn.open and turn.id != closed
        kept = [turn for turn in log.turns if turn.rows][-self._keep_runs :]
        for turn in log.turns:
            if not turn.open and (turn not in kept or not self._keep_runs):
                turn.rows.clear()


def _check_expected(log: _Log, expected: int) -> None:
    if expected != len(log.records):
        raise StaleWriter(expected=expected, actual=len(log.records))


def _check_rows(turn: _Turn, rows: Sequence[RunRow]) -> None:
    check_rows(rows, epoch=turn.epoch, last=turn.rows[-1].last if turn.rows else 0)


def _summary(name: ConversationId, log: _Log) -> ConversationSummary:
    return ConversationSummary(
        name,
        log.metadata,
        log.messages,
        log.created_ms / 1000,
        log.updated_ms / 1000,
        log.preview,
    )


def _score(document: list[str], phrases: tuple[Phrase, ...]) -> int:
    counts = [phrase.occurrences(document) for phrase in phrases]
    return sum(counts) if all(counts) else 0


def _hit(name: ConversationId, log: _Log, position: int, phrases: tuple[Phrase, ...]) -> SearchHit:
    record = log.records[position]
    message, role = _said_by(log.records[: position + 1])
    shown, spans = snippet(searchable(record.event), phrases)
    return SearchHit(name, message, role, record.seq, record.at, shown, spans, log.metadata.title)


def _said_by(records: list[Recorded]) -> tuple[MessageId, str]:
    if isinstance(records[-1].event, MessageAdded):
        message = records[-1].event.message
        return message.id, message.role
    for record in reversed(records):
        if isinstance(record.event, MessageAdded):
            return result_message(record.event.message), "tool"
    return MessageId(""), "tool"
