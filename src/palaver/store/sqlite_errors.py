"""SQLite's failures in Palaver's terms; the only module that knows SQLite's error classes."""

from pathlib import Path

import apsw

from palaver.domain.errors import (
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreReadOnly,
)
from palaver.store.os_errors import by_number

_UNSYNCED = frozenset({apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC})


def translate(error: apsw.Error, path: Path, *, system_error: int = 0) -> StoreError:
    """`error` as a typed error that names the file. `system_error` is the connection's errno."""
    if isinstance(error, apsw.FullError):
        return StoreFull(f"no space is left for {path}")
    if isinstance(error, apsw.ReadOnlyError):
        return StoreReadOnly(f"{path} cannot be written")
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return StoreBusy(f"another process kept {path} locked")
    if isinstance(error, apsw.NotADBError):
        return not_ours(path)
    if isinstance(error, apsw.CorruptError):
        return damaged(path, str(error))
    if getattr(error, "extendedresult", 0) in _UNSYNCED:
        return StoreFailed(f"the disk did not confirm what was written to {path}")
    known = None
    if isinstance(error, apsw.IOError | apsw.CantOpenError):  # others leave an old number there
        known = by_number(system_error, path)
    return known or StoreError(f"{path} cannot be used: {error}")


def damaged(path: Path, how: str) -> StoreCorrupt:
    """The error for a file of ours that cannot be read whole."""
    return StoreCorrupt(
        f"{path} is damaged: {how[:200]}",
        hint=f"Run `palaver doctor --repair '{path}'`: it saves what can be read and keeps the "
        "damaged file. Or restore a backup.",
    )


def not_ours(path: Path) -> StoreCorrupt:
    """The error for a file that something else wrote."""
    return StoreCorrupt(
        f"{path} is not a Palaver database", hint="Choose another file name; it was left as it is."
    )
