"""The files of deploy/, as far as they can be checked without a systemd, a proxy or a builder of
images: that what they name is there, and that their numbers fit the server's."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from palaver.cli.serve_commands import serve
from palaver.environment import read_environment
from palaver.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def unit() -> configparser.RawConfigParser:
    found = configparser.RawConfigParser(strict=False)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read_string((DEPLOY / "palaver.service").read_text())
    return found


def options() -> set[str]:
    """Those of `palaver serve`."""
    told = CliRunner().invoke(serve, ["--help"]).output
    return set(re.findall(r"--[a-z-]+", told))


def test_the_unit_starts_what_there_is() -> None:
    """Its command and its options exist, and it runs as nobody special."""
    service = unit()["Service"]
    program, command, *rest = service["ExecStart"].split()
    assert (Path(program).name, command) == ("palaver", "serve")
    assert {each for each in rest if each.startswith("--")} <= options()
    assert service["User"] == "palaver"
    assert service["NoNewPrivileges"] == "true"
    assert service["ProtectSystem"] == "strict"


def test_the_unit_waits_for_the_drain() -> None:
    """It is not killed before running turns had their time, and what is left was put down."""
    waits = float(unit()["Service"]["TimeoutStopSec"])
    assert waits >= Settings().server.drain_s + 15


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """It knows every directive, and finds little to object to in how much the service may do."""
    text = (DEPLOY / "palaver.service").read_text().replace("/opt/palaver/bin/palaver", "/bin/true")
    path = tmp_path / "palaver.service"
    path.write_text(text)
    ran = subprocess.run(
        ["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False
    )
    assert "palaver.service" not in ran.stderr, ran.stderr
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout[-300:]


def test_the_settings_are_settings() -> None:
    """The example of a configuration is understood, all of it."""
    found = read_environment({"PALAVER_CONFIG": str(DEPLOY / "palaver.toml"), "PALAVER_HOME": "/x"})
    assert found.settings.server.allowed_hosts == ("palaver.example.org",)
    assert found.settings.server.forwarded_by == ("127.0.0.1",)
    assert found.settings.access.limits.concurrent_turns == 20


def instructions() -> list[tuple[str, str]]:
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    lines = (line.strip() for line in text.splitlines())
    return [tuple(line.split(None, 1)) for line in lines if line and line[0] != "#"]  # type: ignore[misc]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    starts = [n for n, (name, _) in enumerate(found) if name == "FROM"]
    return found[starts[-1] :]


def test_the_image_holds_no_tools_and_no_root() -> None:
    """What runs is not root, and what built it is not in the image."""
    stage = last_stage()
    users = [value for name, value in stage if name == "USER"]
    assert users == ["10001:10001"]
    told = " ".join(value for _, value in stage)
    assert not re.search(r"\b(apt|apt-get|gcc|make|curl|pip|uv)\b", told)
    assert not re.search(r"\bADD\b|--privileged|https?://(?!127\.0\.0\.1)", told)


def test_the_image_is_made_of_what_is_here() -> None:
    """Files that are copied exist; packages are installed by their hashes."""
    for name, value in instructions():
        if name == "COPY" and "--from" not in value:
            for source in value.split()[:-1]:
                assert (ROOT / source).exists(), source
    assert "--require-hashes" in " ".join(value for _, value in instructions())


def test_the_image_says_how_it_is() -> None:
    """Its probe asks a route that there is, at the port that it listens on."""
    stage = dict(last_stage())
    (port,) = re.findall(r"127\.0\.0\.1:(\d+)/api/health/ready", stage["HEALTHCHECK"])
    assert port == stage["EXPOSE"]
    assert port in stage["CMD"]
    assert set(re.findall(r"--[a-z-]+", stage["CMD"])) <= options()
    assert stage["STOPSIGNAL"] == "SIGTERM"


def test_proxies_do_not_hold_streams_back() -> None:
    """Both examples pass events on as they come, keep sockets, and outlive a turn's silence."""
    nginx = (DEPLOY / "nginx.conf").read_text()
    assert "proxy_buffering off;" in nginx
    assert "proxy_set_header Host $host;" in nginx
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in nginx
    (read_s,) = re.findall(r"proxy_read_timeout (\d+)s;", nginx)
    assert float(read_s) > Settings().clocks.turn_s
    assert nginx.count("{") == nginx.count("}")
    caddy = (DEPLOY / "Caddyfile").read_text()
    assert "flush_interval -1" in caddy
    assert caddy.count("{") == caddy.count("}")
    for text in (nginx, caddy):
        assert f"127.0.0.1:{Settings().server.port}" in text
        assert "/metrics" in text
