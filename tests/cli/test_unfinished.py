"""A program that is killed, or asked to end, in the middle of an answer: what its user sees."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

import palaver as library
from palaver.cli import exits
from palaver.cli.main import run
from palaver.cli.unfinished import unfinished
from palaver.testing import Pause, Say, ScriptedModel

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")
SCRIPTED = Path(__file__).with_name("scripted_chat.py")
Palaver = Callable[..., tuple[str, str]]


@pytest.fixture
def palaver(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Palaver:
    """Runs a command on the database: what it said on both streams."""
    monkeypatch.setenv("PALAVER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PALAVER_MODEL", "offline")

    def call(*arguments: str) -> tuple[str, str]:
        assert run([*arguments, "--db", str(tmp_path / "chat.db")]) == exits.OK
        shown = capsys.readouterr()
        return shown.out, shown.err

    return call


def asking(path: Path, question: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, str(SCRIPTED), "--db", str(path), "--yes", "--ask", question],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PALAVER_HOME": str(path.parent / "home")},
    )


def wait_for_fact(path: Path, kind: str) -> None:
    """Until there is such a fact."""
    count = "SELECT count(*) FROM events JOIN kinds ON key = kind WHERE name = ?"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.05)
        if not path.exists():
            continue
        connection = apsw.Connection(str(path))
        try:
            if connection.execute(count, (kind,)).fetchone() != (0,):
                return
        except apsw.Error:
            pass  # its tables are being made
        finally:
            connection.close()
    pytest.fail(f"there was no {kind}")


def wait_for_delivery(pid: int, number: int) -> None:
    """Until the program has the signal: of two that wait for it, it would see one."""
    status = Path(f"/proc/{pid}/status")
    time.sleep(0.05 if status.exists() else 1.0)
    while status.exists():
        waiting = re.findall(r"^S(?:ig|hd)Pnd:\s*([0-9a-f]+)$", status.read_text(), re.M)
        if not any(int(mask, 16) >> (number - 1) & 1 for mask in waiting):
            return
        time.sleep(0.01)


def test_what_is_known_of_an_interrupted_answer(palaver: Palaver, tmp_path: Path) -> None:
    """The next command says so once; `show` says of each effect that nobody knows, and how to go
    on."""
    program = asking(tmp_path / "chat.db", "pay order 7")
    wait_for_fact(tmp_path / "chat.db", "tool.claimed")
    program.kill()
    program.communicate()
    out, told = palaver("list")
    assert "pay order 7" in out
    assert "(unfinished)" not in out
    assert "an answer was interrupted when its program stopped; `palaver show" in told
    assert palaver("list")[1] == ""
    out, _ = palaver("show", "last")
    assert "· pay 7 → not known whether it was done; it was not repeated" in out
    assert "! the last answer was interrupted: its program stopped" in out
    assert "! pay 7: it had begun, and nobody knows whether it was done." in out
    assert "palaver retry" in out
    palaver("ask", "-c", "last", "hello")
    assert "interrupted" not in palaver("show", "last")[0].rpartition("──")[2]


def test_an_answer_may_come_to_its_end(tmp_path: Path) -> None:
    """Asked to end, the program says what it was about to say, and then ends."""
    program = asking(tmp_path / "chat.db", "steady")
    assert program.stdout is not None
    first = program.stdout.read(5)
    program.send_signal(signal.SIGTERM)
    rest, _ = program.communicate(timeout=60)
    said = (first + rest).decode()
    assert said.startswith("word0")
    assert "word29" in said
    assert program.returncode == exits.OK


def test_a_second_signal_ends_it_now(tmp_path: Path) -> None:
    """The answer would never end by itself; what had come is kept."""
    program = asking(tmp_path / "chat.db", "slow")
    assert program.stdout is not None
    program.stdout.read(5)
    program.send_signal(signal.SIGTERM)
    wait_for_delivery(program.pid, signal.SIGTERM)
    program.send_signal(signal.SIGTERM)
    program.communicate(timeout=60)
    assert program.returncode == 143


async def test_an_answer_that_another_program_makes(tmp_path: Path) -> None:
    """Who opens the conversation meanwhile is told so, and by the one who makes it nothing."""
    path, never = tmp_path / "chat.db", asyncio.Event()
    model = ScriptedModel([[Say("Half"), Pause(until=never)]])
    async with library.open(path, model=model) as one, library.open(path, model="offline") as other:
        conversation = await one.create()
        await conversation.start("?")
        there = await other.open(conversation.id)
        (line,) = await unfinished(other, there.state)
        assert line.startswith("another program is making the answer")
        assert await unfinished(one, conversation.state) == []
        await conversation.cancel()
