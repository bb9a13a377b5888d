"""A person at a real terminal (a pty): prompt, streamed answers, Ctrl-C, approvals, Ctrl-D."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from palaver.cli import exits

SCRIPTED = Path(__file__).with_name("scripted_chat.py")
AT_TERMINAL = """
import fcntl, termios
from palaver.cli.main import main
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C becomes a signal
main()
"""
WAIT_S = 60.0
CONTROL = re.compile(r"\x1b\][^\x07]*\x07|\x1b\[[0-9;?]*[a-zA-Z]|[\r\x07]")


class Person:
    """Types at a program and reads what it shows."""

    def __init__(self, process: "subprocess.Popen[bytes]", terminal: int) -> None:
        self.process, self._terminal = process, terminal
        self.raw = ""
        self._from = 0

    @property
    def text(self) -> str:
        """What came since the last `type`, without control sequences."""
        return CONTROL.sub("", self.raw[self._from :])

    def type(self, keys: str) -> None:
        """Press keys."""
        self._from = len(self.raw)
        os.write(self._terminal, keys.encode())

    def sees(self, *texts: str) -> None:
        """Wait until all of these texts were shown, in order, since the last `type`."""
        pattern = re.compile(".*?".join(map(re.escape, texts)), re.S)
        deadline = time.monotonic() + WAIT_S
        while not pattern.search(self.text):
            if time.monotonic() > deadline or not self._read():
                pytest.fail(f"never saw {texts}; what came:\n{self.text}")

    def leaves(self) -> int:
        """Wait for the end of the program; its exit code."""
        while self._read():
            pass
        return self.process.wait(WAIT_S)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._terminal], [], [], WAIT_S)
        try:
            data = os.read(self._terminal, 65_536) if ready else b""
        except OSError:  # the program is gone
            data = b""
        if b"\x1b[6n" in data:  # it asks where the cursor is
            os.write(self._terminal, b"\x1b[1;1R")
        self.raw += data.decode("utf-8", "replace")
        return bool(data)


@contextmanager
def chat(
    home: Path, *arguments: str, program: tuple[str, ...] = (str(SCRIPTED),), **variables: str
) -> Iterator[Person]:
    """The scripted chat, or another program, on a terminal of 100 × 30."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PALAVER", "NO_COLOR"))}
    process = subprocess.Popen(
        [sys.executable, *program, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**kept, "PALAVER_HOME": str(home), "TERM": "xterm-256color", **variables},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Person(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_chat_on_a_terminal(tmp_path: Path) -> None:
    """The toolbar tells the model, a streamed answer is rendered, a message that is typed during a
    turn is sent behind it, Ctrl-C clears a line, Ctrl-D leaves with exit code 0."""
    gate = tmp_path / "gate"
    with chat(tmp_path, SCRIPTED_GATE=str(gate)) as person:
        person.sees("›", "scripted:model")
        person.type("a table please\r")
        person.sees("Which cities?", "Cities", "Oslo", "def hello", "Done with all of it.", "›")
        person.type("look\r")
        person.sees("Let me look.", "look_up Oslo")
        person.type("typed ahead\r")
        gate.touch()
        person.sees(
            "└ Oslo: rain", "failed", "no such city", "The tool said", "said: typed ahead", "›"
        )
        person.type("nonsense\x03sense\r")
        person.sees("You said: sense", "›")
        person.type("/tools\r")
        person.sees("send_mail", "effect", "›")
        person.type("\x04")
        assert person.leaves() == exits.OK
        assert "Traceback" not in person.raw


def test_ctrl_c_keeps_the_partial_answer(tmp_path: Path) -> None:
    """Ctrl-C in mid-answer stops the turn, says so, and what came is in the stored conversation."""
    db = str(tmp_path / "chat.db")
    with chat(tmp_path, "--db", db) as person:
        person.sees("›")
        person.type("slow\r")
        person.sees("word3")
        person.type("\x03")
        person.sees("cancelled; the partial answer is kept", "›")
        person.type("and now?\r")
        person.sees("You said: and now?", "›")
        person.type("\x04")
        assert person.leaves() == exits.OK
    with chat(tmp_path, "--db", db, "--conversation", "last") as person:
        person.sees("continuing", "model (cut): word0 word1", "You said: and now?", "›")
        person.type("/quit\r")
        assert person.leaves() == exits.OK


def test_approvals(tmp_path: Path) -> None:
    """A call with an effect is shown whole and asked about: no with a note, Ctrl-C, yes, always."""
    with chat(tmp_path) as person:
        person.sees("›")
        person.type("mail\r")
        person.sees("wants to use send_mail", "to: bob@example.org", r"body: hi\x1b[2J", "allow?")
        person.type("not today\r")
        person.sees("did not allow this call", "not today", "›")
        person.type("mail\r")
        person.sees("allow?")
        person.type("\x03")
        person.sees("cancelled", "›")
        person.type("mail\r")
        person.sees("allow?")
        person.type("a\r")
        person.sees("The tool said: sent to bob", "›")
        person.type("mail\r")
        person.sees("The tool said: sent to bob", "›")
        assert "allow?" not in person.text
        person.type("\x04")
        assert person.leaves() == exits.OK


def test_a_decision_may_wait_for_the_next_chat(tmp_path: Path) -> None:
    """A turn that waited for approval when its program died is asked about again."""
    db = str(tmp_path / "chat.db")
    with chat(tmp_path, "--db", db) as person:
        person.sees("›")
        person.type("mail\r")
        person.sees("allow?")
    with chat(tmp_path, "--db", db, "--conversation", "last") as person:
        person.sees("waits for a decision", "send_mail", "allow?")
        person.type("y\r")
        person.sees("The tool said: sent to bob", "›")
        person.type("\x04")
        assert person.leaves() == exits.OK


def test_a_dumb_terminal(tmp_path: Path) -> None:
    """TERM=dumb gets plain text, questions included, and no control characters from models."""
    with chat(tmp_path, TERM="dumb") as person:
        person.sees(">")
        person.type("evil\n")
        person.sees("be␛]0;owned", "after")
        person.type("mail\n")
        person.sees("allow?")
        person.type("y\n")
        person.sees("The tool said: sent to bob")
        assert "\x1b" not in person.raw
        person.type("\x04")
        assert person.leaves() == exits.OK


def test_no_color(tmp_path: Path) -> None:
    """NO_COLOR is respected by the prompt and by answers."""
    with chat(tmp_path, NO_COLOR="1") as person:
        person.sees("›")
        person.type("a table please\r")
        person.sees("Done with all of it.", "›")
        assert not re.search(r"\x1b\[[0-9;]*\b(3[0-7]|9[0-7]|38)\b[0-9;]*m", person.raw)
        person.type("\x04")
        person.leaves()


def test_what_is_typed_during_a_command_is_a_line_of_its_own(tmp_path: Path) -> None:
    """Enter stays Enter while a command runs or the program still loads."""
    with chat(tmp_path) as person:
        person.sees("›")
        person.type("/title One\r")
        person.sees("/title One")
        time.sleep(0.02)  # the prompt has gone, the first line waits for the rest of the program
        person.type("/title Two\r/title\r")
        person.sees("title: One", "title: Two", "title: Two", "›")
        person.type("\x04")
        assert person.leaves() == exits.OK


def test_branches_in_a_chat(tmp_path: Path) -> None:
    """/edit opens the old text in the input line, Ctrl-C leaves it as it was; /retry, /undo,
    /redo, /branch and /fork lead where they say."""
    with chat(tmp_path) as person:
        person.sees("›")
        person.type("apples\r")
        person.sees("You said: apples", "›")
        person.type("/edit\r")
        person.sees("replaces 1: apples", "› apples", "editing")
        person.type("\x03pears\r")
        person.sees("You said: pears", "›")
        person.type("/edit 1\r")
        person.sees("replaces 1: apples", "› apples", "editing")
        person.type(" and plums\r")
        person.sees("You said: apples and plums", "›")
        person.type("/branch\r")
        person.sees("[1] 1-4 you: apples", "[2] 1-2 you: apples and plums", "›")
        person.type("/branch 1\r")
        person.sees("now on branch 1 of 2: You said: pears", "›")
        person.type("/undo\r")
        person.sees("taken back: pears", "›")
        person.type("/redo\r")
        person.sees("now on branch 1 of 2: You said: pears", "›")
        person.type("/retry\r")
        person.sees("You said: pears", "›")
        person.type("/fork 2\r")
        person.sees("in a fork; /open", "You said: apples", "›")
        person.type("\x04")
        assert person.leaves() == exits.OK


def test_a_conversation_is_picked(tmp_path: Path) -> None:
    """/open without a name shows a list that typing narrows; Esc leaves, Enter opens. An undo of
    everything loses nothing."""
    db = str(tmp_path / "chat.db")
    with chat(tmp_path, "--db", db) as person:
        person.sees("›")
        person.type("apples\r")
        person.sees("You said: apples", "›")
        person.type("/undo\r")
        person.sees("before the first message", "›")
        person.type("/new\r")
        person.sees("a new conversation", "›")
        person.type("pears\r")
        person.sees("You said: pears", "›")
        person.type("/open\r")
        person.sees("find:", "pears", "apples", "Esc leaves")
        person.type("\x1b")
        person.sees("›")
        person.type("/open\r")
        person.sees("Esc leaves")
        person.type("appl")
        person.sees("appl", "1 conversation")
        person.type("\r")
        person.sees("continuing", "›")
        person.type("/redo\r")
        person.sees("now: You said: apples", "›")
        person.type("\x04")
        assert person.leaves() == exits.OK


@pytest.mark.parametrize(
    "keys,code", [("\x03", exits.INTERRUPTED), ("\x04", exits.FAILED), ("y\r", exits.OK)]
)
def test_deleting_asks(tmp_path: Path, keys: str, code: int) -> None:
    """Ctrl-C and Ctrl-D leave the question and the conversation alone; y deletes it."""
    palaver = ("-c", AT_TERMINAL)
    with chat(tmp_path, "ask", "hello", "--model", "offline", program=palaver) as person:
        assert person.leaves() == exits.OK
    with chat(tmp_path, "delete", "last", program=palaver) as person:
        person.sees("2 messages for ever? [y/N]:")
        person.type(keys)
        assert person.leaves() == code
    with chat(tmp_path, "list", program=palaver) as person:
        person.sees("hello" if code else "no conversations yet")
