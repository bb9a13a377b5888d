"""The store that needs no service: one SQLite file, which several processes may share.

One thread writes, with group commit; another reads, so a long read delays no append. Beside the
file lies a folder `<name>-owners` with the locks that tell which processes live.
"""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from palaver.domain.clock import Clock
from palaver.domain.errors import InvalidInput, StoreError
from palaver.domain.events import ConversationCreated, Event, Recorded, TurnOpened
from palaver.domain.ids import BlobId, ConversationId, MessageId, OwnerId, TurnId
from palaver.domain.messages import Message
from palaver.domain.snapshot import Snapshot
from palaver.domain.values import ClientTool, OutputSchema, Scope
from palaver.store import (
    sqlite_answers as answers,
    sqlite_erase as erase,
    sqlite_forks as forks,
    sqlite_reads as reads,
    sqlite_turns as turns,
    sqlite_writes as writes,
)
from palaver.store.base import (
    Accepted,
    Appended,
    BackupReport,
    Page,
    RunRow,
    SearchHit,
    StoreStatistics,
    TurnRecord,
)
from palaver.store.projection import (
    check_key,
    check_known,
    check_new,
    decode_cursor,
    page_size,
)
from palaver.store.search_text import parse_query
from palaver.store.sqlite_file import SqliteFile
from palaver.store.sqlite_schema import connect_reader
from palaver.store.sqlite_writer import Lane
from palaver.system import SystemClock

T = TypeVar("T")


class SqliteStore(SqliteFile):
    """A `ConversationStore` in a file. Made by `open`."""

    @classmethod
    async def open(
        cls, path: str | Path, *, clock: Clock | None = None, keep_runs: int = 2
    ) -> "SqliteStore":
        """The store in the file at `path`, which is made with its folders if need be.

        After an unclean shutdown the file is checked before this returns, otherwise once a day in
        the background. `keep_runs`: run logs kept per conversation after their turns have ended.
        Where no space is left, the file that is there is only read, until it is opened anew.
        Raises StoreCorrupt (also for a file that is no Palaver database), StoreReadOnly, StoreFull,
        StoreBusy, and StoreError for a file of a newer version.
        """
        store = cls(Path(path), clock=clock or SystemClock(), keep_runs=keep_runs)
        await store._start()
        return store

    @property
    def owner(self) -> OwnerId:
        """The name of this process in the turn directory."""
        return self._owners.name

    async def create(
        self, scope: Scope, conversation: ConversationId, events: Sequence[Event]
    ) -> Appended:
        """See `ConversationStore.create`."""
        check_new(scope, conversation=conversation)
        if not events or not isinstance(events[0], ConversationCreated):
            raise InvalidInput("a log begins with ConversationCreated")
        batch, kinds, now_ms = writes.Batch.of(events), self._kinds, self._now_ms()
        return await self._write(
            lambda c: writes.create(c, kinds, scope, conversation, batch, now_ms)
        )

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
        facts = writes.turn_facts(message, TurnOpened(turn, output, tools, own_tools), sent)
        batch, now_ms = writes.Batch.of(facts), self._now_ms()
        return await self._write(
            lambda c: writes.accept(
                c,
                self._kinds,
                scope,
                conversation,
                message,
                batch,
                turn=turn,
                owner=self.owner,
                expected=expected,
                idempotency_key=idempotency_key,
                now_ms=now_ms,
            )
        )

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
        batch, now_ms = writes.Batch.of(events), self._now_ms()
        return await self._write(
            lambda c: writes.append(
                c,
                self._kinds,
                scope,
                conversation,
                batch,
                expected=expected,
                run=run,
                snapshot=snapshot,
                opens=opens,
                owner=self.owner,
                keep_runs=self._keep_runs,
                now_ms=now_ms,
            )
        )

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
        check_known(scope, "conversation", conversation)
        return await self._reader.run(
            lambda c: reads.read(
                c,
                self._kinds_read,
                scope,
                conversation,
                after=after,
                until=until,
                wanted=kinds,
                limit=limit,
            )
        )

    async def snapshot(
        self, scope: Scope, conversation: ConversationId, *, until: int | None = None
    ) -> Snapshot | None:
        """See `ConversationStore.snapshot`."""
        check_known(scope, "conversation", conversation)
        return await self._reader.run(lambda c: reads.snapshot(c, scope, conversation, until=until))

    async def list_conversations(
        self,
        scope: Scope,
        *,
        limit: int = 50,
        cursor: str | None = None,
        archived: bool = False,
    ) -> Page:
        """See `ConversationStore.list_conversations`."""
        size = page_size(limit)
        before = decode_cursor(cursor) if cursor is not None else ((1 << 63) - 1, 0)
        return await self._reader.run(
            lambda c: reads.list_conversations(
                c, scope, size=size, before=before, archived=archived
            )
        )

    async def outboxes(self, scope: Scope) -> tuple[ConversationId, ...]:
        """See `ConversationStore.outboxes`."""
        return await self._reader.run(lambda c: reads.outboxes(c, scope))

    async def tenants(self) -> tuple[str, ...]:
        """See `ConversationStore.tenants`."""
        return await self._reader.run(reads.tenants)

    async def search(
        self,
        scope: Scope,
        query: str,
        *,
        conversation: ConversationId | None = None,
        limit: int = 20,
    ) -> tuple[SearchHit, ...]:
        """See `ConversationStore.search`."""
        size = page_size(limit)
        if conversation is not None:
            check_known(scope, "conversation", conversation)
        phrases = parse_query(query)
        return await self._reader.run(
            lambda c: reads.search(
                c, self._kinds_read, scope, phrases, conversation=conversation, size=size
            )
        )

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
        batch, kinds, now_ms = writes.Batch.of(events), self._kinds, self._now_ms()
        return await self._write(
            lambda c: forks.fork(c, kinds, scope, source, conversation, batch, at=at, now_ms=now_ms)
        )

    async def sharing(
        self, scope: Scope, conversation: ConversationId, number: int
    ) -> tuple[ConversationId, ...]:
        """See `ConversationStore.sharing`."""
        check_known(scope, "conversation", conversation)
        return await self._reader.run(lambda c: forks.sharing(c, scope, conversation, number))

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
        """See `ConversationStore.rewrite`. Takes about 1 s per 50 MB of search index.

        Where another process reads the file for seconds, its write-ahead log keeps old bytes until
        that has ended.
        """
        check_known(scope, "conversation", conversation)
        new = erase.replacements(replaced)
        batch, kinds, now_ms = writes.Batch.of(events), self._kinds, self._now_ms()
        appended = await self._write(
            lambda c: erase.rewrite(
                c,
                kinds,
                scope,
                conversation,
                new,
                batch,
                expected=expected,
                runs=runs,
                now_ms=now_ms,
            )
        )
        await self._clear_out(whole=True)
        return appended

    async def blob_references(self, scope: Scope) -> frozenset[BlobId]:
        """See `ConversationStore.blob_references`. In a thread of its own: it takes 1 s per GB."""
        if self._closing:
            raise StoreError("the store is closed")
        lane = Lane("palaver-blobs", self._path)
        await lane.start(lambda: connect_reader(self._path))
        try:
            return await lane.run(lambda c: reads.blob_references(c, scope))
        finally:
            await lane.close()

    async def delete(self, scope: Scope, conversation: ConversationId) -> None:
        """See `ConversationStore.delete`. The space is given back, as far as nobody reads it."""
        check_known(scope, "conversation", conversation)
        await self._write(lambda c: erase.delete(c, scope, conversation))
        await self._clear_out(whole=False)

    async def turn(self, scope: Scope, turn: TurnId) -> TurnRecord:
        """See `ConversationStore.turn`."""
        check_known(scope, "turn", turn)
        return await self._reader.run(lambda c: reads.turn(c, scope, turn))

    async def take_turn(self, scope: Scope, turn: TurnId) -> TurnRecord:
        """See `ConversationStore.take_turn`."""
        check_known(scope, "turn", turn)
        return await self._write(lambda c: turns.take(c, self.owner, scope, turn))

    async def adopt_orphans(self, scope: Scope | None = None) -> tuple[TurnRecord, ...]:
        """See `ConversationStore.adopt_orphans`."""
        owners = await self._reader.run(reads.open_owners)
        if self._refusal is not None:
            return ()  # they wait for somebody who can end them
        dead = {**self._owners.take_dead(), **self._owners.take_dead(owners)}
        orphaned = [name for name in owners if name in dead]
        adopted: tuple[TurnRecord, ...] = ()
        buried = False
        try:
            if orphaned:
                adopted = await self._write(lambda c: turns.adopt(c, self.owner, orphaned, scope))
            buried = True
        finally:
            for lock in dead.values():
                lock.release(remove=buried)
        return adopted

    async def append_run(self, scope: Scope, turn: TurnId, rows: Sequence[RunRow]) -> None:
        """See `ConversationStore.append_run`."""
        check_known(scope, "turn", turn)
        await self._write(lambda c: turns.append_run(c, scope, turn, rows), synced=False)

    async def read_run(self, scope: Scope, turn: TurnId, *, after: int = 0) -> list[RunRow]:
        """See `ConversationStore.read_run`."""
        check_known(scope, "turn", turn)
        return await self._reader.run(lambda c: reads.read_run(c, scope, turn, after=after))

    async def note_answer(
        self, scope: Scope, conversation: ConversationId, number: int, key: bytes, *, keep: int
    ) -> None:
        """See `AnswerStore.note_answer`."""
        check_known(scope, "conversation", conversation)
        now_ms = self._now_ms()
        await self._write(
            lambda c: answers.note(c, scope, conversation, number, key, keep=keep, now_ms=now_ms),
            synced=False,
        )

    async def find_answer(self, scope: Scope, key: bytes, *, max_age_s: float) -> Message | None:
        """See `AnswerStore.find_answer`."""
        since_ms = round((self._clock.now() - max_age_s) * 1000)
        return await self._reader.run(
            lambda c: answers.find(c, self._kinds_read, scope, key, since_ms=since_ms)
        )

    async def backup(
        self, target: Path, *, overwrite: bool = False, blobs: Path | None = None
    ) -> BackupReport:
        """See `BackedUpStore.backup`. In a thread of its own."""
        if self._closing:
            raise StoreError("the store is closed")
        from palaver.store.backup import backup

        gone = threading.Event()
        copying = partial(
            backup, self._path, target, overwrite=overwrite, blobs=blobs, stopped=gone.is_set
        )
        try:
            return await asyncio.to_thread(copying)
        finally:
            gone.set()

    def blocking(self, asked: Coroutine[object, object, T]) -> T:
        """See `BlockingStore.blocking`. The store's threads answer whichever loop asks them."""
        with ThreadPoolExecutor(1, "palaver-blocking") as thread:
            return thread.submit(asyncio.run, asked).result()

    async def statistics(self) -> StoreStatistics:
        """See `ConversationStore.statistics`. Reads the whole file."""
        return await self._reader.run(lambda c: reads.statistics(c, self._file_bytes()))

    def _now_ms(self) -> int:
        return round(self._clock.now() * 1000)
