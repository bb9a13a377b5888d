"""A SQLite file that is open: its threads, its checks, and how it is let go.

After an unclean shutdown the file is checked before it is used, otherwise once a day beside. Where
no space is left to begin with, or nothing may be written, it is opened all the same, and only read.
"""

import asyncio
from pathlib import Path
from typing import TypeVar

import apsw

from palaver import log
from palaver.domain.clock import Clock
from palaver.domain.errors import StoreCorrupt, StoreError, StoreFull, StoreReadOnly
from palaver.store import sqlite_erase as erase
from palaver.store.access import AccessStore
from palaver.store.os_errors import translate_os
from palaver.store.owners import Owners
from palaver.store.sqlite_access import SqliteAccess
from palaver.store.sqlite_rows import Kinds
from palaver.store.sqlite_schema import (
    check,
    connect_on_full_disk,
    connect_read_only,
    connect_reader,
    connect_writer,
)
from palaver.store.sqlite_writer import Lane, Work, Writer
from palaver.system import private_file

T = TypeVar("T")
_MERGE_PAGES = 500
_ROUNDS = 40
"""At most 20 MB of index are rewritten when a conversation is deleted; larger ones shed its words
as they grow."""
_ALL = -1


class SqliteFile:
    """What `SqliteStore` stands on."""

    def __init__(self, path: Path, *, clock: Clock, keep_runs: int) -> None:
        self._path = path
        self._clock = clock
        self._keep_runs = keep_runs
        self._owners = Owners(path)
        self._kinds = Kinds()
        self._kinds_read = Kinds()
        self._writer = Writer("palaver-writer", path, self._owners)
        self._reader = Lane("palaver-reader", path)
        self._checker: Lane | None = None
        self._checking: asyncio.Task[None] | None = None
        self._refusal: StoreError | None = None
        """Why nothing is written."""
        self._erasing: asyncio.Task[None] | None = None
        self._closing = False
        self._access = SqliteAccess(read=self._read, write=self._write, clock=clock)

    @property
    def access(self) -> AccessStore:
        """Keys, spend and the audit log, in the same file."""
        return self._access

    async def _start(self) -> None:
        try:
            try:
                await self._writer.start(self._begin)
                await self._reader.start(lambda: connect_reader(self._path))
            except (StoreFull, StoreReadOnly) as refusal:
                await self._start_reading(refusal)
                return
            await self._check_in_background()
            await self._finish_erasing()
        except BaseException:
            await self.close()
            raise

    async def _start_reading(self, refusal: StoreFull | StoreReadOnly) -> None:
        """Read what is there, if there is anything: a full disk, or one that cannot be written,
        must not hide it."""
        await self._writer.close()
        await self._reader.close()
        self._reader = Lane("palaver-reader", self._path)
        is_full = isinstance(refusal, StoreFull)
        connect = connect_on_full_disk if is_full else connect_read_only
        try:
            await self._reader.start(lambda: connect(self._path))
        except StoreError:
            raise refusal from None
        self._refusal = refusal
        log.get("store").warning("opened_for_reading", error=refusal.message)

    async def close(self) -> None:
        """See `ConversationStore.close`. The last process to close leaves one file without log."""
        self._closing = True
        if self._checker is not None:
            await self._checker.close()
        if self._checking is not None:
            await self._checking
        await self._reader.close()
        await self._writer.close()
        if self._erasing is not None:
            await self._erasing
        self._owners.leave()

    async def _write(self, work: Work[T], *, synced: bool = True) -> T:
        if self._refusal is not None:
            raise self._refusal
        return await self._writer.run(work, synced=synced)

    async def _read(self, work: Work[T]) -> T:
        return await self._reader.run(work)

    async def _clear_out(self, *, whole: bool) -> None:
        """Let the file forget what was erased. `whole`: whatever the size of the index.

        The erasure itself is done and durable, so a failure here is no failure of it.
        """
        try:
            until = await self._reader.run(erase.last_erasure)
            await self._merge_index(_ALL if whole else _ROUNDS)
            await self._writer.run(_give_space_back, in_transaction=False)
            await self._write(lambda c: erase.note_cleared(c, until))
            await self._writer.run(self._writer.empty_wal, in_transaction=False)
        except StoreError as error:
            if not self._closing:
                log.get("store").warning("erasing_postponed", error=error.message)

    async def _merge_index(self, rounds: int) -> None:
        more = await self._write(lambda c: erase.merge_index(c, -_MERGE_PAGES))
        while more and rounds:
            # Others write between the rounds.
            more = await self._write(lambda c: erase.merge_index(c, _MERGE_PAGES))
            rounds -= 1

    async def _finish_erasing(self) -> None:
        if await self._reader.run(erase.last_erasure):
            self._erasing = asyncio.create_task(self._clear_out(whole=True))

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
            self._refusal = damage
        except Exception:  # noqa: BLE001, S110 - interrupted by `close`; the next start checks
            pass

    def _file_bytes(self) -> int:
        paths = (self._path, self._path.with_name(self._path.name + "-wal"))
        return sum(path.stat().st_size for path in paths if path.exists())


def _give_space_back(connection: apsw.Connection) -> None:
    connection.execute("PRAGMA incremental_vacuum").fetchall()
