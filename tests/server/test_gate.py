"""What every request passes before any route."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlsplit

import pytest

from palaver.server.names import Names, Origins
from palaver.settings import ServerSettings
from tests.server.conftest import Served, Serving

PAGE = "https://app.example.org"


async def raw(
    served: Served, text: bytes, *, more: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    """What comes back for these bytes on a connection of their own."""
    port = urlsplit(served.address).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(text)
        if more:
            writer.write(more)
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        body = await reader.read(int(headers.get("content-length", "0")))
        return int(lines[0].split()[1]), headers, body
    finally:
        writer.close()


def request(target: str = "/api/version", *, host: str = "127.0.0.1", **headers: str) -> bytes:
    """A GET as it is on the wire."""
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8642",
        "localhost.evil.example",
        "localhost:1@evil.example",
        "localhost@evil.example",
        "[::1]evil.example",
        "localhost:",
        "localhost:x",
        "127.0.0.1.evil.example",
        "0.0.0.0",
        "192.168.1.1",
        "example.org",
        "a.b.example.org",
        ".example.org",
        "",
        "localhost/api",
        "localhost?x",
    ],
)
def test_other_names_are_not_ours(host: str) -> None:
    """A page on the web may have its name lead here; what comes under such a name is nobody's."""
    names = Names(ServerSettings(host="0.0.0.0", allowed_hosts=("*.example.org",)))
    assert not names.is_ours(host)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:1", "127.0.0.1:8642", "127.9.9.9", "[::1]:80", "Chat.Example.org:443"],
)
def test_own_names_are_ours(host: str) -> None:
    """Loopback names, and the ones that the settings allow, with any port."""
    assert Names(ServerSettings(allowed_hosts=("chat.example.org",))).is_ours(host)


def test_own_address_is_ours() -> None:
    """The address that it listens on is a name of it, and one level below an allowed domain."""
    names = Names(ServerSettings(host="192.168.1.7", allowed_hosts=("*.example.org",)))
    assert names.is_ours("192.168.1.7:8642")
    assert names.is_ours("a.example.org")


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://evil.example",
        "http://127.0.0.1:9999",
        "https://127.0.0.1:8642.evil",
        "",
        "file://",
        "http://127.0.0.1:8642@evil.example",
        "http://[",
        "//127.0.0.1:8642",
    ],
)
def test_foreign_origins(origin: str) -> None:
    """Neither other pages nor other ports of this machine nor sandboxed frames may call."""
    origins = Origins(ServerSettings(allowed_origins=(PAGE, "null")))
    assert not origins.may_all_call([origin], "127.0.0.1:8642")


def test_two_origins() -> None:
    """No browser sends two."""
    assert not Origins(ServerSettings()).may_all_call(["http://a", "http://a"], "a")


@pytest.fixture
async def served(serving: Serving) -> Served:
    return await serving(
        allowed_origins=(PAGE,), body_bytes=10_000, header_bytes=4_000, receive_s=60.0
    )


async def test_wrong_host_is_refused(served: Served) -> None:
    """With a good path and a bad name: 421, whatever the path."""
    for target in ("/api/version", "/api/health/live", "/nowhere"):
        status, headers, body = await raw(served, request(target, host="evil.example"))
        assert status == 421
        assert b"wrong_host" in body
        assert headers["x-request-id"].startswith("req_")


async def test_host_is_no_part_of_the_path(served: Served) -> None:
    """What stands in Host never becomes a part of what is routed (CVE-2026-48710)."""
    for host in ("127.0.0.1/api/version?", "127.0.0.1#", "127.0.0.1/api/health/live"):
        status, _, _ = await raw(served, request("/api/conversations/x", host=host))
        assert status == 421


async def test_absolute_target(served: Served) -> None:
    """The path of an absolute target is routed, its name opens nothing."""
    status, _, _ = await raw(served, request("http://evil.example/api/version"))
    assert status == 200
    status, _, _ = await raw(served, request("http://127.0.0.1/api/version", host="evil.example"))
    assert status == 421
    for target in ("http://evil.example", "*", "evil.example:443", "//evil.example/api/version"):
        status, _, _ = await raw(served, request(target))
        assert status in {400, 404}


async def test_two_hosts_and_none(served: Served) -> None:
    """No two readers of a request may take it for different servers'."""
    two = request().replace(b"\r\n\r\n", b"\r\nHost: evil.example\r\n\r\n")
    assert (await raw(served, two))[0] in {400, 421}
    assert (await raw(served, b"GET /api/version HTTP/1.0\r\n\r\n"))[0] == 421


async def test_preflight(served: Served) -> None:
    """A browser learns that an allowed page may send its headers; no route is asked."""
    asked = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type",
    }
    async with served.http.options("/api/conversations", headers=asked) as response:
        assert response.status == 204
        assert response.headers["access-control-allow-origin"] == PAGE
        assert response.headers["access-control-allow-headers"] == "authorization, content-type"
        assert "POST" in response.headers["access-control-allow-methods"]
        assert "access-control-allow-credentials" not in response.headers
        assert response.headers["vary"] == "Origin"


@pytest.mark.parametrize("origin", ["null", "https://evil.example"])
async def test_foreign_preflight(served: Served, origin: str) -> None:
    """Other pages learn nothing, and nothing of theirs is carried out."""
    asked = {"origin": origin, "access-control-request-method": "POST"}
    for method in ("OPTIONS", "GET", "POST"):
        async with served.http.request(method, "/api/version", headers=asked) as response:
            assert response.status == 403
            assert "access-control-allow-origin" not in response.headers


async def test_allowed_page_reads_the_answer(served: Served) -> None:
    """Also an error, with the headers that a client needs to come back."""
    for path in ("/api/version", "/api/conversations/none"):
        async with served.http.get(path, headers={"origin": PAGE}) as response:
            assert response.headers["access-control-allow-origin"] == PAGE
            assert "retry-after" in response.headers["access-control-expose-headers"]


async def test_own_page(served: Served) -> None:
    """A page that the server gave may call it."""
    own = {"origin": served.address}
    async with served.http.get("/api/version", headers=own) as response:
        assert response.status == 200


def missing(headers: Mapping[str, str]) -> set[str]:
    """Of the headers that every answer has, those that are not there."""
    wanted = {
        "x-request-id",
        "x-content-type-options",
        "x-frame-options",
        "referrer-policy",
        "content-security-policy",
        "cross-origin-resource-policy",
        "cache-control",
    }
    return wanted - {name.lower() for name in headers}


async def test_security_headers(served: Served) -> None:
    """Every answer says that it is data, errors too; nothing tells what runs here."""
    for path in ("/api/version", "/nowhere", "/api/turns/none"):
        async with served.http.get(path) as response:
            assert not missing(response.headers)
            assert "server" not in response.headers


async def test_large_body(served: Served) -> None:
    """413 for what says that it is too large, and for what is without having said so."""
    async with served.http.post("/api/conversations", data=b"x" * 10_001) as response:
        assert response.status == 413
        assert (await response.json())["code"] == "body_too_large"

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 1_000

    async with served.http.post("/api/conversations", data=chunks()) as response:
        assert response.status == 413


async def test_length_that_is_no_number(served: Served) -> None:
    """A length that no integer holds is refused before it is a number."""
    for length in ("9" * 30, "-1", "1e9", "0x10"):
        text = request("/api/conversations", content_length=length).replace(b"GET", b"POST", 1)
        assert (await raw(served, text))[0] in {400, 413}


async def test_two_lengths(served: Served) -> None:
    """A request that a proxy may understand otherwise is none."""
    text = request("/api/conversations", content_length="5", transfer_encoding="chunked")
    assert (await raw(served, text.replace(b"GET", b"POST", 1)))[0] == 400


async def test_compressed_body(served: Served) -> None:
    """What could grow while it is read is not read."""
    headers = {"content-encoding": "gzip"}
    async with served.http.post(
        "/api/conversations", data=b"\x1f\x8b", headers=headers
    ) as response:
        assert response.status == 415


async def test_large_headers(served: Served) -> None:
    """431, and the request goes no further."""
    async with served.http.get("/api/version", headers={"x-a": "a" * 4_000}) as response:
        assert response.status == 431


@pytest.mark.looptime
async def test_slow_body(serving: Serving) -> None:
    """A body that does not come is a 408."""
    served = await serving(receive_s=0.05)
    text = request("/api/conversations", content_length="5").replace(b"GET", b"POST", 1)
    status, _, body = await raw(served, text, more=b"{")
    assert status == 408
    assert b"receive_timeout" in body
