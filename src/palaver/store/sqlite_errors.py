"""SQLite's failures in Palaver's terms; the only module that knows SQLite's error classes."""

import errno
from pathlib import Path

import apsw

from palaver.domain.errors import StoreBusy, StoreCorrupt, StoreError, StoreFull, StoreReadOnly

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_PERMISSION = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def translate(error: apsw.Error | OSError, path: Path, *, system_error: int = 0) -> StoreError:
    """`error` as a typed error that names the file. `system_error` is the connection's errno."""
    number = (error.errno or 0) if isinstance(error, OSError) else 0
    if isinstance(error, apsw.IOError | apsw.CantOpenError):  # others leave an old number there
        number = system_error
    if isinstance(error, apsw.FullError) or number in _NO_SPACE:
        return StoreFull(f"no space is left for {path}")
    if isinstance(error, apsw.ReadOnlyError) or number in _NO_PERMISSION:
        return StoreReadOnly(f"{path} cannot be written")
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return StoreBusy(f"another process kept {path} locked")
    if isinstance(error, apsw.NotADBError):
        return StoreCorrupt(
            f"{path} is not a Palaver database", hint="Choose another file name; it was left as is."
        )
    if isinstance(error, apsw.CorruptError):
        return StoreCorrupt(f"{path} is damaged: {error}")
    return StoreError(f"{path} cannot be used: {error}")
