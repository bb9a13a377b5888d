"""The operating system's refusals of file work in Palaver's terms."""

import errno
from pathlib import Path

from palaver.domain.errors import StoreError, StoreFull, StoreReadOnly

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_PERMISSION = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def by_number(number: int, path: Path) -> StoreError | None:
    """The typed error for an `errno`, or None where it says nothing special."""
    if number in _NO_SPACE:
        return StoreFull(f"no space is left for {path}")
    if number in _NO_PERMISSION:
        return StoreReadOnly(f"{path} cannot be written")
    return None


def translate_os(error: OSError, path: Path) -> StoreError:
    """`error` as a typed error that names `path`."""
    return by_number(error.errno or 0, path) or StoreError(f"{path} cannot be used: {error}")
