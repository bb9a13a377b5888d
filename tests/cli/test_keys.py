"""`palaver keys`: made, listed and revoked in the database that a server uses."""

import asyncio
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from palaver.cli import exits
from palaver.cli.main import run
from palaver.domain.errors import NotAuthenticated
from palaver.service.access import Authenticator
from palaver.store.sqlite import SqliteStore
from palaver.system import SystemClock

Palaver = Callable[..., tuple[int, str, str]]


@pytest.fixture
def palaver(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Palaver:
    """Runs a command with a data folder of its own: exit code, output, notices."""
    monkeypatch.setenv("PALAVER_HOME", str(tmp_path))

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def test_key_is_shown_once(palaver: Palaver, tmp_path: Path) -> None:
    """What is printed is the key; neither a listing nor the data folder has it again."""
    code, text, told = palaver("keys", "create", "--name", "laptop")
    assert code == exits.OK
    key = text.strip()
    assert key.startswith("pal_")
    assert key not in told
    secret = key.split("_", 2)[2]
    listed = palaver("keys", "list")[1] + palaver("keys", "list", "--json")[1]
    assert "laptop" in listed
    assert secret not in listed
    assert sha256(key.encode()).hexdigest() not in listed
    for file in filter(Path.is_file, tmp_path.rglob("*")):
        assert secret.encode() not in file.read_bytes(), file


def test_first_key_closes_the_server(palaver: Palaver) -> None:
    """Who makes the first key is told that everybody needs one from now on; it is said once."""
    assert "every caller" in palaver("keys", "create", "--name", "laptop")[2]
    assert "every caller" not in palaver("keys", "create", "--name", "phone")[2]


def test_plain_prints_the_key_alone(palaver: Palaver) -> None:
    """For `KEY=$(palaver keys create … --plain)`: one line, and not a word beside it."""
    code, text, told = palaver("keys", "create", "--name", "ci", "--plain")
    assert (code, text.count("\n"), told) == (exits.OK, 1, "")


def test_options_become_the_key(palaver: Palaver) -> None:
    """Tenant, scopes, end and limits are what was asked for."""
    _, made, _ = palaver(
        *("keys", "create", "--name", "ci", "--tenant", "acme", "--scope", "approve"),
        *("--scope", "read", "--expires", "30d", "--requests-per-minute", "60"),
        *("--tokens-per-minute", "90000", "--concurrent-turns", "3", "--usd-per-day", "2.5"),
        "--json",
    )
    (key,) = json.loads(palaver("keys", "list", "--json")[1])
    assert {**json.loads(made), **key} == json.loads(made)
    assert (key["name"], key["tenant"], key["scopes"]) == ("ci", "acme", ["read", "approve"])
    assert key["expires_at"] - key["created_at"] == pytest.approx(30 * 86_400, abs=60)
    limits = {"requests_per_minute": 60, "tokens_per_minute": 90_000, "concurrent_turns": 3}
    assert key["limits"] == {**limits, "usd_per_day": 2.5}
    assert json.loads(palaver("keys", "list", "--tenant", "other", "--json")[1]) == []


def test_keys_while_a_server_runs(palaver: Palaver, tmp_path: Path) -> None:
    """A key that is made beside an open database opens it; revoked, it opens nothing, and both are
    in the audit log."""
    with asyncio.Runner() as runner:
        store = runner.run(SqliteStore.open(tmp_path / "palaver.db"))
        server = Authenticator(store.access, clock=SystemClock())
        assert not runner.run(server.is_needed())
        key = palaver("keys", "create", "--name", "a", "--plain")[1].strip()
        assert runner.run(server.is_needed())
        principal = runner.run(server.authenticate(key))
        assert (principal.tenant, principal.scopes) == ("local", ("read", "write", "approve"))
        code, _, told = palaver("keys", "revoke", principal.key_id)
        assert (code, "opens nothing" in told) == (exits.OK, True)
        with pytest.raises(NotAuthenticated):
            runner.run(Authenticator(store.access, clock=SystemClock()).authenticate(key))
        entries = runner.run(store.access.audit_entries("local"))
        assert [e.action for e in entries] == ["key.created", "key.revoked"]
        assert {e.target for e in entries} == {principal.key_id}
        assert runner.run(server.is_needed())
        runner.run(store.close())


@pytest.mark.parametrize(
    "arguments",
    [
        ("create",),
        ("create", "--name", "x", "--scope", "everything"),
        ("create", "--name", "x", "--expires", "soon"),
        ("create", "--name", "x", "--expires", "0d"),
        ("create", "--name", "x", "--requests-per-minute", "0"),
        ("create", "--name", "x", "--usd-per-day", "0"),
        ("create", "--name", ""),
        ("create", "--name", "x", "--tenant", ""),
        ("create", "--name", "x", "--db", ":memory:"),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense(palaver: Palaver, arguments: tuple[str, ...]) -> None:
    """Wrong options are usage errors, and no key is made."""
    assert palaver("keys", *arguments)[0] == exits.USAGE
    assert json.loads(palaver("keys", "list", "--json")[1]) == []


def test_unknown_keys(palaver: Palaver) -> None:
    """Revoking what is not there fails, whatever it is called."""
    for name in ("0000000000", "' OR 1=1 --", "%"):
        code, _, told = palaver("keys", "revoke", name)
        assert (code, "there is no key" in told) == (exits.FAILED, True)
    assert palaver("keys", "list", "--db", "nowhere.db")[0] == exits.FAILED
