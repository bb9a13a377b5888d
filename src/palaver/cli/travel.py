"""Conversations out and in: export and import."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from palaver.cli import exits
from palaver.cli.inspection import look, print_json, put
from palaver.cli.opening import Opened
from palaver.cli.safe import one_line, safe
from palaver.cli.screen import write_bytes
from palaver.cli.tables import table, terminal_width
from palaver.domain.errors import InvalidInput, PalaverError

if TYPE_CHECKING:
    from palaver.service.transfer import ExportFormat, ImportReport

    Reports: TypeAlias = list[tuple[str, ImportReport]]

KINDS: "dict[str, ExportFormat]" = {
    "md": "markdown",
    "html": "html",
    "jsonl": "jsonl",
    "openai": "openai",
}
SUFFIXES = {
    ".md": "md",
    ".markdown": "md",
    ".html": "html",
    ".htm": "html",
    ".jsonl": "jsonl",
    ".json": "openai",
}
STDIN = "-"
TITLE = 40
"""Columns of a title."""


def format_of(path: Path) -> "ExportFormat":
    """The format that a file's name asks for; Markdown where it says nothing."""
    return KINDS[SUFFIXES.get(path.suffix.lower(), "md")]


def export(db: str | None, name: str, *, kind: str | None, output: str) -> int:
    """Write a conversation to a file or to standard output."""

    async def work(service: Opened) -> int:
        conversation = await service.manager.find(name)
        format = KINDS[kind] if kind else format_of(Path(output))
        data = await service.manager.export(conversation.id, format)
        if output in ("", "-"):
            write_bytes(sys.stdout, data)
        else:
            _write(Path(output), data)
        return exits.OK

    return look(db, work)


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror or error}") from error


def write_new(path: Path, data: bytes) -> None:
    """Write a file that was not there. Raises InvalidInput when it is, or cannot be written."""
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError as error:
        raise InvalidInput(f"{path} exists already", hint="Choose another name.") from error
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror or error}") from error


def import_files(db: str | None, files: Sequence[str], *, kind: str, as_json: bool) -> int:
    """Take in what the files hold, and tell what came and what was repaired."""

    async def work(service: Opened) -> int:
        reports: Reports = []
        code = exits.OK
        for file in files:
            try:
                named, data = _read(file)
                came = await service.manager.import_conversations(
                    data, name=named, format=kind or None
                )
            except PalaverError as error:
                code = exits.FAILED
                hint = f"\n  {error.hint}" if error.hint else ""
                exits.say(safe(f"palaver: {file}: {error.message}{hint}"))
                continue
            reports += [(file, report) for report in came]
            if not came:
                exits.say(safe(f"{file}: no conversation in it"))
        _tell(reports, as_json=as_json)
        return code

    return look(db, work, makes=True)


def _read(file: str) -> tuple[str, bytes]:
    try:
        if file == STDIN:
            return "standard input", sys.stdin.buffer.read()
        return Path(file).name, Path(file).read_bytes()
    except IsADirectoryError as error:
        raise InvalidInput("it is a folder", hint=f"Say which files, as {file}/*.jsonl") from error
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror or error}") from error


def _tell(reports: "Reports", *, as_json: bool) -> None:
    if as_json:
        import msgspec

        print_json([{"file": file, **msgspec.to_builtins(report)} for file, report in reports])
        return
    if not reports:
        return
    width = terminal_width()
    rows = [
        (
            report.conversation if width is None else report.conversation[-8:],
            report.format,
            str(report.messages),
            one_line(report.title or Path(file).name, TITLE),
            repairs_told(report),
        )
        for file, report in reports
    ]
    put(table(("id", "format", "messages", "title", "repaired"), rows, width=width))
    repaired = sum(1 for _, report in reports if report.repairs)
    exits.say(
        f"{len(reports)} conversation{'' if len(reports) == 1 else 's'} came in"
        + (f", {repaired} of them repaired; --json tells each repair" if repaired else "")
    )


def repairs_told(report: "ImportReport") -> str:
    """What was repaired, by kind: `2 unanswered call, 1 reused id`."""
    kinds = Counter(repair.kind.replace("_", " ") for repair in report.repairs)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
