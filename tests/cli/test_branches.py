"""Commands on branches, marks and what is erased, with the offline model; import and export."""

import json
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from palaver.cli import exits
from palaver.cli.main import run

Out = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Out:
    """Runs the program in this process: exit code, output, notices."""
    for name in [n for n in os.environ if n.startswith(("PALAVER", "OPENAI", "ANTHROPIC"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PALAVER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PALAVER_MODEL", "offline")
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        (tmp_path / "stdin").write_text(stdin)
        with (tmp_path / "stdin").open() as given:
            monkeypatch.setattr(sys, "stdin", given)
            code = run(arguments)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


@pytest.fixture
def asked(here: Out) -> Out:
    """The same, where two questions were asked and answered: messages 1-3 and 4-6."""
    assert here("ask", "what is 2*3?")[0] == exits.OK
    assert here("ask", "-c", "last", "what is 17*23?")[0] == exits.OK
    return here


def test_show_numbers_messages(asked: Out) -> None:
    """Messages have numbers, calls are folded to a line unless `--full`."""
    _, out, _ = asked("show", "last")
    assert re.findall(r"── (\d) (\w+)", out) == [
        ("1", "You"),
        ("2", "Model"),
        ("3", "Model"),
        ("4", "You"),
        ("5", "Model"),
        ("6", "Model"),
    ]
    assert "· calculator 17*23 → 391" in out
    assert '"expression"' in asked("show", "last", "--full")[1]


def test_an_edit_is_a_branch(asked: Out) -> None:
    """The new answer is printed, the old question stays, and one can go back to it."""
    code, out, _ = asked("edit", "last", "4", "what is 5*5?")
    assert (code, out) == (exits.OK, "5*5 = 25\n")
    assert "4 You (2 of 2)" in asked("show", "last")[1]
    _, tree, _ = asked("branches", "last")
    assert tree.splitlines() == [
        "  1-3 you: what is 2*3?",
        "  ├─ [1] 4-6 you: what is 17*23?",
        "* └─ [2] 4-6 you: what is 5*5?",
    ]
    _, tree, _ = asked("branches", "last", "--switch", "1")
    assert "* ├─ [1] 4-6 you: what is 17*23?" in tree
    _, listed, _ = asked("branches", "last", "--json")
    assert [(b["branch"], b["is_active"]) for b in json.loads(listed)] == [(1, True), (2, False)]


def test_the_text_of_an_edit_may_be_piped(asked: Out) -> None:
    """Without TEXT standard input is it; with TEXT it is left alone."""
    assert asked("edit", "last", "4", stdin="what is 7*7?\n")[1] == "7*7 = 49\n"
    assert asked("edit", "last", "4", "what is 8*8?", stdin="ignored")[1] == "8*8 = 64\n"


def test_retry_answers_again(asked: Out) -> None:
    """The last question, or an earlier one; numbers of branches stay what they are."""
    assert asked("retry", "last")[1] == "17*23 = 391\n"
    assert asked("retry", "last", "2")[1] == "2*3 = 6\n"
    _, tree, _ = asked("branches", "last")
    assert re.findall(r"[*] .*\[(\d)\]", tree) == ["3"]
    code, out, _ = asked("retry", "last", "--json")
    assert code == exits.OK
    assert json.loads(out.splitlines()[0])["type"] == "turn.started"


def test_undo_and_redo(asked: Out) -> None:
    """Undo takes a question back, redo brings it again; beyond the first there is nothing."""
    assert "taken back: what is 17*23?" in asked("undo", "last")[2]
    assert "17*23" not in asked("show", "last")[1]
    assert asked("branches", "last")[1].splitlines()[0] == "* 1-3 you: what is 2*3?"
    assert "17*23 = 391" in asked("redo", "last")[2]
    assert asked("redo", "last")[0] == exits.USAGE
    for _ in range(2):
        assert asked("undo", "last")[0] == exits.OK
    assert asked("undo", "last")[0] == exits.USAGE


def test_a_fork_is_a_conversation_of_its_own(asked: Out) -> None:
    """Its id is printed; it ends where it was told, results of tools included."""
    code, made, _ = asked("fork", "last", "--at", "2")
    assert code == exits.OK
    shown = asked("show", made.strip())[1]
    assert "── 2 Model" in shown
    assert "→ 6" in shown
    assert "── 3" not in shown
    assert len(json.loads(asked("list", "--json")[1])) == 2


@pytest.mark.parametrize(
    "arguments,code,told",
    [
        (["edit", "last", "2", "x"], exits.USAGE, "only user messages can be edited"),
        (["edit", "last", "99", "x"], exits.FAILED, "there is no message 99"),
        (["edit", "last", "1"], exits.USAGE, "there is no question"),
        (["edit", "last", "--nope", "x"], exits.USAGE, "--nope"),
        (["pin", "last", "0"], exits.FAILED, "there is no message 0"),
        (["pin", "last", "nowhere"], exits.FAILED, "no message 'nowhere'"),
        (["branches", "last", "--switch", "7"], exits.FAILED, "there is no branch 7"),
        (["redact", "last", "1"], exits.USAGE, "needs --yes"),
        (["title", "last", "x", "--auto"], exits.USAGE, "exclude each other"),
        (["purge", "--older-than", "soon"], exits.USAGE, "is no length of time"),
        (["import", "nowhere.json"], exits.FAILED, "cannot be read"),
        (["import", "."], exits.FAILED, "it is a folder"),
        (["import", "-"], exits.FAILED, "-"),
        (["completion", "tcsh"], exits.USAGE, "tcsh"),
    ],
)
def test_what_makes_no_sense_is_a_line(
    asked: Out, arguments: list[str], code: int, told: str
) -> None:
    """Whatever is wrong, a person reads a line about it, and nothing was done."""
    got, out, err = asked(*arguments)
    assert (got, out) == (code, "")
    assert told in err
    assert "Traceback" not in err
    assert "unexpected" not in err


def test_titles_tags_pins_and_the_archive(asked: Out) -> None:
    """What marks a conversation is shown by the commands that set it, and in the listing."""
    assert asked("title", "last", "Sums")[1] == "Sums\n"
    assert asked("title", "last", "--auto")[1] == "what is 2*3?\n"
    assert asked("tag", "last", "a", "b")[1] == "a\nb\n"
    assert asked("tag", "last", "a", "--remove")[1] == "b\n"
    assert "#b" in asked("list")[1]
    assert (
        asked("pin", "last", "-1", "1")[1] == "6  assistant: 17*23 = 391\n1  user: what is 2*3?\n"
    )
    assert asked("pin", "last", "--remove", "1")[1] == "6  assistant: 17*23 = 391\n"
    assert "6 Model (offline, pinned)" in asked("show", "last")[1]
    [listed] = json.loads(asked("list", "--json")[1])
    assert asked("archive", "last")[0] == exits.OK
    assert json.loads(asked("list", "--json")[1]) == []
    assert listed["id"] in asked("list", "--archived")[1]
    assert asked("archive", listed["id"], "--restore")[0] == exits.OK
    assert listed["id"] in asked("list")[1]


def test_redaction_has_a_receipt(asked: Out) -> None:
    """The message is gone from show and search; what its tools answered is a message of its own."""
    code, out, _ = asked("redact", "last", "4", "--yes")
    assert code == exits.OK
    assert "redacted msg_" in out
    assert "facts rewritten" in out
    assert "redacted" in asked("show", "last")[1]
    _, out, err = asked("redact", "last", "5", "--yes", "--json")
    assert json.loads(out)["facts"]
    assert "5.results" in err
    assert asked("redact", "last", "5.results", "--yes")[0] == exits.OK
    assert asked("redact", "last", "6", "--yes")[0] == exits.OK
    assert asked("search", "391")[0] == exits.FAILED


def test_purge_and_delete(asked: Out) -> None:
    """Old conversations go when one says so; several can be deleted at once."""
    assert "nothing is older" in asked("purge", "--older-than", "1d", "--yes")[2]
    code, out, err = asked("purge", "--older-than", "0d", "--dry-run")
    assert code == exits.OK
    assert "what is 2*3?" in out
    assert "1 conversation would be deleted" in err
    assert asked("purge", "--older-than", "0d")[0] == exits.USAGE
    asked("ask", "1+1")
    ids = [item["id"] for item in json.loads(asked("list", "--json")[1])]
    assert asked("delete", *ids, "--yes")[0] == exits.OK
    assert json.loads(asked("list", "--json")[1]) == []


def test_what_goes_out_comes_in_again(asked: Out, tmp_path: Path) -> None:
    """Each format is told by the file's name; JSON Lines come back the same, branches included."""
    asked("edit", "last", "4", "what is 5*5?")
    for name, begins in (("a.md", "# what is"), ("a.html", "<!doctype"), ("a.jsonl", '{"palaver"')):
        assert asked("export", "last", "-o", name)[0] == exits.OK
        assert (tmp_path / name).read_text().startswith(begins)
    assert json.loads(asked("export", "last", "--format", "openai")[1])
    tree = asked("branches", "last")[1]
    code, out, err = asked("import", "a.jsonl", "nowhere.jsonl")
    assert code == exits.FAILED
    assert "palaver" in out
    assert "nowhere.jsonl" in err
    code, out, _ = asked("import", "a.jsonl", "--json")
    assert code == exits.OK
    [report] = json.loads(out)
    assert report["file"] == "a.jsonl"
    assert asked("branches", report["conversation"])[1] == tree


def test_choosing_without_a_terminal(asked: Out) -> None:
    """A numbered list and a number on standard input; nothing chosen is exit code 1."""
    code, out, err = asked("list", "--pick", stdin="1\n")
    assert code == exits.OK
    assert out.startswith("conv_")
    assert "what is 2*3?" in err
    assert asked("list", "--pick", stdin="")[0] == exits.FAILED
    assert asked("list", "--pick", stdin="9\n")[0] == exits.USAGE
    assert asked("open", "nothing", "like", "this")[0] == exits.FAILED


def test_the_page_on_branches_runs(here: Out) -> None:
    """docs/how-to/branches.md, line by line."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "branches.md").read_text()
    told = ""
    for line in page.splitlines():
        if line.startswith("$ "):
            code, out, err = here(*shlex.split(line)[2:])
            assert code == exits.OK, (line, err)
            told += out
    assert "17*24 = 408" in told
    assert "redacted msg_" in told
