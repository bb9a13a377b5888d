"""A conversation's log in memory, and what forks share of each other's."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Optional

from palaver.domain.errors import IdempotencyMismatch, StaleWriter
from palaver.domain.events import Event, MessageAdded, Recorded, UnknownEvent
from palaver.domain.ids import ConversationId, MessageId, TurnId
from palaver.domain.messages import Message
from palaver.domain.snapshot import SNAPSHOT_VERSION, Snapshot
from palaver.domain.values import Scope, SessionMetadata
from palaver.store.base import Accepted, Appended, ConversationSummary, RunRow, SearchHit
from palaver.store.projection import (
    Fact,
    check_rows,
    result_message,
    same_message,
    searchable,
    snapshot_block,
    summarise,
)
from palaver.store.search_text import Phrase, snippet


@dataclass(eq=False)
class Turn:
    """A row of the turn directory with its run log."""

    id: TurnId
    conversation: ConversationId
    started_at: float
    scope: Scope
    open: bool = True
    epoch: int = 0
    rows: list[RunRow] = field(default_factory=list)

    def check(self, rows: Sequence[RunRow]) -> None:
        """Raises StaleWriter unless `rows` may follow."""
        check_rows(rows, epoch=self.epoch, last=self.rows[-1].last if self.rows else 0)


@dataclass(eq=False)
class Log:
    """One conversation. A fork holds the shared facts too; `shared` says how many they are."""

    key: int
    name: ConversationId
    created_ms: int
    updated_ms: int
    records: list[Recorded] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    metadata: SessionMetadata = field(default_factory=SessionMetadata)
    messages: int = 0
    outbox: int = 0
    preview: str = ""
    snapshots: list[Snapshot] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    keys: dict[str, tuple[TurnId, int]] = field(default_factory=dict)
    """Idempotency key → the turn, and where its message stands."""
    origin: Optional["Log"] = None
    shared: int = 0

    def check_expected(self, expected: int) -> None:
        """Raises StaleWriter unless the log ends where its writer believes."""
        if expected != len(self.records):
            raise StaleWriter(expected=expected, actual=len(self.records))

    def replay(self, key: str, message: Message) -> Accepted | None:
        """What a known idempotency key was answered with. Raises IdempotencyMismatch."""
        if key not in self.keys:
            return None
        turn, position = self.keys[key]
        added = self.records[position].event
        if not isinstance(added, MessageAdded) or not same_message(added.message, message):
            raise IdempotencyMismatch("the idempotency key was used for another message")
        return Accepted(turn, added.message.id, None, replayed=True)

    def write(self, events: Sequence[Event], facts: list[Fact], now_ms: int) -> Appended:
        """Add facts behind the last one."""
        first = len(self.records) + 1
        # A clock that was set back must not put a later fact before an earlier one.
        self.updated_ms = max(self.updated_ms, now_ms)
        at = self.updated_ms / 1000
        self.records.extend(Recorded(first + i, at, event) for i, event in enumerate(events))
        self.facts.extend(facts)
        self.list_anew(events)
        return Appended(first, len(self.records), at)

    def list_anew(self, events: Iterable[Event | UnknownEvent]) -> None:
        """Let `events` change what a listing says."""
        change = summarise([e for e in events if not isinstance(e, UnknownEvent)])
        self.messages += change.messages
        self.outbox += change.outbox
        self.preview = self.preview if change.preview is None else change.preview
        self.metadata = change.metadata or self.metadata

    def close_turns(self, closed: Sequence[TurnId], *, keep_runs: int) -> None:
        """Close these turns, and prune run logs if there are any of them."""
        for turn in self.turns:
            turn.open = turn.open and turn.id not in closed
        kept = [turn for turn in self.turns if turn.rows][-keep_runs:] if keep_runs else []
        for turn in self.turns if closed else ():
            if not turn.open and turn not in kept:
                turn.rows.clear()

    def add_snapshot(self, snapshot: Snapshot) -> None:
        """Keep it, instead of older ones of its block."""
        block = range(snapshot_block(snapshot.seq), snapshot.seq + 1)
        kept = [s for s in self.snapshots if s.version != snapshot.version or s.seq not in block]
        self.snapshots = [*kept, snapshot]

    def newest_snapshot(self, until: int) -> Snapshot | None:
        """The newest one up to that number, of what forks share too."""
        found = [s for s in self.snapshots if s.version == SNAPSHOT_VERSION and s.seq <= until]
        if found or self.origin is None:
            return max(found, key=lambda s: s.seq, default=None)
        return self.origin.newest_snapshot(min(until, self.shared))

    def writer_of(self, number: int) -> "Log":
        """The log where a number was written."""
        log = self
        while log.origin is not None and number <= log.shared:
            log = log.origin
        return log

    def fork(self, key: int, name: ConversationId, at: int, now_ms: int) -> "Log":
        """A log that shares the facts 1 to `at`."""
        start_ms = max(now_ms, round(self.records[at - 1].at * 1000))
        forked = Log(key, name, now_ms, start_ms, self.records[:at], self.facts[:at])
        forked.origin, forked.shared = self.writer_of(at), at
        forked.list_anew(record.event for record in forked.records)
        forked.outbox = 0  # what waits is sent there
        return forked

    def replace(self, number: int, event: Event, fact: Fact) -> None:
        """Put another fact at a number, and correct the listing."""
        old = self.records[number - 1]
        self.records[number - 1] = Recorded(number, old.at, event)
        self.facts[number - 1] = fact
        self.snapshots = [s for s in self.snapshots if s.seq < number]
        self.messages, self.preview, self.metadata = 0, "", SessionMetadata()
        self.outbox = 0
        self.list_anew(record.event for record in self.records)

    def summary(self) -> ConversationSummary:
        """Its line in a listing."""
        return ConversationSummary(
            self.name,
            self.metadata,
            self.messages,
            self.created_ms / 1000,
            self.updated_ms / 1000,
            self.preview,
            any(turn.open for turn in reversed(self.turns)),
        )

    def score(self, position: int, phrases: tuple[Phrase, ...]) -> int:
        """How often the phrases occur in a fact; 0 unless all do."""
        document = list(self.facts[position].terms)
        counts = [phrase.occurrences(document) for phrase in phrases]
        return sum(counts) if all(counts) else 0

    def hit(self, position: int, phrases: tuple[Phrase, ...]) -> SearchHit:
        """What a search says of a fact."""
        record = self.records[position]
        message, role = self._said_by(position)
        shown, spans = snippet(searchable(record.event), phrases)
        return SearchHit(
            self.name, message, role, record.seq, record.at, shown, spans, self.metadata.title
        )

    def _said_by(self, position: int) -> tuple[MessageId, str]:
        event = self.records[position].event
        if isinstance(event, MessageAdded):
            return event.message.id, event.message.role
        for record in reversed(self.records[:position]):
            if isinstance(record.event, MessageAdded):
                return result_message(record.event.message), "tool"
        return MessageId(""), "tool"


def sharers(logs: Iterable[Log], writer: Log, number: int) -> list[Log]:
    """Every log that sees a number written in `writer`, that one first."""
    logs = list(logs)
    found = [writer]
    for seen in found:  # which grows meanwhile
        found += [log for log in logs if log.origin is seen and log.shared >= number]
    return found


def give_to_heir(logs: Iterable[Log], gone: Log) -> None:
    """What forks share of `gone` is now the facts of the one that shares the most."""
    forks = sorted(
        (log for log in logs if log.origin is gone), key=lambda log: (-log.shared, log.key)
    )
    if not forks:
        return
    heir = forks[0]
    for snapshot in sorted(gone.snapshots, key=lambda s: s.seq):
        if snapshot.seq <= heir.shared and snapshot not in heir.snapshots:
            heir.snapshots.insert(0, snapshot)
    heir.origin, heir.shared = gone.origin, gone.shared
    for log in forks[1:]:
        log.origin = heir
