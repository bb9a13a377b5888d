"""Commands about the window, with the offline model: look, preview, compact, undo, expand."""

import json
import os
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
def talked(here: Out) -> Out:
    """The same, where a conversation of some length was had in one chat."""
    lines = "".join(f"tell me about the weather in town number {n}\n" for n in range(12))
    assert here("chat", stdin=lines)[0] == exits.OK
    return here


def test_context_shows_the_gauge_and_what_would_go(talked: Out) -> None:
    """Every category with its tokens, the mark, the next compaction, the topics; or JSON."""
    code, out, _ = talked("context", "last")
    assert code == exits.OK
    for word in ("of 50,000 tokens", "tools", "model", "free", "at 42,500 tokens", "topics"):
        assert word in out, word
    assert "a compaction now:" in out
    _, out, _ = talked("context", "last", "--json")
    report = json.loads(out)
    assert report["compacts_at"] == 42_500
    assert sum(report["window"]["by_category"].values()) == report["window"]["used"]


def test_preview_compact_expand_undo(talked: Out) -> None:
    """A preview changes nothing; compacting says what went; the originals can be read and put
    back; an undo brings the whole window back, once for each compaction."""
    code, out, _ = talked("compact", "last", "--preview")
    assert code == exits.OK
    assert out.startswith("would be ")
    assert "critical facts stand in the window" in out
    assert "made smaller before" not in talked("context", "last")[1]
    assert talked("compact", "last")[0] == exits.OK
    assert "made smaller before" in talked("context", "last")[1]
    assert "[in place of " in talked("show", "last", "--window")[1]
    assert "[in place of " not in talked("show", "last")[1]
    _, out, _ = talked("expand", "last", "m3-m4")
    assert "[m3] You\ntell me about the weather in town number 1" in out
    assert "[m4] Model" in out
    assert talked("expand", "last", "m4", "--into-window")[0] == exits.OK
    assert talked("compact", "last", "--undo")[0] == exits.OK
    assert talked("compact", "last", "--undo")[0] == exits.OK
    code, _, err = talked("compact", "last", "--undo")
    assert code == exits.USAGE
    assert "nothing to undo" in err


def test_slash_commands(here: Out) -> None:
    """The same in a chat; a preview is applied as it was shown."""
    lines = "".join(f"tell me about the weather in town number {n}\n" for n in range(12))
    slashes = (
        "/context\n/compact preview\n/compact\n/expand m2\n/undo-compaction\n/pin 1\n/unpin 1\n"
    )
    code, out, err = here("chat", stdin=lines + slashes)
    assert code == exits.OK, err
    for word in (
        "of 50,000 tokens",
        "would be ",
        "/compact does it",
        "/undo-compaction takes it back",
        "[m2] Model",
        "undone: ",
        "nothing is pinned",
    ):
        assert word in out + err, word


def test_what_cannot_be_done_is_said(talked: Out) -> None:
    """A handle that is not there, a strategy that nobody knows, options that exclude each other."""
    assert "m1 to m24" in talked("expand", "last", "m99")[2]
    code, _, err = talked("compact", "last", "--strategy", "sonnet")
    assert code != exits.OK
    assert "chronological_summary" in err
    assert talked("compact", "last", "--undo", "--preview")[0] == exits.USAGE
