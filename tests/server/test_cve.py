"""What went wrong elsewhere, each by its name, does not go wrong here."""

import base64
import hashlib
import hmac
import json
import re
import time
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from msgspec.structs import replace
from yarl import URL

import palaver
from palaver.settings import AccessSettings, JwtSettings, Settings
from palaver.testing import ScriptedModel
from tests.server.conftest import Served, Serving
from tests.server.routes import app_of, ways

MARK = "what-the-first-tenant-said"
Headers = dict[str, str]


def talking() -> ScriptedModel:
    """A model that answers anything."""
    model = ScriptedModel()
    model.when("", "an answer")
    return model


async def said(served: Served, who: Headers) -> tuple[str, str]:
    """A conversation in which something was said, and a response of `/v1`."""
    made = await served.http.post("/api/conversations", json={}, headers=who)
    id = (await made.json())["id"]
    place = f"/api/conversations/{id}/turns?wait=30"
    assert (await served.http.post(place, json={"text": MARK}, headers=who)).status == 200
    asked = {"model": "default", "input": MARK}
    response = await served.http.post("/v1/responses", json=asked, headers=who)
    return id, (await response.json())["id"]


async def exported(served: Served, id: str, who: Headers) -> str:
    """All that is stored of a conversation."""
    response = await served.http.get(f"/api/conversations/{id}/export?format=jsonl", headers=who)
    assert response.status == 200
    return await response.text()


async def test_cve_2026_45349_chat_goes_on_by_anothers_id(serving: Serving) -> None:
    """Open WebUI: whoever knew a chat's id could go on with it over the compatible API."""
    model = talking()
    served = await serving(model)
    first, second = await served.key(tenant="first"), await served.key(tenant="second")
    id, response = await said(served, first)
    before, asked = await exported(served, id, first), len(model.requests)
    messages = [{"role": "user", "content": "Go on."}]
    chat: dict[str, Any] = {"model": "default", "messages": messages}
    answer: dict[str, Any] = {"model": "default", "input": "Go on."}
    tries: list[tuple[str, dict[str, Any], Headers]] = [
        ("chat/completions", chat, {"x-palaver-conversation": id}),
        ("chat/completions", {**chat, "metadata": {"conversation_id": id}}, {}),
        ("responses", {**answer, "conversation": id}, {}),
        ("responses", {**answer, "conversation": {"id": id}}, {}),
        ("responses", {**answer, "previous_response_id": response}, {}),
    ]
    for path, body, more in tries:
        sent = {**second, **more}
        async with served.http.post(f"/v1/{path}", json=body, headers=sent) as refused:
            assert refused.status == 404, (path, await refused.text())
            assert MARK not in await refused.text()
    assert await exported(served, id, first) == before
    assert len(model.requests) == asked


async def test_cve_2026_45339_key_restricted_by_one_header_only(serving: Serving) -> None:
    """Open WebUI: a key's restrictions held for `Bearer` and not for `x-api-key`."""
    served = await serving()
    text = (await served.key("read"))["authorization"][7:]
    for sent in ({"authorization": f"Bearer {text}"}, {"x-api-key": text}, {"api-key": text}):
        response = await served.http.post("/api/conversations", json={}, headers=sent)
        assert response.status == 403, sent
    both = {"authorization": f"Bearer {text}", "x-api-key": "pal_other"}
    assert (await served.http.get("/api/conversations", headers=both)).status == 401


async def test_cve_2026_45671_files_of_others_deleted(serving: Serving) -> None:
    """Open WebUI: one user could delete another one's files. Here the same bytes are one's own file
    in each tenant, and what happens to the one is nothing to the other."""
    served = await serving()
    text = {"content-type": "text/plain"}
    whos = [await served.key(tenant=tenant) for tenant in ("first", "second")]
    ids = set()
    for who in whos:
        made = await served.http.post("/api/files", data=b"same", headers={**text, **who})
        ids.add((await made.json())["id"])
    (id,) = ids
    async with served.server.tenants.use("second") as manager:
        assert await manager.collect_blobs(older_than_s=-1.0) == 1
    statuses = [(await served.http.get(f"/api/files/{id}", headers=who)).status for who in whos]
    assert statuses == [200, 404]


@pytest.mark.parametrize(
    "token",
    [
        "' OR '1'='1",
        "pal_' OR 1=1 --_" + "A" * 43,
        "pal_0123456789_'; DROP TABLE api_keys; --",
        'pal_"; SELECT * FROM keys',
        "pal_%25_" + "%" * 43,
        "pal_0000000000_" + "é" * 43,
    ],
)
async def test_cve_2026_42208_sql_in_the_look_up_of_keys(
    serving: Serving, tmp_path: Path, token: str
) -> None:
    """LiteLLM: a key's text became a part of a query, on the path of errors before anybody was
    known. Here it opens nothing, and the keys are still there."""
    served = await serving(path=tmp_path / "p.db")
    good = await served.key()
    for sent in ({"authorization": f"Bearer {token}"}, {"x-api-key": token}):
        response = await served.http.get("/api/conversations", headers=sent)
        assert response.status in {400, 401}
    place = f"/api/keys/{token.replace('/', '')}"
    assert (await served.http.delete(place, headers=good)).status == 404
    assert (await served.http.get("/api/conversations", headers=good)).status == 200


@pytest.mark.parametrize("name", ["tag", "q", "cursor", "since", "key", "by", "format", "branch"])
async def test_cve_2025_67644_sql_in_filters(serving: Serving, tmp_path: Path, name: str) -> None:
    """LangGraph (also CVE-2025-8709): what a filter named or held became a part of a query."""
    served = await serving(talking(), path=tmp_path / "p.db")
    first, second = await served.key(tenant="first"), await served.key(tenant="second")
    await said(served, first)
    for text in ("' OR 1=1 --", "x') UNION SELECT 1,2,3 --", '"* OR MARK', "a:b NEAR(x", "%00"):
        for path in ("conversations", "search", "usage", "outbox"):
            query = {name: text, f"{name}' OR 1=1 --": "1", "q": text}
            response = await served.http.get(f"/api/{path}", params=query, headers=second)
            assert response.status < 500
            assert MARK not in await response.text()


async def test_cve_2025_68664_constructors_in_data(serving: Serving) -> None:
    """LangChain: data with an `lc` key came back from storage as an object. Here it is text."""
    served = await serving(talking())
    who = await served.key()
    bomb = {"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {"command": "id"}}
    made = await served.http.post(
        "/api/conversations", json={"title": json.dumps(bomb)}, headers=who
    )
    id = (await made.json())["id"]
    place = f"/api/conversations/{id}/turns?wait=30"
    told = await served.http.post(place, json={"text": json.dumps(bomb)}, headers=who)
    assert told.status == 200
    text = await exported(served, id, who)
    back = await served.http.post("/api/import", data=text.encode(), headers=who)
    assert back.status < 300, await back.text()
    for file in ({"messages": [bomb]}, bomb, [bomb]):
        refused = await served.http.post("/api/import", data=json.dumps(file), headers=who)
        assert refused.status < 500


def test_cve_2026_27794_nothing_unpickles() -> None:
    """LangGraph (also CVE-2025-64439, CVE-2026-28277, diskcache's CVE-2025-69872): what is stored
    or sent never says what code is to run. No module unpickles, evaluates or executes."""
    forbidden = re.compile(r"\b(pickle|marshal|shelve|dill|jsonpickle)\b|(?<![.\w])(eval|exec)\(")
    package = Path(palaver.__file__).parent
    found = [
        f"{path.relative_to(package)}: {line.strip()}"
        for path in package.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if forbidden.search(line)
        and re.match(r"\s*(import|from)\b|.*(?<![.\w])(eval|exec)\(", line)
    ]
    assert found == []


async def test_cve_2025_62727_ranges(serving: Serving) -> None:
    """Starlette: a Range header with many parts took quadratic time. Here a file has no ranges."""
    served = await serving(header_bytes=200_000)
    who = {**await served.key(), "content-type": "text/plain"}
    made = await served.http.post("/api/files", data=b"x" * 10_000, headers=who)
    id = (await made.json())["id"]
    many = "bytes=" + ",".join(f"{n}-{n}" for n in range(10_000))
    async with served.http.get(f"/api/files/{id}", headers={**who, "range": many}) as response:
        assert response.status == 200
        assert len(await response.read()) == 10_000


async def test_cve_2025_54121_no_forms(serving: Serving) -> None:
    """Starlette (also CVE-2026-54283): the parser of forms blocked, and forgot its limits. Nothing
    here parses forms."""
    served = await serving()
    who = {**await served.key(), "content-type": "multipart/form-data; boundary=b"}
    form = b"--b\r\nContent-Disposition: form-data; name=text\r\n\r\nx\r\n--b--\r\n"
    for way in ways(served.server):
        if way.method in {"POST", "PUT", "PATCH"}:
            path = way.at(dict.fromkeys(way.names, "x"))
            async with served.http.request(way.method, path, data=form, headers=who) as response:
                assert 400 <= response.status < 500 or way.body is None, way
    document = app_of(served.server).openapi()
    assert "multipart/form-data" not in json.dumps(document)
    assert "x-www-form-urlencoded" not in json.dumps(document)


async def test_cve_2026_48710_host_becomes_the_path(serving: Serving) -> None:
    """Starlette: with a Host header that held a path, checks saw another path than routes."""
    served = await serving()
    await served.key()
    for host in ("127.0.0.1/api/health/live?", "127.0.0.1/api/version#", "127.0.0.1\\api"):
        response = await served.http.get("/api/conversations", headers={"host": host})
        assert response.status in {400, 421}


async def test_cve_2026_25253_address_in_the_query(serving: Serving) -> None:
    """OpenClaw: the page took the gateway's address from the query and sent it the key. No route
    takes an address from a query, no caller chooses where a provider is, and a page of somebody
    else's opens no socket, whatever listens on this machine."""
    model = talking()
    served = await serving(model)
    addresses = re.compile(r"url|uri|host|address|gateway|origin|endpoint|callback", re.I)
    assert [
        (str(way), name)
        for way in ways(served.server)
        for name in way.query
        if addresses.search(name)
    ] == []
    id = await served.conversation()
    for body in ({"base_url": "http://x"}, {"preferences": {"base_url": "http://x"}}):
        place = f"/api/conversations/{id}"
        assert (await served.http.patch(place, json=body)).status == 422
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"host": "evil.example"},
    ):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await served.http.ws_connect("/api/ws?gatewayUrl=ws://evil.example", headers=headers)
        assert refused.value.status == 403


KEY = rsa.generate_private_key(65537, 2048)
PRIVATE = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def encoded(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def test_jwt_confusion(serving: Serving, tmp_path: Path) -> None:
    """The public key is no secret to sign with, `none` is no signature, and a token brings no key
    of its own."""
    pem = tmp_path / "key.pem"
    pem.write_bytes(PUBLIC)
    trusted = JwtSettings(issuer="https://id.example.org", audience="palaver", public_key=str(pem))
    settings = replace(Settings(), access=AccessSettings(jwt=trusted))
    served = await serving(settings=settings)
    claims = {
        "iss": trusted.issuer,
        "aud": "palaver",
        "sub": "ada",
        "scope": "read write admin",
        "exp": int(time.time()) + 600,
    }
    body = encoded(claims)

    def forged(header: dict[str, Any], sign: Any) -> str:
        start = f"{encoded({'typ': 'JWT', **header})}.{body}"
        return f"{start}.{sign(start.encode())}"

    other = rsa.generate_private_key(65537, 2048)
    own = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(other.public_key()))
    by_other = jwt.encode(claims, other, algorithm="RS256", headers={"jwk": own, "jku": "http://x"})
    mac = lambda text: encoded(hmac.new(PUBLIC, text, hashlib.sha256).digest())  # noqa: E731
    good = jwt.encode(claims, PRIVATE, algorithm="RS256")
    forgeries = [
        by_other,
        forged({"alg": "HS256"}, mac),
        forged({"alg": "none"}, lambda _: ""),
        forged({"alg": "nOnE"}, lambda _: ""),
        f"{good.rpartition('.')[0]}.",
        jwt.encode({**claims, "aud": "other"}, PRIVATE, algorithm="RS256"),
        jwt.encode({**claims, "iss": "https://evil"}, PRIVATE, algorithm="RS256"),
        jwt.encode({**claims, "exp": 1}, PRIVATE, algorithm="RS256"),
    ]
    for token, status in [(good, 200), *((each, 401) for each in forgeries)]:
        sent = {"authorization": f"Bearer {token}"}
        assert (await served.http.get("/api/conversations", headers=sent)).status == status, token


async def test_paths_lead_nowhere_else(serving: Serving) -> None:
    """No id is a path, however it is written."""
    served = await serving()
    for id in (
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "..\\..\\x",
        "%00",
        "a" * 5_000,
    ):
        for base in ("files", "conversations", "turns", "keys"):
            url = f"{served.address}/api/{base}/{id}"
            async with served.http.get(URL(url, encoded=True)) as response:
                assert response.status in {400, 404, 405}, url


async def test_downloads_are_data(serving: Serving) -> None:
    """A page that was uploaded is not shown as one, and its name adds no header."""
    served = await serving()
    who = {**await served.key(), "content-type": "text/html"}
    made = await served.http.post("/api/files", data=b"<script>x</script>", headers=who)
    id = (await made.json())["id"]
    name = 'x"\r\nset-cookie: a=b\r\n\r\n<script>'
    async with served.http.get(f"/api/files/{id}", params={"name": name}, headers=who) as response:
        assert response.status in {200, 422}
        assert "set-cookie" not in response.headers
        if response.status == 200:
            assert response.headers["content-disposition"].startswith("attachment")
            assert response.headers["x-content-type-options"] == "nosniff"


async def test_deep_bodies(serving: Serving) -> None:
    """JSON that is deeper than any message is refused by every route that takes some."""
    served = await serving()
    who = {**await served.key(), "content-type": "application/json"}
    deep = b'{"a":' * 5_000 + b"1" + b"}" * 5_000
    for way in ways(served.server):
        if way.method in {"POST", "PUT", "PATCH"}:
            path = way.at(dict.fromkeys(way.names, "x"))
            async with served.http.request(way.method, path, data=deep, headers=who) as response:
                assert response.status in {400, 404, 422} or not isinstance(way.body, dict), way
