"""What fits Palaver into a system: completion and the manual page."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "import sys; from palaver.cli.main import run; sys.exit(run(sys.argv[1:]))"


def palaver(home: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run the program."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PALAVER", "_PALAVER"))}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**kept, "PALAVER_HOME": str(home), "PALAVER_MODEL": "offline", **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def completed(home: Path, line: str) -> list[str]:
    """What a shell is offered behind `line`."""
    count = len(line.split(" ")) - 1
    done = palaver(home, COMP_WORDS=line, COMP_CWORD=str(count), _PALAVER_COMPLETE="bash_complete")
    assert done.stderr == ""
    return [offered.partition(",")[2] for offered in done.stdout.split()]


def test_conversations_and_models_are_completed(tmp_path: Path) -> None:
    """The newest conversations by the end of their id, models by any part of their name."""
    assert completed(tmp_path, "palaver show ") == ["last"]
    assert palaver(tmp_path, "ask", "1+1").returncode == 0
    last, id = completed(tmp_path, "palaver show ")
    assert last == "last"
    assert "1+1" in palaver(tmp_path, "show", id).stdout
    assert completed(tmp_path, f"palaver fork {id[:3]}") == [id]
    assert "anthropic:claude-sonnet-4-5" in completed(tmp_path, "palaver ask -m sonnet")
    assert completed(tmp_path, "palaver ask -m offl") == ["offline"]
    assert completed(tmp_path, "palaver bran") == ["branches"]


def test_completion_is_silent_about_errors(tmp_path: Path) -> None:
    """A damaged or missing database offers nothing and says nothing."""
    (tmp_path / "palaver.db").write_bytes(b"no database" * 100)
    assert completed(tmp_path, "palaver show ") == []
    assert completed(tmp_path / "palaver.db", "palaver show ") == ["last"]


def test_completion_is_quick(tmp_path: Path) -> None:
    """Neither the service nor the price table is imported to complete a conversation."""
    program = (
        "import sys; from palaver.cli.completion import conversations;"
        "conversations('', db=None); print([m for m in sys.modules if m in"
        "('palaver.wiring', 'palaver.service.manager', 'genai_prices', 'aiohttp')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PALAVER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_names_with_a_colon(tmp_path: Path) -> None:
    """bash takes a colon for the end of a word: what is offered then is what stands behind it."""
    script = palaver(tmp_path, "completion", "bash").stdout
    program = tmp_path / "palaver"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{PROGRAM}' \"$@\"\n")
    program.chmod(0o755)
    ask = (
        "COMP_WORDS=(palaver ask -m anthropic : claude-sonnet-4-5); COMP_CWORD=5;"
        '_palaver_completion palaver; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\n{ask}"],
        env={
            **os.environ,
            "PALAVER_HOME": str(tmp_path),
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["claude-sonnet-4-5"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script(tmp_path: Path, shell: str) -> None:
    """It asks the program, by the name that it has."""
    assert "_PALAVER_COMPLETE" in palaver(tmp_path, "completion", shell).stdout


def test_the_manual_page(tmp_path: Path) -> None:
    """It names every command and is roff that the formatter has no complaint about."""
    from palaver.cli.main import cli

    page = palaver(tmp_path, "man").stdout
    assert page.startswith(".TH PALAVER 1")
    for name in cli.commands:
        assert f'.SS "palaver {name}"' in page
    for line in page.splitlines():
        assert not line.startswith(("'", "..")), line
    if shutil.which("groff") is None:
        return
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww"],
        input=page,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    assert "git diff | palaver ask 'write a commit message'" in done.stdout
