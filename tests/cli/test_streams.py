"""Standard streams that are closed or full."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from palaver.cli import exits

FULL = Path("/dev/full")


def palaver(home: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Runs a line of the shell; `palaver` in it is the program."""
    function = f'palaver() {{ "{sys.executable}" -m palaver.cli.main "$@"; }}; '
    return subprocess.run(
        ["bash", "-c", function + line],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PALAVER_HOME": str(home), "PALAVER_MODEL": "offline"},
    )


def test_closed_streams(tmp_path: Path) -> None:
    """Without standard input there is nothing to answer, without output the answer is stored."""
    assert palaver(tmp_path, "palaver chat <&-").returncode == exits.OK
    done = palaver(tmp_path, "palaver ask 'what is 17*23?' >&- 2>&-")
    assert done.returncode == exits.OK
    assert "391" in palaver(tmp_path, "palaver show last").stdout
    assert palaver(tmp_path, "palaver ask <&- >&- 2>&-").returncode == exits.USAGE


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("command", ["ask hello", "list", "tools --json", "--help"])
def test_a_full_disk_behind_the_output(tmp_path: Path, command: str) -> None:
    """Output that cannot be written is one line and a failure."""
    palaver(tmp_path, "palaver ask hello")
    done = palaver(tmp_path, f"palaver {command} </dev/null >{FULL}")
    assert (done.returncode, done.stderr) == (
        exits.FAILED,
        "palaver: No space left on device\n",
    )


def test_no_command_shows_the_help(tmp_path: Path) -> None:
    """`palaver` alone is told what there is; nothing is printed for a program to read."""
    done = palaver(tmp_path, "palaver")
    assert (done.returncode, done.stdout) == (exits.USAGE, "")
    assert done.stderr.startswith("Usage: palaver ")
    assert "Exit codes:" in done.stderr
