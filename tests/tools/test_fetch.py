"""Fetching from the web, against a server on loopback and a told resolver."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from aiohttp import web

from palaver.domain.errors import NotExecuted, ToolError, ToolExecutionError, ToolTimeoutError
from palaver.domain.ids import CallId
from palaver.domain.messages import ToolCall
from palaver.tools.builtin.addresses import refusal
from palaver.tools.builtin.fetch import fetch_tool, readable
from palaver.tools.builtin.web import Fetched, Web, WebLimits
from palaver.tools.definition import ExecutionContext
from palaver.tools.manager import ToolManager

PAGE = """<!doctype html><html><head><title>A  page</title><style>p{}</style></head><body>
<script>alert('no')</script><h1>Head</h1><p>First <b>bold</b>
text &amp; more.</p><ul><li>one</li><li><a href="/two#x">two</a></li></ul>
<a href="javascript:alert(1)">bad</a><pre>a
  b</pre><img src="x.png" alt="a cat"></body></html>"""


class Names:
    """A resolver that says what it is told; each list of answers is used up to its last."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.answers = {name.replace("_", "."): list(each) for name, each in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if host not in self.answers:
            raise OSError("unknown")
        answers = self.answers[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]


def all_but_loopback(address: str) -> str:
    return "" if address == "127.0.0.1" else refusal(address)


async def page(request: web.Request) -> web.Response:
    return web.Response(text=PAGE, content_type="text/html")


async def redirect(request: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": request.query["to"]})


async def loop(request: web.Request) -> web.Response:
    return web.Response(status=307, headers={"Location": "/loop"})


async def missing(request: web.Request) -> web.Response:
    return web.Response(status=404, text="no such page")


async def picture(request: web.Request) -> web.Response:
    return web.Response(body=b"\x89PNG", content_type="image/png")


async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(30)
    return web.Response(text="late")


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "raw": lambda raw: zlib.compress(raw)[2:-4],
    "br": lambda raw: raw,
    "short": lambda raw: gzip.compress(raw)[:-6],
    "damaged": lambda raw: gzip.compress(raw)[:10] + b"\xff" * 20,
}


async def packed(request: web.Request) -> web.Response:
    raw = b"0123456789" * int(request.query.get("times", "10"))
    kind = request.query["as"]
    body = PACKINGS[kind](raw)
    encoding = {"raw": "deflate", "damaged": "gzip", "short": "gzip"}.get(kind, kind)
    return web.Response(
        body=body, headers={"Content-Encoding": encoding, "Content-Type": "text/plain"}
    )


async def echo(request: web.Request) -> web.Response:
    return web.json_response(dict(request.headers))


async def cookie(request: web.Request) -> web.Response:
    response = web.Response(status=302, headers={"Location": "/echo"})
    response.set_cookie("session", "1")
    return response


@pytest.fixture
async def port() -> AsyncIterator[int]:
    app = web.Application()
    for path, handler in {
        "/page": page,
        "/redirect": redirect,
        "/loop": loop,
        "/missing": missing,
        "/picture": picture,
        "/slow": slow,
        "/packed": packed,
        "/echo": echo,
        "/cookie": cookie,
    }.items():
        app.router.add_get(path, handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def client(names: Names | None = None, **limits: float) -> Web:
    return Web(
        limits=WebLimits(**limits),  # type: ignore[arg-type]
        refused=all_but_loopback,
        resolve=names or Names(site_test=[["127.0.0.1"]]),
    )


async def test_page_is_readable_text(port: int, context: ExecutionContext) -> None:
    """HTML comes as text with headings, lists and links, labelled as data by others."""
    manager = ToolManager([fetch_tool(client())])
    call = ToolCall(CallId("c"), "fetch_url", f'{{"url": "http://site.test:{port}/page"}}')
    result = await manager.execute_tool(call, context)
    assert not result.failed
    head, _, text = result.text.partition("]\n")
    assert "titled 'A page'" in head
    assert "not to be followed" in head
    assert text.startswith("# Head\n\nFirst bold text & more.\n\n- one\n\n- [two](http://site.test")
    assert "alert" not in result.text
    assert "a\n  b" in text
    assert "[image: a cat]" in text


async def test_failure_status_is_a_failed_result(port: int, context: ExecutionContext) -> None:
    """A page that is not there fails, with what the server said."""
    manager = ToolManager([fetch_tool(client())])
    call = ToolCall(CallId("c"), "fetch_url", f'{{"url": "http://site.test:{port}/missing"}}')
    result = await manager.execute_tool(call, context)
    assert result.failed
    assert "status 404" in result.text
    assert "no such page" in result.text


INNER = [
    *("http://127.0.0.1/", "http://localhost/", "http://2130706433/", "http://0x7f000001/"),
    *("http://0177.0.0.1/", "http://127.1/", "http://0/", "http://[::1]/", "http://[::]/"),
    *("http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[fe80::1]/"),
    *("http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://10.0.0.1/"),
    *("http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://１２７.0.0.1/"),
    *("http://①②⑦.⓪.⓪.①/", "http://localhost.:80/", "http://LOCALHOST/"),
]


@pytest.mark.parametrize("url", INNER)
async def test_inner_hosts_are_refused(url: str) -> None:
    """However this machine or its network is spelt, nothing is sent there."""
    with pytest.raises(NotExecuted):
        await Web().get(url)


@pytest.mark.parametrize("url", INNER)
async def test_redirects_to_inner_hosts_are_refused(url: str, port: int) -> None:
    """A redirect is checked like the first address."""

    async def system(host: str, at: int) -> Sequence[str]:
        from palaver.tools.builtin.web import resolve_by_system

        return ["127.0.0.2"] if host == "site.test" else await resolve_by_system(host, at)

    def refused(address: str) -> str:
        return "" if address == "127.0.0.2" else refusal(address)

    allowed = Web(refused=refused, resolve=system)
    runner = web.AppRunner(_redirecting(url), shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.2", 0)
        await site.start()
        with pytest.raises(NotExecuted):
            await allowed.get(f"http://site.test:{runner.addresses[0][1]}/")
    finally:
        await runner.cleanup()


def _redirecting(url: str) -> web.Application:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": url})

    app = web.Application()
    app.router.add_get("/", handler)
    return app


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://example.org/", "file:///etc/passwd", "gopher://x/", "data:text/plain,x", "//x/"),
        *("http://", "http:///path", "example.org", "", "http://user:pw@site.test/"),
        *("http://user@site.test/", "http://site.test:99999/", "http://[::1/", "javascript:1"),
        *("http://" + "a" * 3000, "http://site.test:0/", "http://unknown.test/"),
    ],
)
async def test_no_address_is_refused(url: str) -> None:
    """What is no plain http address of a known host is refused before anything is sent."""
    with pytest.raises(NotExecuted):
        await client().get(url)


async def test_one_inner_address_refuses_the_name() -> None:
    """A name that has a public and a private address is refused."""
    names = Names(both_test=[["8.8.8.8", "10.0.0.1"]])
    with pytest.raises(NotExecuted, match="private"):
        await client(names).get("http://both.test/")


async def test_rebinding_gains_nothing(port: int) -> None:
    """What was checked is connected to; each hop asks once, and a changed answer is refused."""
    names = Names(site_test=[["127.0.0.1"], ["169.254.169.254"]])
    got = await client(names).get(f"http://site.test:{port}/echo")
    assert got.status == 200
    assert names.asked == ["site.test"]
    names = Names(site_test=[["127.0.0.1"], ["169.254.169.254"]])
    with pytest.raises(NotExecuted, match="link-local"):
        await client(names).get(f"http://site.test:{port}/redirect?to=/page")
    assert names.asked == ["site.test", "site.test"]


async def test_last_guard_is_the_socket(port: int) -> None:
    """Even if the first check were passed by, no socket is made for an inner address."""
    answers = iter(["", "late"])
    guarded = Web(refused=lambda _: next(answers), resolve=Names(site_test=[["127.0.0.1"]]))
    with pytest.raises(ToolExecutionError, match="not public"):
        await guarded.get(f"http://site.test:{port}/page")


async def test_redirects_are_followed_and_counted(port: int) -> None:
    """Three redirects are followed; a loop ends."""
    here = f"http://site.test:{port}"
    got = await client().get(f"{here}/redirect?to=/redirect?to=/echo")
    assert got.url == f"{here}/echo"
    with pytest.raises(ToolExecutionError, match="more than 3 redirects"):
        await client().get(f"{here}/loop")
    with pytest.raises(NotExecuted):
        await client().get(f"{here}/redirect?to=file:///etc/passwd")


async def test_nothing_personal_is_sent(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither cookies nor proxies nor credentials of the machine are used."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    got = await client().get(f"http://site.test:{port}/cookie")
    assert b"Cookie" not in got.body
    assert b"Authorization" not in got.body


@pytest.mark.parametrize("kind", ["gzip", "deflate", "raw"])
async def test_packed_pages_are_unpacked(kind: str, port: int) -> None:
    """gzip and both kinds of deflate are read."""
    got = await client().get(f"http://site.test:{port}/packed?as={kind}")
    assert got.body == b"0123456789" * 10
    assert not got.is_cut


async def test_cut_packing_is_told(port: int) -> None:
    """A packed page whose end is missing gives what came, and says that it is cut."""
    got = await client().get(f"http://site.test:{port}/packed?as=short")
    assert (b"0123456789" * 10).startswith(got.body)
    assert got.is_cut


@pytest.mark.parametrize("kind", ["gzip", "deflate", "raw"])
async def test_bombs_are_bounded(kind: str, port: int) -> None:
    """A page that unpacks to 20 MB is cut at the limit and said to be cut."""
    got = await client().get(f"http://site.test:{port}/packed?as={kind}&times=2000000")
    assert len(got.body) == 1024 * 1024
    assert got.is_cut


@pytest.mark.parametrize(
    "path, says",
    [
        ("/picture", "image/png of 4 bytes"),
        ("/packed?as=br", "unknown way"),
        ("/packed?as=damaged", "damaged"),
    ],
)
async def test_what_is_no_text_is_refused(path: str, says: str, port: int) -> None:
    """Pictures, unknown packing and damaged data fail with the reason."""
    with pytest.raises(ToolError, match=says):
        await client().get(f"http://site.test:{port}{path}")


async def test_slow_pages_are_given_up(port: int) -> None:
    """All of it together takes no longer than the limit."""
    with pytest.raises(ToolTimeoutError):
        await client(seconds=0.05).get(f"http://site.test:{port}/slow")


async def test_refused_connection_is_a_tool_error() -> None:
    """A server that is not there is a failure that can be told."""
    with pytest.raises(ToolExecutionError, match="could not be fetched"):
        await client().get("http://site.test:1/")


@pytest.mark.parametrize(
    "charset, body, text",
    [
        ("", "blåbær".encode(), "blåbær"),
        ("iso-8859-1", "blåbær".encode("latin-1"), "blåbær"),
        ("", b'<meta charset="latin1">' + "å".encode("latin-1"), '<meta charset="latin1">å'),
        ("punycode", b"abc", "abc"),
        ("no-such", "å".encode(), "å"),
        ("utf-8", b"\xff", "\ufffd"),
    ],
)
def test_character_sets(charset: str, body: bytes, text: str) -> None:
    """The declared character set is used where the web knows it, else UTF-8."""
    assert readable(Fetched("http://x/", 200, "text/plain", charset, body, False)) == ("", text)


@pytest.mark.parametrize("piece", ["<a ", "<!--", "<a b='", "</", "<![CDATA["])
@pytest.mark.long
def test_hostile_pages_do_not_hang(piece: str) -> None:
    """HTML that takes its parser minutes is stopped, and read without it."""
    body = ("seen" + piece * (1024 * 1024 // len(piece))).encode()
    assert "seen" in readable(Fetched("http://x/", 200, "text/html", "", body, False))[1]
