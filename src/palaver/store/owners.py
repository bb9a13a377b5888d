"""Who works with a database: each process holds a locked file in a folder beside it.

The operating system lets go of a lock when its process ends, however it ends. So an owner whose
lock can be taken is dead, and its open turns may be adopted; a dead owner's file that is still
there tells of an unclean shutdown.
"""

import time
from collections.abc import Iterable
from pathlib import Path

from palaver.domain.errors import StoreError
from palaver.domain.ids import OwnerId
from palaver.system import ProcessLock, new_id

_SUFFIX = ".lock"
_CHECKED = "checked"
_CHECK_EVERY_S = 24 * 3600.0


class Owners:
    """The folder of locks of one database, and this process's own lock in it."""

    def __init__(self, database: Path) -> None:
        self.folder = database.with_name(database.name + "-owners")
        self.name = OwnerId("")
        self._lock: ProcessLock | None = None

    def register(self) -> None:
        """Take a new name and its lock. Raises OSError where the folder cannot be written."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(100):
            name = OwnerId(new_id("owner"))
            path = self._path(name)
            lock = ProcessLock(path)
            # A sweeping process may take or remove the file between its making and its locking.
            if lock.acquire():
                if path.exists():
                    self.name, self._lock = name, lock
                    return
                lock.release()
        raise StoreError(f"no lock could be had in {self.folder}")

    def leave(self) -> None:
        """Give the lock back: from now on this owner counts as gone."""
        if self._lock is not None:
            self._lock.release(remove=True)
            self._lock = None

    def take_dead(self, names: Iterable[str] | None = None) -> dict[OwnerId, ProcessLock]:
        """The locks of those who are dead: of `names`, or of all whose file is still there.

        The caller holds them now, and releases them when it has done what it wanted to do.
        """
        if names is None:
            names = [
                path.name.removesuffix(_SUFFIX) for path in self.folder.glob(f"owner_*{_SUFFIX}")
            ]
        taken: dict[OwnerId, ProcessLock] = {}
        for name in map(OwnerId, names):
            lock = ProcessLock(self._path(name))
            if name != self.name and lock.acquire():
                taken[name] = lock
        return taken

    def living(self) -> list[OwnerId]:
        """Other processes that work with the database now."""
        dead = self.take_dead()
        for lock in dead.values():
            lock.release()
        names = {
            OwnerId(path.name.removesuffix(_SUFFIX))
            for path in self.folder.glob(f"owner_*{_SUFFIX}")
        }
        return sorted(names - dead.keys() - {self.name})

    def checkpoint_lock(self) -> ProcessLock:
        """The lock of the one process that copies the write-ahead log into the database."""
        return ProcessLock(self.folder / "checkpoint")

    def is_check_due(self) -> bool:
        """Whether the database was last checked more than a day ago."""
        try:
            age_s = time.time() - (self.folder / _CHECKED).stat().st_mtime
        except FileNotFoundError:
            return True
        return age_s > _CHECK_EVERY_S

    def note_checked(self) -> None:
        """Remember that the database was found in order now."""
        (self.folder / _CHECKED).touch()

    def _path(self, name: OwnerId) -> Path:
        return self.folder / f"{name}{_SUFFIX}"
