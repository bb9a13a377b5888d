"""The commands in plain text: outputs, errors and exit codes, with the offline model."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from palaver import log
from palaver.cli import exits
from palaver.cli.main import run

Palaver = Callable[..., subprocess.CompletedProcess[str]]
SCRIPTED = Path(__file__).with_name("scripted_chat.py")


def variables(home: Path) -> dict[str, str]:
    """The environment of a program that must not see this person's keys and data."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PALAVER", "OPENAI", "ANTH"))}
    return {**kept, "PALAVER_HOME": str(home), "PALAVER_MODEL": "offline"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of its own."""
    for name in set(os.environ) - set(variables(tmp_path)):
        monkeypatch.delenv(name)
    for name, value in variables(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def palaver(home: Path) -> Palaver:
    """Runs the program as a process."""

    def call(
        *arguments: str, stdin: str = "", program: tuple[str, ...] = ("-m", "palaver.cli.main")
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *program, *arguments]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=60, check=False
        )

    return call


Out = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Out:
    """Runs the program in this process: exit code, output, notices."""

    def call(*arguments: str) -> tuple[int, str, str]:
        with Path(os.devnull).open() as nothing:
            monkeypatch.setattr(sys, "stdin", nothing)
            code = run(arguments)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


# chat


def test_piped_chat_calculates(palaver: Palaver) -> None:
    """The first line of the README: one turn per line, the answer on standard output."""
    done = palaver("chat", stdin="what is 17*23?\n/quit\n")
    assert done.returncode == 0
    assert "391" in done.stdout
    assert "calculator" not in done.stdout
    assert "calculator" in done.stderr


def test_piped_chat_takes_slash_commands(palaver: Palaver, tmp_path: Path) -> None:
    """Commands work in a pipe; what they cannot do is said on standard error."""
    lines = ["/help", "/title Sums", "2+3", "/cost", f"/export {tmp_path}/out.md", "/list"]
    lines += [
        "/tools disable calculator",
        "/nonsense",
        "/model nope",
        "//slash",
        "/system Be brief",
    ]
    done = palaver("chat", stdin="\n".join(lines))
    assert "/attach PATH" in done.stdout
    assert "title: Sums" in done.stdout
    assert "offline" in done.stdout
    assert "calculator is off" in done.stdout
    assert "system: Be brief" in done.stdout
    assert "# Sums" in (tmp_path / "out.md").read_text()
    assert "there is no command /nonsense" in done.stderr
    assert "there is no model 'nope'" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == exits.FAILED


def test_chat_continues(palaver: Palaver, here: Out) -> None:
    """`--conversation last` goes on where the last chat ended; nothing said leaves nothing."""
    palaver("chat", stdin="1+1\n")
    palaver("chat", stdin="/title unsaid\n")
    palaver("chat", "--conversation", "last", stdin="2+2\n")
    code, out, _ = here("list", "--json")
    assert code == 0
    [only] = json.loads(out)
    assert only["preview"] == "2+2"


def test_piped_chat_branches(palaver: Palaver, tmp_path: Path) -> None:
    """In a pipe /edit takes the next line, /open takes a number of the list that it prints."""
    lines = ["1+1", "/edit", "2+2", "/branch", "/branch 1", "/undo", "/redo", "/retry", "/pin -1"]
    lines += ["/show", "/fork", "/open", "/open 2", f"/export {tmp_path}/out.html", "/edit 9"]
    done = palaver("chat", stdin="\n".join(lines))
    told = ["1+1 = 2", "replaces 1: 1+1", "2+2 = 4", "* └─ [2] 1-3 you: 2+2"]
    told += ["now on branch 1 of 2", "taken back: 1+1", "now on branch 1 of 2", "1+1 = 2"]
    told += ["3  assistant: 1+1 = 2", "── 3 Model (offline, pinned", "in a fork; /open", "\n1  "]
    told += ["say /open with a number", "continuing", "written to"]
    at = 0
    for text in told:
        at = done.stdout.index(text, at) + len(text)
    assert "there is no message 9" in done.stderr
    assert (tmp_path / "out.html").read_text().startswith("<!doctype html>")


def test_open_last_is_another_one(palaver: Palaver) -> None:
    """Within a chat, `/open last` goes back to the conversation before."""
    done = palaver("chat", stdin="1+1\n/new\n2+2\n/open last\n/cost\n/open last\n")
    first, second = done.stdout.split("continuing")[1:]
    assert "you: 1+1" in first
    assert "you: 2+2" in second


def test_attached_files_go_with_the_next_message(
    palaver: Palaver, here: Out, tmp_path: Path
) -> None:
    """`/attach` takes any file, with blanks in its name too, and one message carries it."""
    (tmp_path / "my notes.txt").write_text("notes")
    done = palaver("chat", stdin="/attach my notes.txt\n1+1\n2+2\n")
    assert "my notes.txt goes with your next message" in done.stdout
    messages = json.loads(here("show", "last", "--json")[1])["messages"]
    said = [[b["type"] for b in m["content"]] for m in messages if m["role"] == "user"]
    assert said == [["file", "text"], ["text"]]
    assert "[my notes.txt]" in here("show", "last")[1]


def test_without_a_terminal_effects_are_denied(palaver: Palaver) -> None:
    """Nobody is asked, nothing is done, and the model hears about it. `--yes` is for scripts."""
    done = palaver(stdin="mail\n", program=(str(SCRIPTED),))
    assert "send_mail" in done.stderr
    assert "did not allow" in done.stdout
    assert done.returncode == 0


def test_effects_with_yes(palaver: Palaver) -> None:
    """`--yes` allows tools with effects."""
    done = palaver("--yes", stdin="mail\n", program=(str(SCRIPTED),))
    assert "sent to bob@example.org" in done.stdout


def test_answers_in_a_pipe_are_verbatim(palaver: Palaver) -> None:
    """A pipe gets what the model said, byte for byte; only terminals are protected."""
    done = palaver(stdin="evil\n", program=(str(SCRIPTED),))
    assert "be\x1b]0;owned\x07fore\x1b[2Jafter" in done.stdout


# ask


def test_ask_joins_prompt_and_input(palaver: Palaver) -> None:
    """Standard input is added to the prompt."""
    done = palaver("ask", "what is", stdin="17*23?\n")
    assert "391" in done.stdout
    assert done.returncode == exits.OK


def test_ask_prints_events_as_lines(palaver: Palaver) -> None:
    """`--json` prints every event with its number; nothing else is on standard output."""
    done = palaver("ask", "--json", "17*23")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["n"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["type"] == "turn.started"
    assert events[-1]["type"] == "turn.completed"
    assert "391" in "".join(event.get("text", "") for event in events)


SCHEMA = '{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}'


@pytest.mark.parametrize(
    "arguments,code,out",
    [
        (["hello"], exits.OK, "You said: hello"),
        (["limit"], exits.CUT, "It was"),
        (["mail"], exits.DENIED, "did not allow"),
        (["mail", "--yes"], exits.OK, "sent to bob"),
        (["json", "--schema", SCHEMA], exits.OK, '"city": "Oslo"'),
        (["hello", "--schema", SCHEMA], exits.FAILED, ""),
    ],
)
def test_ask_tells_how_it_ended(
    palaver: Palaver, arguments: list[str], code: int, out: str
) -> None:
    """The exit code says what became of the question."""
    done = palaver("--ask", *arguments, program=(str(SCRIPTED),))
    assert done.returncode == code, done.stderr
    assert out in done.stdout
    assert "Traceback" not in done.stderr


def test_interrupting_ask_keeps_what_came(home: Path) -> None:
    """Ctrl-C ends the turn, the part that came stays on standard output, the exit code is 130."""
    command = [sys.executable, str(SCRIPTED), "--ask", "slow"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(11) == b"word0 word1"
        process.send_signal(signal.SIGINT)
        process.stdout.read()  # an answer that never ends by itself
        assert b"the partial answer is kept" in process.stderr.read()
    assert process.returncode == exits.INTERRUPTED


def test_ask_survives_foreign_encodings(palaver: Palaver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the locale cannot write a character, a question mark stands for it."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = palaver(program=(str(SCRIPTED),), stdin="漢字 é\n")
    assert done.returncode == 0
    assert "You said: " in done.stdout


@pytest.mark.parametrize(
    "arguments,code,told",
    [
        (["ask"], exits.USAGE, "there is no question"),
        (["ask", "x", "--schema", "{"], exits.USAGE, "the schema is not JSON"),
        (["ask", "x", "--schema", "[1]"], exits.USAGE, "cannot read the schema"),
        (["ask", "x", "--attach", "/nowhere"], exits.USAGE, "cannot read /nowhere"),
        (["ask", "x", "--temperature", "9"], exits.USAGE, "0<=x<=2"),
        (["ask", "x", "--model", "nope"], exits.CONFIGURATION, "there is no model 'nope'"),
        (["ask", "x", "--model", "openai:x"], exits.CONFIGURATION, "needs an API key"),
        (["ask", "x", "--conversation", "zzzz"], exits.FAILED, "no conversation 'zzzz'"),
        (["show", "last"], exits.FAILED, "there is no conversation yet"),
        (["bogus"], exits.USAGE, "No such command"),
        (["chat", "--new", "-c", "last"], exits.USAGE, "exclude each other"),
        (["list", "--db", "/proc/nope/x.db"], exits.FAILED, ""),
    ],
)
def test_bad_input_is_one_clear_line(here: Out, arguments: list[str], code: int, told: str) -> None:
    """Whatever is wrong, a person reads a line about it, never a traceback."""
    got, out, err = here(*arguments)
    assert (got, out) == (code, "")
    assert told in err
    assert "Traceback" not in err
    assert "unexpected" not in err


def test_the_unexpected_is_one_line_too(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours is told in a line that says where the rest is; PALAVER_DEBUG shows it."""
    fault = ExceptionGroup("tasks", [RuntimeError("out of \x1b[2J cheese")])
    assert exits.report(fault) == exits.FAILED
    told = capsys.readouterr().err
    assert "something unexpected went wrong (RuntimeError: out of ␛[2J cheese)" in told
    assert str(home / "palaver.log") in told
    assert "Traceback" not in told
    log.configure(None)
    assert "unexpected_error" in (home / "palaver.log").read_text()
    monkeypatch.setenv("PALAVER_DEBUG", "1")
    exits.report(RuntimeError("again"))
    log.configure(None)
    assert "RuntimeError: again" in capsys.readouterr().err


def test_a_closed_pipe_ends_quietly(home: Path) -> None:
    """`palaver ask … | head -0` says nothing and ends as other programs do."""
    command = f"{sys.executable} -m palaver.cli.main ask hello | head -0; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() in (str(exits.BROKEN_PIPE), "0")  # 0: it was quicker than head
    assert done.stderr == ""


# looking


def test_what_was_said_can_be_found(here: Out) -> None:
    """list, show, search and export all tell of a conversation; delete erases it."""
    assert here("ask", "what is 17*23?")[0] == 0
    code, listed, _ = here("list")
    assert code == 0
    name = listed.splitlines()[1].split()[0]
    for given in (name, name[-6:], "last"):
        assert "→ 391" in here("show", given)[1]
    assert json.loads(here("show", "last", "--json")[1])["messages"][0]["role"] == "user"
    assert name in here("search", "17")[1]
    [first, *_] = json.loads(here("search", "17", "--json")[1])
    assert first["conversation"] == name
    assert here("search", "unheard")[0] == exits.FAILED
    assert here("export", "last")[1].startswith("# what is 17")
    head, *facts, end = map(json.loads, here("export", "last", "--format", "jsonl")[1].splitlines())
    assert head["conversation"] == name
    assert end["end"]["facts"] == len(facts)
    assert [fact["seq"] for fact in facts] == list(range(1, len(facts) + 1))
    assert here("delete", "last")[0] == exits.USAGE
    assert here("delete", name[-6:], "--yes")[0] == exits.OK
    assert json.loads(here("list", "--json")[1]) == []


def test_tools_and_models(here: Out) -> None:
    """What there is to use, with what is needed to use it."""
    code, out, _ = here("tools")
    assert (code, "calculator" in out) == (0, True)
    assert any(d["name"] == "calculator" for d in json.loads(here("tools", "--json")[1]))
    code, out, _ = here("models", "sonnet-4-5")
    assert (code, "no key" in out) == (0, True)
    assert here("models", "no-such-model")[0] == exits.FAILED


def test_doctor(here: Out, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is said with what mends it; a broken database or address is exit code 1;
    keys are masked."""
    code, out, _ = here("doctor")
    assert code == 0
    assert "ANTHROPIC_API_KEY" in out
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-secret-secret-1234")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    home.mkdir(exist_ok=True)
    (home / "palaver.db").write_bytes(b"this is no database" * 100)
    code, out, _ = here("doctor", "--json")
    states = {f["name"]: f for f in json.loads(out)}
    assert code == exits.FAILED
    assert states["database"]["state"] == "broken"
    assert states["anthropic"]["state"] == "broken"
    assert "secret" not in out


def test_help_is_quick(palaver: Palaver) -> None:
    """Nothing but Click is imported for `--help`."""
    program = (
        "import sys; from palaver.cli.main import run; run(['--help']); print(len(sys.modules))"
    )
    done = palaver(program=("-c", program + "; print([m for m in sys.modules if 'msgspec' in m])"))
    *_, modules, heavy = done.stdout.splitlines()
    assert heavy == "[]"
    assert int(modules) < 250
