"""Where a key is looked for, where it is not, and the server that listens to nobody it does not
know."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from palaver.domain.errors import ConfigurationError, NotAuthenticated
from palaver.server.auth import token_in
from tests.server.conftest import Serving


def headers(*pairs: tuple[str, str]) -> Headers:
    return Headers(raw=[(name.encode(), value.encode()) for name, value in pairs])


@pytest.mark.parametrize(
    "sent",
    [
        [("authorization", "Bearer k")],
        [("authorization", "bearer   k ")],
        [("x-api-key", "k")],
        [("api-key", " k")],
        [("authorization", "Bearer k"), ("x-api-key", "k")],
        [("authorization", "Basic dTpw"), ("x-api-key", "k")],
        [("x-api-key", "k"), ("x-api-key", "k"), ("api-key", "")],
    ],
    ids=str,
)
def test_one_key(sent: list[tuple[str, str]]) -> None:
    """By whichever header, and by several that say the same."""
    assert token_in(headers(*sent)) == "k"


@pytest.mark.parametrize(
    "sent",
    [
        [],
        [("authorization", "k")],
        [("authorization", "Bearer")],
        [("authorization", "Basic k")],
        [("cookie", "key=k; authorization=Bearer k")],
        [("authorization", "Bearer k"), ("authorization", "Bearer l")],
        [("authorization", "Bearer k"), ("x-api-key", "l")],
        [("x-api-key", "k"), ("api-key", "l")],
        [("x-api-key", "k"), ("x-api-key", "l")],
        [("proxy-authorization", "Bearer k")],
    ],
    ids=str,
)
def test_no_key_or_several(sent: list[tuple[str, str]]) -> None:
    """Where two differ none counts: a proxy that checked one would let the other pass."""
    with pytest.raises(NotAuthenticated):
        token_in(headers(*sent))


@pytest.mark.parametrize("name", ["key", "api_key", "token", "access_token", "x-api-key", "ticket"])
async def test_keys_in_addresses_open_nothing(serving: Serving, name: str) -> None:
    """Addresses are written down by everybody on the way."""
    served = await serving()
    text = (await served.key())["authorization"][7:]
    for query in (f"?{name}={text}", f"?{name}=Bearer%20{text}"):
        assert (await served.http.get(f"/api/conversations{query}")).status == 401
    cookies = {name: text, "authorization": f"Bearer {text}"}
    assert (await served.http.get("/api/conversations", cookies=cookies)).status == 401


async def test_a_401_says_how(serving: Serving) -> None:
    """It names the scheme, and tells nothing of the key that was sent."""
    served = await serving()
    await served.key()
    sent = {"authorization": "Bearer pal_0123456789_wrong-key-of-mine"}
    async with served.http.get("/api/conversations", headers=sent) as response:
        assert response.headers["www-authenticate"] == "Bearer"
        text = await response.text()
        assert "wrong-key-of-mine" not in text


async def test_revoked_keys_keep_the_door_shut(serving: Serving) -> None:
    """When the last key is revoked nobody comes in, instead of everybody."""
    served = await serving()
    sent = await served.key()
    id = sent["authorization"].split("_")[1]
    assert (await served.http.get("/api/conversations", headers=sent)).status == 200
    await served.server.authenticator.keys.revoke(id)
    for who in (sent, {}):
        assert (await served.http.get("/api/conversations", headers=who)).status == 401


def palaver(*arguments: str, home: Path) -> list[str]:
    return [sys.executable, "-m", "palaver.cli.main", *arguments, "--db", str(home / "p.db")]


def variables(home: Path) -> dict[str, str]:
    return {**os.environ, "PALAVER_HOME": str(home), "PALAVER_MODEL": "offline"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "", "0", "example.org"])
async def test_open_to_the_world(serving: Serving, host: str) -> None:
    """Without keys nobody is served anywhere but on this machine."""
    with pytest.raises(ConfigurationError, match="open to everybody"):
        await serving(host=host)


def test_open_to_the_world_says_what_to_do(tmp_path: Path) -> None:
    """The process does not start, and names the command that makes a key."""
    ran = subprocess.run(
        palaver("serve", "--host", "0.0.0.0", "--port", "0", home=tmp_path),
        env=variables(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode != 0
    assert "open to everybody" in ran.stderr
    assert "palaver keys create" in ran.stderr


def test_with_a_key_it_listens(tmp_path: Path) -> None:
    """With a key it listens anywhere, says where, and ends well when it is asked to."""
    made = subprocess.run(
        palaver("keys", "create", "--name", "mine", "--plain", home=tmp_path),
        env=variables(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout.startswith("pal_")
    process = subprocess.Popen(
        palaver("serve", "--host", "0.0.0.0", "--port", "0", home=tmp_path),
        env=variables(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        told = process.stdout.readline()
        assert re.search(r"serves offline at http://0\.0\.0\.0:\d+", told), told
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
