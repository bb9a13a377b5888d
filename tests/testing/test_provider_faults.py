"""What goes wrong on purpose, and what the journal tells about it: seen by a raw reader."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from palaver.domain.errors import ConnectionFailed, Overloaded, ProviderError, StreamTruncated
from palaver.testing import Call, Cut, Fail, Line, Pause, ProviderServer, ToldClock
from palaver.testing.provider_server import (
    Answer,
    Broken,
    End,
    Fault,
    Hang,
    Linger,
    Pings,
    Reply,
    Reset,
    Split,
    Stray,
    Type,
)

HEADERS = {
    "x-api-key": "secret",
    "authorization": "Bearer secret",
    "anthropic-version": "2023-06-01",
}
APIS: dict[str, tuple[str, dict[str, Any], bytes]] = {
    "anthropic": (
        "/v1/messages",
        {"model": "claude-haiku-4-5", "max_tokens": 64, "stream": True},
        b'"type":"message_stop"',
    ),
    "chat": ("/v1/chat/completions", {"model": "gpt-4o-mini", "stream": True}, b"[DONE]"),
    "responses": ("/v1/responses", {"model": "gpt-4o-mini", "stream": True}, b"response.completed"),
}
every_api = pytest.mark.parametrize("api", APIS)


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with ProviderServer(piece=4) as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers=HEADERS) as http:
        yield http


class Ask:
    def __init__(self, server: ProviderServer, http: aiohttp.ClientSession, api: str) -> None:
        path, body, self.end = APIS[api]
        messages = [{"role": "user", "content": "hi"}]
        body = body | {"input" if api == "responses" else "messages": messages}
        self.request = http.post(server.url + path, json=body)

    async def read(self) -> bytes:
        async with self.request as response:
            return await response.read()


@every_api
async def test_an_answer_instead(server: ProviderServer, http: Any, api: str) -> None:
    """Any status, body and headers; without a body the provider's own format."""
    server.script(
        [
            Answer(502, "<html>Bad Gateway</html>"),
            Answer(429, headers={"retry-after": "7", "x-should-retry": "true"}),
            Answer(529, {"odd": 1}),
        ]
    )
    async with Ask(server, http, api).request as response:
        assert (response.status, response.content_type) == (502, "text/html")
        assert "Bad Gateway" in await response.text()
    async with Ask(server, http, api).request as response:
        assert (response.status, response.headers["retry-after"]) == (429, "7")
        assert "message" in (await response.json())["error"]
    async with Ask(server, http, api).request as response:
        assert (response.status, await response.json()) == (529, {"odd": 1})
    assert [record.status for record in server.journal] == [502, 429, 529]


@every_api
@pytest.mark.parametrize("turn", [Reset(), ConnectionFailed("x")])
async def test_reset_before_the_answer(
    server: ProviderServer,
    http: Any,
    api: str,
    turn: Fault | ProviderError,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The connection goes before any header; nobody blames the client, nothing is logged."""
    server.script([turn])
    with pytest.raises(aiohttp.ClientError):
        await Ask(server, http, api).read()
    await server.wait_for(1)
    assert server.journal[0].client_gone_at is None
    assert not caplog.records


async def test_refused_while_down(server: ProviderServer, http: Any) -> None:
    """While it is down connections are refused; afterwards the same address works again."""
    async with server.down():
        with pytest.raises(aiohttp.ClientConnectorError):
            await Ask(server, http, "chat").read()
    assert b"[DONE]" in await Ask(server, http, "chat").read()


@every_api
async def test_hang(server: ProviderServer, http: Any, api: str) -> None:
    """Nothing comes, not even headers, until it is let go."""
    go = asyncio.Event()
    server.script([Hang(go)])
    ask = Ask(server, http, api)
    reading = asyncio.create_task(ask.read())
    await server.wait_for(1, over=False)
    assert not reading.done()
    go.set()
    assert ask.end in await reading


@every_api
async def test_truncations(server: ProviderServer, http: Any, api: str) -> None:
    """The body can end cleanly after any frame; the end marker is then missing."""
    ask = Ask(server, http, api)
    whole = await ask.read()
    assert ask.end in whole
    frames = whole.count(b"\n\n")
    for after in range(frames):
        server.script([End(after)])
        assert ask.end not in await Ask(server, http, api).read()
    for step in (Cut(), Fail(StreamTruncated("x"))):
        server.script([["half ", Pause(), step]])
        body = await Ask(server, http, api).read()
        assert b"half" in body
        assert ask.end not in body


@every_api
@pytest.mark.parametrize("after", [1, 4])
async def test_reset_within(server: ProviderServer, http: Any, api: str, after: int) -> None:
    """After a reset in mid-stream the reader has what was sent and then an error."""
    server.script([Reply("some text to be read", (Reset(after),))])
    got = b""
    async with Ask(server, http, api).request as response:
        with pytest.raises(aiohttp.ClientError):  # noqa: PT012 - the loop is what raises
            async for data in response.content.iter_any():
                got += data
    assert got.count(b"\n\n") == after


@every_api
async def test_error_within(server: ProviderServer, http: Any, api: str) -> None:
    """A failing step within the stream is an error event in the API's form, without end marker."""
    server.script([["half", Fail(Overloaded("x"))]])
    ask = Ask(server, http, api)
    body = await ask.read()
    assert ask.end not in body
    last = json.loads(body.strip().rpartition(b"data: ")[2])
    assert "overloaded" in last["error"]["message"].lower()


@every_api
async def test_pings_only(server: ProviderServer, http: Any, api: str) -> None:
    """A stall can be dressed with keep-alives; then it goes on."""
    go = asyncio.Event()
    server.script([Reply("text", (Pings(2, every_s=0.001, until=go),))])
    ask, got = Ask(server, http, api), b""
    async with ask.request as response:
        async for data in response.content.iter_any():
            got += data
            if got.count(b"ping") + got.count(b"keep") > 5:
                go.set()
    assert ask.end in got


@every_api
async def test_broken_and_stray_lines(server: ProviderServer, http: Any, api: str) -> None:
    """A line that is no JSON, an event that nobody knows, a content type that is none."""
    server.script([Reply("text", (Broken(2), Stray(3), Type("application/octet-stream")))])
    async with Ask(server, http, api).request as response:
        assert response.content_type == "application/octet-stream"
        lines = (await response.read()).splitlines()
    bad = 0
    for line in lines:
        if line.startswith(b"data: {"):
            try:
                json.loads(line[6:])
            except ValueError:
                bad += 1
    assert bad == 1
    assert b"weather" in b"".join(lines)


@every_api
async def test_linger(server: ProviderServer, http: Any, api: str) -> None:
    """The response stays open behind its end marker until the client leaves."""
    server.script([Reply("text", (Linger(),))])
    ask, got = Ask(server, http, api), b""
    async with ask.request as response:
        while ask.end not in got:
            got += await response.content.readany()
        await asyncio.sleep(0.01)
        assert not server.journal[0].is_over
    await server.wait_for(1)


@every_api
async def test_split_loses_nothing(server: ProviderServer, http: Any, api: str) -> None:
    """Byte by byte the same text comes as in one piece, and in many reads."""
    turn: list[Line] = ["ü 👩‍⚕️ 世界", Call("add", {"a": "ü"})]
    server.script([Reply(turn, (Split(1),))])
    ask, reads = Ask(server, http, api), []
    async with ask.request as response:
        async for data in response.content.iter_any():
            reads.append(data)  # noqa: PERF401 - each read counts
    assert len(reads) > 50
    assert ask.end in b"".join(reads)


@every_api
async def test_abort_is_noticed(server: ProviderServer, http: Any, api: str) -> None:
    """A client that leaves in mid-stream is in the journal although the answer would go on, with
    what was sent."""
    server.script([["begin", Pause(until=asyncio.Event()), "never"]])
    ask, got = Ask(server, http, api), b""
    async with ask.request as response:
        while b'"n"' not in got:
            got += await response.content.readany()
        response.close()
    await server.wait_for(1)
    record = server.journal[0]
    assert record.client_gone_at is not None
    assert (record.sent_bytes, record.sent_frames) == (len(got), got.count(b"\n\n"))


async def test_journal(server: ProviderServer, http: Any) -> None:
    """A record tells who asked what, and keeps no secret."""
    await Ask(server, http, "chat").read()
    record = server.journal[0]
    assert (record.api, record.path, record.said) == ("openai.chat", "/v1/chat/completions", "hi")
    assert (record.status, record.is_over, record.client_gone_at) == (200, True, None)
    assert record.body["model"] == "gpt-4o-mini"
    assert record.size > 50
    assert "secret" not in str(record.headers)
    with pytest.raises(TimeoutError):
        await server.wait_for(2, timeout_s=0.01)


async def test_keys_functions_and_pace(http: Any) -> None:
    """Replies go by the user's words or by a function; pace is time between deltas."""
    clock = ToldClock(auto=True)
    async with ProviderServer(clock=clock, piece=1) as server:
        server.when("HI", lambda received: f"{received.api}!")
        server.script([Reply("abcdef", pace_s=5)])
        assert b"openai.chat" not in await Ask(server, http, "anthropic").read()
        body = await Ask(server, http, "chat").read()
        assert b'"!"' in body
        assert server.left == 1
    async with ProviderServer([Reply("abcdef", pace_s=5)], clock=clock, piece=1) as server:
        before = clock.monotonic()
        await Ask(server, http, "chat").read()
        assert clock.monotonic() - before > 5 * 6
