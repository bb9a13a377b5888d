"""Reading, listing and searching files inside allowed folders; nothing here writes."""

import codecs
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, TypeAlias

import msgspec

from palaver.domain.errors import ToolError, ToolExecutionError
from palaver.tools.builtin.folders import Entry, Folders
from palaver.tools.builtin.glob import matcher
from palaver.tools.builtin.isolated import TookTooLong, work
from palaver.tools.decorator import tool
from palaver.tools.definition import Tool
from palaver.tools.threads import is_cancelled

READ_BYTES = 20 * 1024 * 1024
"""How far into a file lines are counted."""
LINE_CHARS = 2_000
"""Longer lines are cut: one line of a minified file would fill the window."""
_SEARCH_FILES = 5_000
_SEARCH_BYTES = 32 * 1024 * 1024
_SEARCH_FILE_BYTES = 2 * 1024 * 1024
_REGEX_S = 2.0
_LISTED = 500
_SNIFFED = 8_192

_Fits: TypeAlias = Callable[[str], bool]
_First: TypeAlias = Annotated[int, msgspec.Meta(ge=1, description="First line, from 1.")]
_Lines: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=5_000, description="Lines at most.")]
_Hits: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=500, description="Lines at most.")]


def file_tools(folders: Folders) -> tuple[Tool, ...]:
    """`read_file`, `list_files` and `search_files` within `folders`."""

    @tool(effect="read")
    def read_file(path: str, first_line: _First = 1, max_lines: _Lines = 500) -> str:
        """Read a text file, or a range of its lines.

        Args:
            path: As list_files shows it.
        """
        return _read(folders, path, first_line, max_lines)

    @tool(effect="read")
    def list_files(path: str = ".", pattern: str = "") -> str:
        """List a folder; with a pattern, all files below it that fit.

        Args:
            path: A folder. Left out: the top.
            pattern: For example `*.py` or `docs/**/*.md`.
        """
        return _list(folders, path, pattern)

    @tool(effect="read")
    def search_files(
        query: str,
        path: str = ".",
        pattern: str = "",
        regex: bool = False,
        ignore_case: bool = False,
        max_hits: _Hits = 100,
    ) -> str:
        """Find lines in text files. Gives path, line number and line.

        Args:
            query: The text to look for; with `regex` a Python regular expression for one line.
            path: A folder or file. Left out: everything.
            pattern: Only files that fit, for example `*.py`.
        """
        wanted = _Wanted(query, regex, ignore_case, max_hits)
        return _search(folders, path, pattern, wanted)

    return read_file, list_files, search_files


def _read(folders: Folders, path: str, first: int, count: int) -> str:
    shown = folders.shown(folders.locate(path))
    with folders.open(path) as file:
        encoding = _encoding(file, shown)
        lines, total, is_whole = _range(file, encoding, first, count)
    if not lines:
        more = "" if is_whole else " in the part that is read"
        return f"{shown} has {total:,} lines{more}; there is no line {first:,}."
    end = "" if is_whole else "+"
    head = f"{shown}, lines {first:,} to {first + len(lines) - 1:,} of {total:,}{end}"
    return head + "\n\n" + "\n".join(lines)


def _range(file: BinaryIO, encoding: str, first: int, count: int) -> tuple[list[str], int, bool]:
    lines: list[str] = []
    total = 0
    for line in _lines(file, encoding):
        total += 1
        if first <= total < first + count:
            lines.append(line)
    return lines, total, file.tell() < READ_BYTES


def _lines(file: BinaryIO, encoding: str) -> Iterator[str]:
    """Lines without their ends, cut where they are overlong, within READ_BYTES."""
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    rest = ""
    while file.tell() < READ_BYTES and not is_cancelled():
        data = file.read(256 * 1024)
        text = rest + decoder.decode(data, final=not data)
        *whole, rest = text.split("\n")
        yield from (_cut(line.rstrip("\r")) for line in whole)
        if not data:
            break
        if len(rest) > LINE_CHARS * 2:
            rest = rest[: LINE_CHARS * 2]
    if rest:
        yield _cut(rest.rstrip("\r"))


def _cut(line: str) -> str:
    return line if len(line) <= LINE_CHARS else line[:LINE_CHARS] + " … (line cut)"


def _encoding(file: BinaryIO, shown: str) -> str:
    """How the file is written, by its first bytes. Raises ToolExecutionError for binary files."""
    start = file.read(_SNIFFED)
    file.seek(0)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\x00" in start:
        size = file.seek(0, 2)
        raise ToolExecutionError(f"{shown} is a binary file of {size:,} bytes; it has no text")
    return "utf-8-sig"


def _list(folders: Folders, path: str, pattern: str) -> str:
    if path in (".", "") and len(folders.names) > 1 and not pattern:
        return "\n".join(f"{name}/" for name in folders.names)
    if not pattern:
        start = folders.locate(path or ".")
        lines = [_described(entry) for entry in folders.entries(start)]
    else:
        fits = matcher(pattern)
        found = (real for start in _starts(folders, path) for real in _walk(folders, start, fits))
        lines = [folders.shown(real) for real, _ in zip(found, range(_LISTED + 1), strict=False)]
    if not lines:
        return f"Nothing{f' fits {pattern!r}' if pattern else ''} in {path!r}."
    more = f"\n… and more; the first {_LISTED} are shown" if len(lines) > _LISTED else ""
    return "\n".join(lines[:_LISTED]) + more


def _described(entry: Entry) -> str:
    if entry.is_folder:
        return f"{entry.name}/"
    return f"{entry.name} -> (link)" if entry.is_link else f"{entry.name} ({entry.size:,} bytes)"


def _starts(folders: Folders, path: str) -> tuple[Path, ...]:
    return folders.roots() if path in (".", "") else (folders.locate(path),)


def _walk(folders: Folders, start: Path, fits: _Fits) -> Iterator[Path]:
    """Files below `start`, folder by folder in the order of names; links to folders not entered."""
    waiting = [start]
    while waiting and not is_cancelled():
        folder = waiting.pop()
        try:
            entries = folders.entries(folder)
        except ToolError:  # not ours to read, or gone meanwhile
            continue
        below = [folder / entry.name for entry in entries if entry.is_folder]
        for entry in entries:
            real = folder / entry.name
            if not entry.is_folder and fits(real.relative_to(start).as_posix()):
                yield real
        waiting.extend(reversed(below))


class _Wanted(msgspec.Struct, frozen=True):
    query: str
    regex: bool
    ignore_case: bool
    limit: int


class _Source(msgspec.Struct, frozen=True):
    shown: str
    lines: list[str]


def _search(folders: Folders, path: str, pattern: str, wanted: _Wanted) -> str:
    if not wanted.query:
        raise ToolExecutionError("there is nothing to search for")
    sources, notes = _sources(folders, path, pattern)
    hits = _by_regex(sources, wanted) if wanted.regex else _by_text(sources, wanted)
    lines = [
        f"{sources[file].shown}:{line + 1}: {sources[file].lines[line]}" for file, line in hits
    ]
    if len(lines) >= wanted.limit:
        notes.append(f"only the first {wanted.limit} lines are shown")
    if not lines:
        lines.append(f"No line has {wanted.query[:100]!r} in {len(sources):,} files.")
    return "\n".join(lines + [f"({note})" for note in notes])


def _sources(folders: Folders, path: str, pattern: str) -> tuple[list[_Source], list[str]]:
    fits = matcher(pattern) if pattern else lambda _: True
    sources: list[_Source] = []
    left, notes = _SEARCH_BYTES, []
    for real in _files(folders, path, fits):
        if len(sources) >= _SEARCH_FILES or left <= 0:
            notes.append(f"only the first {len(sources):,} files were searched")
            break
        try:
            with folders.open(str(real)) as file:
                encoding = _encoding(file, "")
                text = file.read(min(left, _SEARCH_FILE_BYTES)).decode(encoding, "replace")
        except ToolError:  # binary, hidden behind a link, or gone
            continue
        left -= len(text)
        lines = [_cut(line.rstrip("\r")) for line in text.removesuffix("\n").split("\n")]
        sources.append(_Source(folders.shown(real), lines))
    return sources, notes


def _files(folders: Folders, path: str, fits: _Fits) -> Iterator[Path]:
    for start in _starts(folders, path):
        if start.is_file():
            yield start
        else:
            yield from _walk(folders, start, fits)


def _by_text(sources: list[_Source], wanted: _Wanted) -> list[tuple[int, int]]:
    query = wanted.query.casefold() if wanted.ignore_case else wanted.query
    found: list[tuple[int, int]] = []
    for number, source in enumerate(sources):
        for line, text in enumerate(source.lines):
            if query in (text.casefold() if wanted.ignore_case else text):
                found.append((number, line))
                if len(found) >= wanted.limit:
                    return found
    return found


def _by_regex(sources: list[_Source], wanted: _Wanted) -> list[tuple[int, int]]:
    task = {
        "do": "find",
        "pattern": wanted.query,
        "ignore_case": wanted.ignore_case,
        "limit": wanted.limit,
        "texts": [source.lines for source in sources],
    }
    try:
        answer = work(task, seconds=_REGEX_S)
    except TookTooLong:
        raise ToolExecutionError(
            f"the regular expression took longer than {_REGEX_S:g} s",
            suggestions=("Make it simpler, search fewer files, or search without `regex`.",),
        ) from None
    if "error" in answer:
        raise ToolExecutionError(answer["error"])
    return [(file, line) for file, line in answer["hits"]]
