"""Secrets that were put everywhere come out nowhere: not in the log at its most talkative, not in
an error, a figure, the audit log, the description of the API or the database."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from msgspec.structs import replace

from palaver import log
from palaver.environment import Environment
from palaver.server.run import listening, open_server
from palaver.service.access import new_key
from palaver.settings import ServerSettings, Settings

PROVIDER_KEY = "canary-provider-key-3f9a1c77e2b84d05"
METRICS_TOKEN = "canary-metrics-token-77aa90cc12ee34"
WRONG = "pal_0123456789_canary0wrong0key0" + "x" * 27
BASIC = "Y2FuYXJ5OnNlY3JldC1iYXNpYw=="
COOKIE = "canary-cookie-88ff00aa1122"
FOREIGN = "sk-canary-foreign-5b1d9e0042"
HEADER_PROMPT = "canary-header-prompt-1a2b3c"
SECRETS = [PROVIDER_KEY, METRICS_TOKEN, WRONG, BASIC, COOKIE, FOREIGN, HEADER_PROMPT]


class Watched:
    """Everything that came out."""

    def __init__(self, http: aiohttp.ClientSession, keys: list[str]) -> None:
        self.http, self.keys = http, keys
        self.told: list[str] = []
        """Status, headers and body of each answer."""

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, str]:
        async with self.http.request(method, path, **more) as response:
            text = await response.text()
            self.told.append(f"{response.status} {dict(response.headers)} {text}")
            return response.status, text


@pytest.fixture
def quiet_log() -> Any:
    yield
    log.configure()


@asynccontextmanager
async def telltale(status: int, asked: list[str]) -> AsyncIterator[str]:
    """A provider that sends the key back, wherever there is room; yields its address."""

    async def answer(request: web.Request) -> web.Response:
        key = request.headers["x-api-key"]
        asked.append(key)
        error = {"type": "authentication_error", "message": f"the key {key} (key={key}) is bad"}
        told = {"type": "error", "error": error, "request_id": f"req-{key}"}
        return web.json_response(told, status=status, headers={"request-id": "req_1"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    server = TestServer(app)
    await server.start_server()
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()


@asynccontextmanager
async def watched(tmp_path: Path, provider: str) -> AsyncIterator[Watched]:
    """A server with a real provider's adapter, a talkative log, and secrets everywhere."""
    server = ServerSettings(port=0, drain_s=0.0, metrics_token=METRICS_TOKEN)
    once = replace(Settings().retry, network_attempts=1, rate_limit_attempts=1)
    environment = Environment(
        home=tmp_path,
        model="anthropic:claude-test",
        log=str(tmp_path / "log"),
        log_level="debug",
        keys={"anthropic": PROVIDER_KEY},
        addresses={"anthropic": provider},
        settings=replace(Settings(), server=server, retry=once),
    )
    keys = []
    async with open_server(str(tmp_path / "p.db"), environment=environment) as opened:
        for scopes in (("read", "write", "approve", "admin"), ("read",)):
            made = new_key("canary", scopes=scopes)
            await opened.access.add_key(made.key, made.digest)
            keys.append(made.text)
        async with listening(opened) as address, aiohttp.ClientSession(address) as http:
            yield Watched(http, keys)


def attempts(text: str) -> list[dict[str, str]]:
    """Ways to send a key, good and bad ones."""
    return [
        {"authorization": f"Bearer {text}"},
        {"x-api-key": text},
        {"api-key": text},
        {"authorization": f"Basic {BASIC}"},
        {"authorization": f"Bearer {WRONG}"},
        {"authorization": f"Bearer {text}", "x-api-key": WRONG},
        {"x-api-key": FOREIGN},
        {"cookie": f"session={COOKIE}", "authorization": f"Bearer {text}"},
        {"x-prompt": HEADER_PROMPT, "authorization": f"Bearer {text}"},
    ]


async def ways_to_say(seen: Watched, text: str) -> None:
    """Send everything everywhere, well and badly."""
    good = {"authorization": f"Bearer {text}"}
    _, made = await seen.ask("POST", "/api/conversations", json={}, headers=good)
    id = json.loads(made)["id"]
    for sent in attempts(text):
        place = f"/api/conversations/{id}/turns?wait=30"
        await seen.ask("POST", place, json={"text": "Hi"}, headers=sent)
        await seen.ask("GET", "/metrics", headers=sent)
        await seen.ask("GET", f"/api/conversations?token={text}&key={WRONG}", headers=sent)
        await seen.ask("POST", "/api/conversations", data=b"{", headers=sent)
        chat = {"model": "default", "messages": [{"role": "user", "content": "Hi"}]}
        await seen.ask("POST", "/v1/chat/completions", json=chat, headers=sent)
        await seen.ask("GET", "/api/version", headers={**sent, "host": WRONG.lower()})
        await seen.ask("GET", "/api/version", headers={**sent, "x-long": text + "x" * 20_000})
    for sent in attempts(text):
        try:
            async with seen.http.ws_connect(f"/api/ws?ticket={text}", headers=sent) as socket:
                await socket.send_json({"id": "1", "type": "authenticate", "token": text})
                seen.told.append(str(await socket.receive(timeout=60)))
        except aiohttp.WSServerHandshakeError as error:
            seen.told.append(str(error))
    await seen.ask("GET", "/api/audit?limit=1000", headers=good)
    await seen.ask("GET", "/api/keys", headers=good)
    await seen.ask("GET", f"/api/conversations/{id}/export?format=jsonl", headers=good)
    await seen.ask("GET", "/api/openapi.json")
    await seen.ask("GET", "/metrics", headers={"authorization": f"Bearer {METRICS_TOKEN}"})


@pytest.mark.usefixtures("quiet_log")
@pytest.mark.parametrize("status", [401, 500])
async def test_secrets_come_out_nowhere(tmp_path: Path, status: int) -> None:
    """Also not where the provider sends its key back in its error; what comes from a provider as
    the id of a request is told as it is."""
    asked: list[str] = []
    async with telltale(status, asked) as provider, watched(tmp_path, provider) as seen:
        await ways_to_say(seen, seen.keys[0])
    log.configure()
    assert PROVIDER_KEY in asked
    parts = [part for key in seen.keys for part in (key, key.split("_", 2)[2])]
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert files["log"].count(b"\n") > 0
    for secret in SECRETS + parts:
        assert [text for text in seen.told if secret in text] == [], secret
        for name, content in files.items():
            assert secret.encode() not in content, f"{secret} is in {name}"
