"""`--db`, when it names something else than a database of ours."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from palaver.cli import exits
from palaver.cli.main import run

LOOKS = (["list"], ["show", "last"], ["search", "x"], ["export", "last"], ["delete", "x", "--yes"])
Palaver = Callable[..., tuple[int, str]]


@pytest.fixture
def palaver(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Palaver:
    """Runs a command in an empty folder: exit code, and what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PALAVER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PALAVER_MODEL", "offline")

    def call(*arguments: str) -> tuple[int, str]:
        code = run(arguments)
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return call


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look[0])
def test_a_misspelt_database_is_told_and_not_made(
    palaver: Palaver, tmp_path: Path, look: list[str]
) -> None:
    """A command that only looks does not answer for a database that is not there."""
    assert palaver(*look, "--db", "typo.db") == (
        exits.FAILED,
        "palaver: there is no database typo.db\n",
    )
    assert not list(tmp_path.glob("typo*"))


@pytest.mark.parametrize("folder", [".", "/", "home"])
def test_a_folder_is_no_database(palaver: Palaver, tmp_path: Path, folder: str) -> None:
    """A folder is refused in one line, however it is written."""
    (tmp_path / "home").mkdir()
    for command in (["ask", "hello"], ["list"]):
        code, told = palaver(*command, "--db", folder)
        assert (code, f"{folder} is a folder" in told) == (exits.USAGE, True)


def test_doctor_knows_a_database_of_another_program(palaver: Palaver, tmp_path: Path) -> None:
    """What every other command would refuse is no `ok`; an empty file is one."""
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE messages (text)")
        other.commit()
    code, told = palaver("doctor", "--db", "other.db")
    assert (code, "other.db is a database of another program" in told) == (exits.FAILED, True)
    (tmp_path / "empty.db").touch()
    assert palaver("doctor", "--db", "empty.db")[0] == exits.OK
