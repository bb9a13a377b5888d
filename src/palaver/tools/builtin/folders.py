"""The folders that file tools may see, and the safe opening of what lies in them.

A path is resolved first, links included; what results must lie in a folder. Then it is opened
without following links, and where the system can tell, the opened file's own path is checked again,
so that exchanging a folder for a link in between gains nothing. A hard link cannot be told from a
file. Hidden names (`.env`, `.git`) do not exist for models unless the folders were made so.
"""

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from palaver.domain.errors import ConfigurationError, ToolExecutionError

_DIRECTORY = getattr(os, "O_DIRECTORY", 0)
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_FLAGS |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # a pipe must not block


class Entry(msgspec.Struct, frozen=True):
    """One name in a folder."""

    name: str
    is_folder: bool
    is_link: bool
    size: int


class Folders:
    """One or more allowed folders. Paths are shown relative to them, never absolute."""

    def __init__(self, folders: Sequence[Path], *, show_hidden: bool = False) -> None:
        """Raises ConfigurationError for a folder that is none."""
        self._show_hidden = show_hidden
        self._roots: dict[str, Path] = {}
        for folder in folders:
            root = Path(os.path.realpath(folder))
            if not root.is_dir():
                raise ConfigurationError(f"{folder} is not a folder that tools can be given")
            if root not in self._roots.values():
                self._roots[self._label(root)] = root

    def _label(self, root: Path) -> str:
        base, label, number = root.name or "root", root.name or "root", 2
        while label in self._roots:
            label, number = f"{base}-{number}", number + 1
        return label

    @property
    def names(self) -> tuple[str, ...]:
        """What paths begin with where there are several folders."""
        return tuple(self._roots)

    def locate(self, path: str) -> Path:
        """The real path that `path` means. Raises ToolExecutionError when it is not allowed."""
        if "\x00" in path or len(path) > 4096:
            raise ToolExecutionError("that is no path")
        outside = ToolExecutionError(
            f"{path[:200]!r} is outside of the allowed folders",
            suggestions=("Use a path as list_files shows it.",),
        )
        for candidate in self._candidates(path):
            try:
                real = Path(os.path.realpath(candidate))
            except (OSError, ValueError):
                continue
            root = self._root_of(real)
            if root is None:
                continue
            self._refuse_hidden(real.relative_to(root), path)
            return real
        raise outside

    def _candidates(self, path: str) -> Iterator[Path]:
        given = Path(path)
        if given.is_absolute():
            yield given
        elif len(self._roots) == 1:
            yield next(iter(self._roots.values())) / given
        elif given.parts and given.parts[0] in self._roots:
            yield self._roots[given.parts[0]].joinpath(*given.parts[1:])
        else:
            yield from (root / given for root in self._roots.values() if (root / given).exists())

    def _root_of(self, real: Path) -> Path | None:
        return next((root for root in self._roots.values() if real.is_relative_to(root)), None)

    def _refuse_hidden(self, relative: Path, asked: str) -> None:
        if not self._show_hidden and any(part.startswith(".") for part in relative.parts):
            raise ToolExecutionError(f"{asked[:200]!r} is hidden and not shown to tools")

    def shown(self, real: Path) -> str:
        """The path as models and people see it."""
        for label, root in self._roots.items():
            if real.is_relative_to(root):
                relative = real.relative_to(root)
                return (
                    relative.as_posix() if len(self._roots) == 1 else (label / relative).as_posix()
                )
        return real.name

    def open(self, path: str) -> BinaryIO:
        """A regular file, open for reading. Raises ToolExecutionError."""
        descriptor = self._descriptor(self.locate(path), path)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise ToolExecutionError(
                f"{path[:200]!r} is not a file", suggestions=("Use list_files for folders.",)
            )
        return os.fdopen(descriptor, "rb")

    def entries(self, folder: Path) -> list[Entry]:
        """What is in a located folder, sorted by name, without hidden names where so set."""
        if not _DIRECTORY:  # Windows cannot list an open folder
            with os.scandir(folder) as found:
                return self._sorted(found)
        descriptor = self._descriptor(folder, self.shown(folder), _DIRECTORY)
        try:
            with os.scandir(descriptor) as found:
                return self._sorted(found)
        finally:
            os.close(descriptor)

    def roots(self) -> tuple[Path, ...]:
        """The real paths of the allowed folders."""
        return tuple(self._roots.values())

    def _sorted(self, found: "Iterator[os.DirEntry[str]]") -> list[Entry]:
        entries = []
        for item in found:
            if item.name.startswith(".") and not self._show_hidden:
                continue
            try:
                size = item.stat(follow_symlinks=False).st_size
                is_folder = item.is_dir(follow_symlinks=False)
            except OSError:  # gone meanwhile
                continue
            entries.append(Entry(item.name, is_folder, item.is_symlink(), size))
        return sorted(entries, key=lambda entry: entry.name)

    def _descriptor(self, real: Path, asked: str, flags: int = 0) -> int:
        try:
            descriptor = os.open(real, _FLAGS | flags)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ToolExecutionError(f"cannot open {asked[:200]!r}: {reason}") from error
        try:
            self._check_opened(descriptor, asked)
        except ToolExecutionError:
            os.close(descriptor)
            raise
        return descriptor

    def _check_opened(self, descriptor: int, asked: str) -> None:
        opened = _path_of(descriptor)
        if opened is None:
            return
        root = self._root_of(opened)
        if root is None:
            raise ToolExecutionError(f"{asked[:200]!r} is outside of the allowed folders")
        self._refuse_hidden(opened.relative_to(root), asked)


if sys.platform == "linux":

    def _path_of(descriptor: int) -> Path | None:
        """The path that the system knows for an open file; None where it does not tell."""
        try:
            return Path(f"/proc/self/fd/{descriptor}").readlink()
        except OSError:  # no /proc here
            return None
elif sys.platform == "darwin":
    import fcntl

    def _path_of(descriptor: int) -> Path | None:
        raw = fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024))
        return Path(os.fsdecode(raw.rstrip(b"\x00")))
else:

    def _path_of(descriptor: int) -> Path | None:
        return None
