"""What the operator's log promises: silent unless asked, one line each, never a secret."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from palaver import log
from palaver.domain.errors import ConfigurationError

SECRETS = {
    "openai": "sk-proj-abcDEF1234567890abcDEF1234567890",
    "anthropic": "sk-ant-api03-Zm9vYmFyYmF6cXV4-_1234567890",
    "google": "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "github": "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlc2lnbmF0dXJl",
    "own": "hunter2hunter2",
}


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    yield
    log.configure(None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "palaver.log"


def test_silent_until_configured(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a destination nothing is written and nothing fails."""
    log.get("turn").error("turn_lost", error=ValueError("x"))
    assert capsys.readouterr() == ("", "")


def test_structlog_is_imported_late() -> None:
    """Getting a log and configuring one do not import structlog; a dropped line doesn't either."""
    code = (
        "import sys; from palaver import log; log.get('x').error('dropped');"
        "log.configure('stderr', level='error'); log.get('x').info('below');"
        "sys.exit('structlog' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_stderr_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A line names level, part, event and fields; lower levels are left out."""
    log.configure("stderr", level="warning")
    log.get("turn").info("unseen")
    log.get("turn").bind(conversation="c1").warning("turn_lost", count=2)
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    for part in ("level=warning", "logger=turn", "event=turn_lost", "conversation=c1", "count=2"):
        assert part in line


@pytest.mark.parametrize("as_json", [False, True])
def test_canary(file: Path, as_json: bool) -> None:
    """Known secrets never appear, wherever they hide."""
    log.configure(file, json=as_json, secrets=[SECRETS["own"]])
    lines = log.get("canary")
    for secret in SECRETS.values():
        lines.info(f"event with {secret}", value=secret, api_key=secret)
        lines.info("nested", body={"a": [{"x-api-key": secret}, f"key {secret}"], secret: 1})
        lines.info("header", headers={"Authorization": f"Bearer {secret}", "Cookie": secret})
        lines.info("text", text=f"curl -H 'x-api-key: {secret}' -d password={secret}")
        lines.info(
            "url", url=f"https://me:{secret}@host/path?api_key={secret}&access_token={secret}"
        )
        lines.info("json", raw=json.dumps({"token": secret, "client_secret": secret}).encode())
        lines.info("object", error=RuntimeError(f"401 for {secret}"), secret=secret, token=12345)
        lines.bind(password=secret).info("long", text="x" * 1990 + f" {secret} " + "y" * 50_000)
        try:
            raise ValueError(secret)
        except ValueError:
            lines.error("crash", exc_info=True)
    written = file.read_text()
    assert len(written.splitlines()) == 9 * len(SECRETS)
    for name, secret in SECRETS.items():
        assert secret not in written, name
        assert secret[8:] not in written, name


@pytest.mark.parametrize("header", ["Bearer abcdef123456", "basic YWJjZGVmMTIzNDU2"])
def test_authorization_in_text(header: str) -> None:
    """An authorization header is blanked in running text, too."""
    assert header[8:] not in log.Redactor().text(f"it sent authorization: {header} to them")
    assert header[8:] not in log.Redactor().text(f"it sent {header}")


def test_redacting_is_quick() -> None:
    """A megabyte of letters comes to its end; at the cost of its square it would take longer than a
    test may."""
    for text in ("y", "-", "key", "://a:", "eyJ"):
        log.Redactor().text(text * (1_000_000 // len(text)))


def test_ordinary_fields_survive() -> None:
    """Counts of tokens, ids and prose are not mistaken for secrets."""
    redactor = log.Redactor()
    fields = {"input_tokens": 12, "max_tokens": 5, "first_token_s": 0.2, "turn": "turn_01k9x"}
    assert redactor.value(fields) == fields
    prose = "the key to basic research: skip the token limit"
    assert redactor.text(prose) == prose


def test_one_line_and_bounded(file: Path) -> None:
    """Line breaks are written as two characters and long values are cut."""
    log.configure(str(file))
    log.get("x").info("a\nb", text="l1\r\nl2\u2028l3", long="z" * 100_000)
    lines = file.read_text().splitlines()
    assert len(lines) == 1
    assert len(lines[0]) < 3_000


def test_json_lines(file: Path) -> None:
    """With `json` each line is an object that keeps nested fields."""
    log.configure(file, json=True)
    log.get("x").info("happened", fields={"n": [1, 2]}, none=None)
    line = json.loads(file.read_text())
    assert (line["event"], line["level"], line["logger"]) == ("happened", "info", "x")
    assert line["fields"] == {"n": [1, 2]}
    assert line["timestamp"].endswith("Z")


@pytest.mark.skipif(os.name == "nt", reason="no modes there")
def test_file_is_private(file: Path) -> None:
    """Only the owner may read the file, also one that was there before."""
    file.parent.mkdir()
    file.write_text("")
    file.chmod(0o644)
    log.configure(file)
    log.get("x").info("line")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_wrong_settings_are_said(tmp_path: Path) -> None:
    """An unknown level or a folder in place of a file is a ConfigurationError."""
    with pytest.raises(ConfigurationError, match="no log level"):
        log.configure("stderr", level="loud")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        log.configure(tmp_path)


def test_a_file_that_vanishes_disturbs_nobody(file: Path) -> None:
    """When the folder is gone by the first line, the program goes on."""
    log.configure(file)
    file.unlink()
    file.parent.rmdir()
    log.get("x").error("lost")
