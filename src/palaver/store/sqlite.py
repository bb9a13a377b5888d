"""The store that needs no service: one SQLite file, which several processes may share.

One thread writes, with group commit; another reads, so a long read delays no append. Beside the
file lies a folder `<name>-owners` with the locks that tell which processes live.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import apsw

from palaver.domain.clock import Clock
from palaver.domain.errors import InvalidInput, StoreCorrupt
from palaver.domain.events import ConversationCreated, Event, Recorded
from palaver.domain.ids import ConversationId, OwnerId, TurnId
from palaver.domain.messages import Message
from palaver.domain.snapshot import Snapshot
from palaver.domain.values import Scope
from palaver.store import sqlite_reads as reads
from palaver.store import sqlite_writes as writes
from palaver.store.base import (
    Accepted,
    Appended,
    Page,
    RunRow,
    SearchHit,
    StoreStatistics,
    TurnRecord,
)
from palaver.store.os_errors import translate_os
from palaver.store.owners import Owners
from palaver.store.projection import (
    check_key,
    check_known,
    check_new,
    decode_cursor,
    page_size,
)
from palaver.store.search_text import parse_query
from palaver.store.sqlite_schema import check, connect_reader, connect_writer
from palaver.store.sqlite_writer import Lane, Work, Writer
from palaver.system import SystemClock, private_file

T = TypeVar("T")
_MERGE_PAGES = 500
_MERGE_ROUNDS = 40
"""At most 20 MB of index are rewritten when a conversation is deleted; larger ones shed its words
as they grow."""


class SqliteStore:
    """A `ConversationStore` in a file. Made by `open`."""

    def __init__(self, path: Path, *, clock: Clock, keep_runs: int) -> None:
        self._path = path
        self._clock = clock
        self._keep_runs = keep_runs
        self._owners = Owners(path)
        self._kinds = writes.Kinds()
        self._kinds_read = writes.Kinds()
        self._writer = Writer("palaver-writer", path, self._owners)
        self._reader = Lane("palaver-reader", path)
        self._checker: Lane | None = None
        self._checking: asyncio.Task[None] | None = None
        self._damage: StoreCorrupt | None = None
        self._closing = False

    @classmethod
    async def open(
        cls, path: str | Path, *, clock: Clock | None = None, keep_runs: int = 2
    ) -> "SqliteStore":
        """The store in the file at `path`, which is made with its folders if need be.

        After an unclean shutdown the file is checked before this returns, otherwise once a day in
        the background. `keep_runs`: run logs kept per conversation after their turns have ended.
        Raises StoreCorrupt (also for a file that is no Palaver database), StoreReadOnly, StoreFull,
        StoreBusy, and StoreError for a file of a newer version.
        """
        store = cls(Path(path), clock=clock or SystemClock(), keep_runs=keep_runs)
        try:
            await store._writer.start(store._begin)
            await store._reader.start(lambda: connect_reader(store._path))
            await store._check_in_background()
        except BaseException:
            await store.close()
            raise
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
    ) -> Accepted:
        """See `ConversationStore.accept`."""
        check_known(scope, "conversation", conversation)
        check_new(scope, turn=turn)
        check_key(idempotency_key)
        batch, now_ms = writes.Batch.of(writes.turn_facts(message, turn)), self._now_ms()
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
    ) -> Appended:
        """See `ConversationStore.append`."""
        check_known(scope, "conversation", conversation)
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

    async def snapshot(self, scope: Scope, conversation: ConversationId) -> Snapshot | None:
        """See `ConversationStore.snapshot`."""
        check_known(scope, "conversation", conversation)
        return await self._reader.run(lambda c: reads.snapshot(c, scope, conversation))

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

    async def delete(self, scope: Scope, conversation: ConversationId) -> None:
        """See `ConversationStore.delete`. The space is given back, as far as nobody reads it."""
        check_known(scope, "conversation", conversation)
        await self._write(lambda c: writes.delete(c, scope, conversation))
        more = await self._write(lambda c: writes.merge_index(c, -_MERGE_PAGES))
        for _ in range(_MERGE_ROUNDS):
            if not more:
                break
            more = await self._write(lambda c: writes.merge_index(c, _MERGE_PAGES))
        await self._writer.run(_give_space_back, in_transaction=False)

    async def turn(self, scope: Scope, turn: TurnId) -> TurnRecord:
        """See `ConversationStore.turn`."""
        check_known(scope, "turn", turn)
        return await self._reader.run(lambda c: reads.turn(c, scope, turn))

    async def adopt_orphans(self) -> tuple[TurnRecord, ...]:
        """See `ConversationStore.adopt_orphans`."""
        owners = await self._reader.run(reads.open_owners)
        dead = {**self._owners.take_dead(), **self._owners.take_dead(owners)}
        buried = False
        try:
            adopted = await self._write(lambda c: writes.adopt(c, self.owner, list(dead)))
            buried = True
        finally:
            for lock in dead.values():
                lock.release(remove=buried)
        return adopted

    async def append_run(self, scope: Scope, turn: TurnId, rows: Sequence[RunRow]) -> None:
        """See `ConversationStore.append_run`."""
        check_known(scope, "turn", turn)
        await self._write(lambda c: writes.append_run(c, scope, turn, rows))

    async def read_run(self, scope: Scope, turn: TurnId, *, after: int = 0) -> list[RunRow]:
        """See `ConversationStore.read_run`."""
        check_known(scope, "turn", turn)
        return await self._reader.run(lambda c: reads.read_run(c, scope, turn, after=after))

    async def statistics(self) -> StoreStatistics:
        """See `ConversationStore.statistics`. Reads the whole file."""
        return await self._reader.run(lambda c: reads.statistics(c, self._file_bytes()))

    async def close(self) -> None:
        """See `ConversationStore.close`. The last process to close leaves one file without log."""
        self._closing = True
        if self._checker is not None:
            await self._checker.close()
        if self._checking is not None:
            await self._checking
        await self._reader.close()
        await self._writer.close()
        self._owners.leave()

    async def _write(self, work: Work[T]) -> T:
        if self._damage is not None:
            raise self._damage
        return await self._writer.run(work)

    def _now_ms(self) -> int:
        return round(self._clock.now() * 1000)

    def _begin(self) -> apsw.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            private_file(self._path)
            connection = connect_writer(self._path)
            try:
                self._owners.register()
                self._check_after_crash(connection)
            except BaseException:
                connection.close()
                raise
        except OSError as error:
            raise translate_os(error, self._path) from error
        self._writer.watch(connection)
        return connection

    def _check_after_crash(self, connection: apsw.Connection) -> None:
        dead = self._owners.take_dead()
        in_order = False
        try:
            if dead:
                check(connection, self._path)
                self._owners.note_checked()
                in_order = True
        finally:
            for lock in dead.values():
                # The turns of the dead are found without their files; see `adopt_orphans`.
                lock.release(remove=in_order)

    async def _check_in_background(self) -> None:
        if self._owners.is_check_due():
            self._checker = Lane("palaver-check", self._path)
            await self._checker.start(self._connect_checker)
            self._checking = asyncio.create_task(self._check(self._checker))

    def _connect_checker(self) -> apsw.Connection:
        connection = connect_reader(self._path)
        # Closing does not wait for a check of a large file.
        connection.set_progress_handler(lambda: self._closing, 1000)
        return connection

    async def _check(self, lane: Lane) -> None:
        try:
            await lane.run(lambda c: check(c, self._path), in_transaction=False)
            self._owners.note_checked()
        except StoreCorrupt as damage:
            self._damage = damage
        except Exception:  # noqa: BLE001, S110 - interrupted by `close`; the next start checks
            pass

    def _file_bytes(self) -> int:
        paths = (self._path, self._path.with_name(self._path.name + "-wal"))
        return sum(path.stat().st_size for path in paths if path.exists())


def _give_space_back(connection: apsw.Connection) -> None:
    connection.execute("PRAGMA incremental_vacuum").fetchall()
    # Erased text must not live on in the write-ahead log.
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
