"""`palaver backup` and `palaver doctor --repair`: the file itself, not what is in it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from palaver.cli import exits
from palaver.cli.inspection import print_json, put
from palaver.domain.errors import InvalidInput

if TYPE_CHECKING:
    from palaver.store.repair import RepairReport

LISTED = 20


def run_backup(db: str | None, target: str, *, overwrite: bool, as_json: bool) -> int:
    """Copy the database, with its attachments, and say what was copied."""
    from palaver.store.backup import BLOBS, backup

    file = _file(db)
    blobs = file.with_name(file.name + BLOBS)
    report = backup(
        file, Path(target), overwrite=overwrite, blobs=blobs if blobs.is_dir() else None
    )
    if as_json:
        print_json(report)
        return exits.OK
    counted = f"{_several(report.conversations, 'conversation')}, {report.facts:,} facts"
    put(f"{report.file}: {counted}, {report.bytes / 1e6:.1f} MB, checked")
    if report.attachments:
        put(f"{report.file}{BLOBS}: {_several(report.attachments, 'attached file')} added")
    exits.say(f"to use it: palaver list --db '{report.file}', or put it in the place of the other")
    return exits.OK


def run_repair(db: str | None, *, as_json: bool) -> int:
    """Save what can be read of a damaged database; 1 where something is missing."""
    from palaver.store.repair import repair

    file = _file(db)
    if not as_json:
        exits.say(f"reading {file} …")
    report = repair(file)
    if as_json:
        print_json(report)
    else:
        for line in _told(report):
            put(line)
    return exits.OK if report.is_complete else exits.FAILED


def _told(report: "RepairReport") -> Iterator[str]:
    if report.bad_pages:
        yield f"{_several(report.bad_pages, 'page')} of 4 KB could not be read, or not wholly"
    saved = report.whole + len(report.shortened)
    yield (
        f"saved: {_several(saved, 'conversation')} with {_several(report.messages, 'message')},"
        f" {report.whole} of them complete; search and listing were made anew"
    )
    for each in report.shortened[:LISTED]:
        title = f" ({each.title})" if each.title else ""
        if each.is_renamed:
            yield f"  {each.id}{title}: its id was lost, this is a new one; it may end too early"
        else:
            yield (
                f"  {each.id}{title}: {_several(each.messages, 'message')} kept;"
                f" the last {_several(each.lost or 0, 'fact')} are lost"
            )
    if len(report.shortened) > LISTED:
        yield f"  … and {len(report.shortened) - LISTED} more that end too early"
    for lost in report.lost[:LISTED]:
        yield f"  {lost}: lost, nothing of it could be read"
    if len(report.lost) > LISTED:
        yield f"  … and {len(report.lost) - LISTED} more that are lost"
    if report.open_turns:
        yield f"{_several(report.open_turns, 'answer')} had been under way; see `palaver list`"
    if report.keys:
        yield f"{_several(report.keys, 'key')} of the server saved; see `palaver keys list`"
    yield f"the damaged file is kept: {report.kept[0]}"
    if not report.is_complete:
        yield "A backup may hold what is missing. When nothing is, the damaged file can be deleted."


def _several(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _file(db: str | None) -> Path:
    if db == ":memory:":
        raise InvalidInput("a database in memory has no file")
    if db is not None:
        return Path(db).expanduser()
    from palaver.environment import read_environment

    return read_environment().home / "palaver.db"
