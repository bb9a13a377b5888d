"""Threads that own a connection each: one that reads, and one that commits many callers at once.

**Group commit.** With `synchronous=FULL` a commit costs a sync of the disk, however much it holds.
The writer takes everything that waits, runs it in one transaction, commits once and only then
answers. While it commits, the next group gathers. One stale writer fails alone: a group with an
error in it is rolled back and run again, each caller within its own savepoint. Asyncio's default
executor is not used: name look-ups and other people's files block it.

**Deltas.** A group of nothing but deltas is not synced by itself, for the sync is more than half of
what it costs. A killed process loses nothing of it; a power cut takes at most what the last second
brought, since the sync of a fact, or of deltas a second later, takes along all that was before.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import apsw

from palaver.domain.errors import StoreError, StoreFailed
from palaver.store.owners import Owners
from palaver.store.sqlite_errors import translate
from palaver.store.sqlite_schema import BUSY_S, WAL_PAGES

T = TypeVar("T")
Work = Callable[[apsw.Connection], T]
GROUP = 256
"""Callers that share one commit at most; more would make the first of them wait for long."""
UNSYNCED_S = 1.0
"""The longest that deltas lie in the log without a sync, as long as more of them come."""


@dataclass(slots=True, eq=False)
class _Job:
    work: Work[object]
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[object]"
    in_transaction: bool
    synced: bool
    value: object = None
    error: BaseException | None = None


class Lane:
    """One thread with one connection; work runs in the order of its submission, in transactions.

    This one reads: a transaction gives each piece of work one unchanging view of the file.
    """

    def __init__(self, name: str, path: Path) -> None:
        self._path = path
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._connection: apsw.Connection | None = None
        self._closed = False

    async def start(self, connect: Callable[[], apsw.Connection]) -> None:
        """Begin; returns when `connect` has, in the thread. Raises what it raises."""

        def opening(_: apsw.Connection) -> None:
            self._connection = connect()

        self._thread.start()
        try:
            # The one piece of work that is done before there is a connection.
            await self._submit(opening, in_transaction=False)
        except BaseException:
            self._stop()
            raise

    async def run(self, work: Work[T], *, in_transaction: bool = True, synced: bool = True) -> T:
        """What `work` returns, once it is durable. Raises what it raises, SQLite's errors as ours.

        `synced`: a power cut loses nothing of it; without, up to `UNSYNCED_S` of what was written.
        A cancelled caller's work is dropped if it has not begun.
        """
        return await self._submit(work, in_transaction=in_transaction, synced=synced)

    async def close(self) -> None:
        """Finish what waits, then close the connection. Calling it again does nothing."""
        if self._thread.ident is None:  # never started
            self._closed = True
        if not self._closed:
            last = self._submit(_close, in_transaction=False)
            self._closed = True
            try:
                await last
            finally:
                self._stop()

    def _stop(self) -> None:
        self._closed = True
        self._waiting.put(None)

    def _submit(
        self, work: Work[T], *, in_transaction: bool, synced: bool = True
    ) -> "asyncio.Future[T]":
        if self._closed:
            raise StoreError("the store is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()
        self._waiting.put(_Job(work, loop, future, in_transaction, synced))
        return cast("asyncio.Future[T]", future)

    def _serve(self) -> None:
        while (job := self._waiting.get()) is not None:
            self._serve_one(job)

    def _serve_one(self, job: _Job) -> None:
        if not job.future.cancelled():
            self._attempt(job, "BEGIN" if job.in_transaction else "")
            _answer([job])

    def _attempt(self, job: _Job, begin: str) -> None:
        connection = cast("apsw.Connection", self._connection)  # None only for opening
        try:
            if begin:
                connection.execute(begin)
            job.value = job.work(connection)
            if begin:
                connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - it is the caller's, who waits for it
            job.error = self._translated(error)
            self._roll_back()

    def _roll_back(self) -> None:
        # A full disk or a failed write ends the transaction by itself.
        if self._connection is not None and self._connection.in_transaction:
            with suppress(apsw.Error):  # the next BEGIN will say what is wrong
                self._connection.execute("ROLLBACK")

    def _translated(self, error: Exception) -> Exception:
        if not isinstance(error, apsw.Error):
            return error
        number = self._connection.system_errno if self._connection is not None else 0
        ours = translate(error, self._path, system_error=number)
        ours.__cause__ = error
        return ours


class Writer(Lane):
    """The lane that writes, with group commit, and that keeps the write-ahead log short."""

    def __init__(self, name: str, path: Path, owners: Owners) -> None:
        super().__init__(name, path)
        self._owners = owners
        self._syncs = True
        self._synced_at = time.monotonic()
        self._wal_pages = 0
        self._checkpoint_at = WAL_PAGES
        self._must_empty = False
        self._failed: StoreFailed | None = None
        """Why nothing is written any more. A sync that failed is not tried again: the system may
        have dropped what it could not write, and would say that all is well."""

    def watch(self, connection: apsw.Connection) -> None:
        """Count the pages of the write-ahead log; called once, when the connection is made."""
        connection.set_wal_hook(self._count_pages)

    def empty_wal(self, connection: apsw.Connection) -> None:
        """Erased text must not live on in the write-ahead log: it is cut to nothing.

        Where somebody has been reading old pages for `BUSY_S`, after the first commit without such
        a reader, at the latest when the last process closes the file. To be run by `run`.
        """
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            self._must_empty = False
        except apsw.BusyError:
            self._must_empty = True

    def _count_pages(self, _: apsw.Connection, __: str, pages: int) -> int:
        self._wal_pages = pages
        return 0

    def _serve(self) -> None:
        while (job := self._waiting.get()) is not None:
            group = [job]
            while group[-1].in_transaction and len(group) < GROUP and not self._waiting.empty():
                following = self._waiting.get()
                if following is None:
                    self._serve_group(group)
                    return
                group.append(following)
            alone = None if group[-1].in_transaction else group.pop()
            self._serve_group(group)
            if alone is not None:
                self._choose_sync(asked=True)
                self._serve_one(alone)
            self._keep_wal_short()

    def _translated(self, error: Exception) -> Exception:
        ours = super()._translated(error)
        if isinstance(ours, StoreFailed):
            self._failed = self._failed or ours
        return ours

    def _serve_group(self, group: list[_Job]) -> None:
        group = [job for job in group if not job.future.cancelled()]
        if self._failed is not None:
            for job in group:
                job.error = StoreFailed(self._failed.message)
            _answer(group)
            return
        self._choose_sync(asked=any(job.synced for job in group))
        if len(group) == 1:
            self._attempt(group[0], "BEGIN IMMEDIATE")
        elif group:
            self._attempt_together(group)
        _answer(group)

    def _choose_sync(self, *, asked: bool) -> None:
        now = time.monotonic()
        syncs = asked or now - self._synced_at >= UNSYNCED_S
        if syncs:
            self._synced_at = now
        if syncs != self._syncs and self._connection is not None:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if syncs else 'NORMAL'}")
            self._syncs = syncs

    def _attempt_together(self, group: list[_Job]) -> None:
        # Nearly always all goes well. Savepoints, a sixth of the work, find out whose error it is.
        if self._is_settled(group, _plainly) or self._is_settled(group, self._within_savepoint):
            return
        # Nothing of the group is written. One of them may be why, so each tries for itself.
        for job in group:
            self._attempt(job, "BEGIN IMMEDIATE")

    def _is_settled(
        self, group: list[_Job], attempt: Callable[[apsw.Connection, _Job], None]
    ) -> bool:
        """Run a group in one transaction. Returns whether each of it has its value or error; if
        not, nothing is written."""
        connection = cast("apsw.Connection", self._connection)
        try:
            connection.execute("BEGIN IMMEDIATE")
        except apsw.Error as error:
            for job in group:
                job.error = self._translated(error)
            return True
        try:
            for job in group:
                attempt(connection, job)
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - the next attempt gives each its own error
            self._translated(error)
            self._roll_back()
            for job in group:
                job.value, job.error = None, self._failed
            return self._failed is not None
        return True

    def _within_savepoint(self, connection: apsw.Connection, job: _Job) -> None:
        connection.execute("SAVEPOINT job")
        try:
            job.value = job.work(connection)
        except Exception as error:
            if not connection.in_transaction:
                raise
            job.error = self._translated(error)
            connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")

    def _keep_wal_short(self) -> None:
        if self._must_empty and self._connection is not None:
            self._connection.set_busy_timeout(0)
            with suppress(apsw.Error):
                self.empty_wal(self._connection)
            self._connection.set_busy_timeout(round(BUSY_S * 1000))
        if self._wal_pages < WAL_PAGES:
            self._checkpoint_at = WAL_PAGES
        if self._wal_pages < self._checkpoint_at or self._connection is None or self._failed:
            return
        # Where a reader holds the old pages, trying again at each commit would only cost syncs.
        self._checkpoint_at = self._wal_pages + WAL_PAGES
        lock = self._owners.checkpoint_lock()
        try:
            if lock.acquire():
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except (apsw.Error, OSError) as error:
            # What was acknowledged is durable in the write-ahead log, as long as its syncs succeed.
            self._translated(error)
        finally:
            lock.release()


def _plainly(connection: apsw.Connection, job: _Job) -> None:
    job.value = job.work(connection)


def _close(connection: apsw.Connection) -> None:
    connection.close()


def _answer(jobs: list[_Job]) -> None:
    for loop in {job.loop for job in jobs}:
        with suppress(RuntimeError):  # the loop is closed; nobody waits any more
            loop.call_soon_threadsafe(_deliver, [job for job in jobs if job.loop is loop])


def _deliver(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.value)
