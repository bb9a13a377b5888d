import io
import runpy
import sys
from pathlib import Path

import pytest

from palaver.testing import ProviderServer
from tests.docs.blocks import ROOT

EXAMPLES = ROOT / "examples"


def run(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str, said: str = "") -> None:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    monkeypatch.setattr(sys, "stdin", io.StringIO(said))
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


@pytest.fixture(autouse=True)
def machine(reader: ProviderServer) -> None:
    """Examples run in a folder of their own, offline."""


def test_weather(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Both cities are looked up, and the reply says what it used."""
    run("weather.py", monkeypatch)
    printed = capsys.readouterr().out
    assert "Oslo: rain, 11 degrees" in printed
    assert "Rome: sun, 24 degrees" in printed
    assert "tokens, cost 0.0 USD" in printed


def test_approval(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The call waits, the store is closed and opened again, and the allowed letter is sent."""
    run("approval.py", monkeypatch)
    waiting, *rest = capsys.readouterr().out.splitlines()
    assert waiting.startswith("waits for a decision: send_letter")
    assert "The letter to Ada is in the post: Come to tea" in "\n".join(rest)


@pytest.mark.parametrize("model", [(), ("openai:gpt-5-mini",), ("anthropic:claude-sonnet-4-5",)])
def test_structured(
    model: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reply is a value of the asked type, from a scripted model and over both wires."""
    run("structured.py", monkeypatch, *model)
    assert capsys.readouterr().out.strip() == "Weather(city='Oslo', celsius=11.0, rain=True)"


def test_sync_chat(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Each line is answered, with tools, and the database is there afterwards."""
    database = tmp_path / "chat.db"
    run("sync_chat.py", monkeypatch, str(database), said="what is 17*23?\n\nnot read\n")
    assert "391" in capsys.readouterr().out
    assert database.exists()


def test_own_tool_class(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tool runs, and arguments that do not satisfy its schema are refused with a reason."""
    run("own_tool_class.py", monkeypatch)
    printed = capsys.readouterr().out
    assert '{"counted":3,"altogether":3}' in printed
    assert "tool_arguments" in printed


def test_every_example_is_tested() -> None:
    """No example goes without a test of its name."""
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {name.removeprefix("test_") for name in globals() if name[:5] == "test_"} - {
        "every_example_is_tested"
    }


def test_compact_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A loop of one's own stays within its budget, and what it was told first is still there."""
    run("compact_alone.py", monkeypatch)
    printed = capsys.readouterr().out
    assert printed.startswith("202 messages")
    assert "still there: True" in printed
    assert "Volume 48" in printed
