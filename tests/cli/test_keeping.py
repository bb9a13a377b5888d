"""`palaver backup` and `palaver doctor --repair`."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from palaver.cli import exits
from palaver.cli.main import run

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


def test_a_backup_is_a_database(palaver: Palaver) -> None:
    """It is told what is in it and how to use it; a second one needs leave to replace it."""
    palaver("ask", "what is 17*23?")
    code, told = palaver("backup", "copy.db")
    assert code == exits.OK
    assert "1 conversation," in told
    assert "what is 17*23?" in palaver("show", "last", "--db", "copy.db")[1]
    code, told = palaver("backup", "copy.db")
    assert code != exits.OK
    assert "copy.db is there already" in told
    assert palaver("backup", "copy.db", "--overwrite")[0] == exits.OK
    assert palaver("backup", "x.db", "--db", "nothing.db")[0] != exits.OK


def test_damage_is_refused_and_repaired(palaver: Palaver, tmp_path: Path) -> None:
    """What is said when it is found names the command that helps; that says what it did."""
    for number in range(12):
        palaver("ask", f"what is {number}*23?")
    file = tmp_path / "home" / "palaver.db"
    data = bytearray(file.read_bytes())
    data[100:4096] = random.Random(1).randbytes(3996)
    file.write_bytes(data)
    code, told = palaver("list")
    assert code != exits.OK
    assert f"palaver doctor --repair '{file}'" in told
    assert "doctor --repair" in palaver("doctor")[1]
    code, told = palaver("doctor", "--repair")
    assert code == exits.OK
    assert "saved: 12 conversations with 36 messages, 12 of them complete" in told
    assert "the damaged file is kept" in told
    assert list(file.parent.glob("palaver.db.damaged-*"))
    assert "what is 7*23?" in palaver("list")[1]
    assert palaver("doctor", "--repair")[0] == exits.OK  # of a sound file, too
