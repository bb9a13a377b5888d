"""Copies of a database that is in use: SQLite's backup, of one moment, checked before it counts.

The copy is made of one read transaction, so others may write meanwhile and it still is of one
moment. It is written under another name, checked, compared with what it was made of, and only then
given its name. Attachments lie beside the database, named by what they hold; they are copied after
it, so every one that it names is there.
"""

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import apsw

from palaver.domain.errors import InvalidInput, StoreCorrupt, StoreError
from palaver.store.base import BackupReport
from palaver.store.os_errors import translate_os
from palaver.store.sqlite_errors import damaged
from palaver.store.sqlite_schema import check, connect_reader, translated

STEP_PAGES = 2_000
"""8 MB at a time: between the steps the thread can be told to stop."""
BLOBS = "-blobs"
"""Behind the database's name: the folder of its attachments."""
_COUNTED = ("conversations", "events", "turns")


def backup(
    source: Path,
    target: Path,
    *,
    overwrite: bool = False,
    blobs: Path | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> BackupReport:
    """Copy the database at `source` to the file `target`, and `blobs`, a folder, beside it.

    Blocks; others may read and write meanwhile. What is at `target` is replaced only if
    `overwrite`, and only when the copy is whole. Raises InvalidInput where something is there,
    StoreCorrupt for a damaged source, StoreFull, StoreReadOnly, StoreError.
    """
    began = time.monotonic()
    if not source.is_file():
        raise StoreError(f"there is no database {source}")
    if target.exists() and (target.is_dir() or not overwrite or target.samefile(source)):
        raise InvalidInput(f"{target} is there already", hint="Name another file, or overwrite it.")
    unfinished = target.with_name(f"{target.name}.unfinished-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        counts = _copied(source, unfinished, stopped)
        shutil.copymode(source, unfinished)
        _sync(unfinished)
        copied = _copy_blobs(blobs, target.with_name(target.name + BLOBS), stopped)
        for side in ("-wal", "-shm"):  # of what is replaced
            target.with_name(target.name + side).unlink(missing_ok=True)
        unfinished.replace(target)
        _sync(target.parent)
    except OSError as error:
        raise translate_os(error, target) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    size = target.stat().st_size
    taken = time.monotonic() - began
    return BackupReport(target, size, counts[0], counts[1], copied, taken)


def _copied(source: Path, target: Path, stopped: Callable[[], bool]) -> tuple[int, ...]:
    """Copy, check, compare; the counts."""
    target.unlink(missing_ok=True)
    reader = connect_reader(source)
    try:
        with translated(reader, source):
            reader.execute("BEGIN")
            counts = _counts(reader)
        writer = apsw.Connection(str(target))
        try:
            with translated(writer, target):
                _copy_pages(reader, writer, stopped)
                # One file, without a write-ahead log beside it that might be left behind.
                writer.execute("PRAGMA journal_mode = DELETE").fetchall()
                found = _counts(writer)
            _check_copy(writer, target, source)
        finally:
            writer.close()
    finally:
        reader.close()
    if found != counts:
        raise StoreCorrupt(f"the copy of {source} does not hold what it should")
    return counts


def _check_copy(copy: apsw.Connection, target: Path, source: Path) -> None:
    """What is wrong with the copy is wrong with what it was made of."""
    try:
        check(copy, target)
    except StoreCorrupt as error:
        raise damaged(source, error.message.rpartition(" is damaged: ")[2]) from error


def _copy_pages(
    reader: apsw.Connection, writer: apsw.Connection, stopped: Callable[[], bool]
) -> None:
    with writer.backup("main", reader, "main") as copying:
        while not copying.done:
            if stopped():
                raise StoreError("the backup was stopped")
            copying.step(STEP_PAGES)


def _counts(connection: apsw.Connection) -> tuple[int, ...]:
    counts: list[int] = []
    for table in _COUNTED:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
        counts.append(int(str(row[0] if row else 0)))
    return tuple(counts)


def _copy_blobs(source: Path | None, target: Path, stopped: Callable[[], bool]) -> int:
    """Copy what is not there yet; each is named by its content, which is checked on the way."""
    copied = 0
    for path in sorted(source.glob("*/[0-9a-f][0-9a-f]/*")) if source is not None else ():
        if stopped():
            raise StoreError("the backup was stopped")
        copy = target / path.relative_to(source or path)
        if copy.exists():
            continue
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = copy.with_name(f".unfinished-{os.getpid()}-{copy.name}")
        try:
            shutil.copy2(path, unfinished)
        except FileNotFoundError:
            continue  # collected meanwhile
        with unfinished.open("rb") as file:
            digest = _digest(file.read)
        if digest != path.name:
            unfinished.unlink()
            raise StoreCorrupt(f"the attachment {path} is damaged")
        _sync(unfinished)
        unfinished.replace(copy)
        copied += 1
    return copied


def _digest(read: Callable[[int], bytes]) -> str:
    digest = sha256()
    while piece := read(1 << 20):
        digest.update(piece)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    if os.name != "nt" or path.is_file():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
