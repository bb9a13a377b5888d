"""Connections are kept, and one that was closed meanwhile costs nobody an attempt."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from palaver.domain.errors import ConnectionFailed, PalaverError
from palaver.providers.transport import EventSource, Transport
from palaver.settings import Clocks

pytestmark = pytest.mark.looptime  # a kept connection that breaks is judged by how soon it did
ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 10\r\n\r\ndata: {}\n\n"
)


class Wire:
    """A server that does one thing for each connection after the other, request by request."""

    def __init__(self, *connections: list[str]) -> None:
        self._connections = list(connections)
        self.bodies: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for what in self._connections.pop(0):
                await self._read(reader)
                if what == "answer":
                    writer.write(ANSWER)
                elif what == "begin":
                    writer.write(ANSWER[:20])
                    break
                elif what == "reset":
                    sock = writer.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    break
                elif what == "close":
                    break
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        self.bodies.append(await reader.readexactly(length))


@asynccontextmanager
async def serving(wire: Wire) -> AsyncIterator[str]:
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    made = Transport(proxy=lambda url: None)
    yield made
    await made.aclose()


async def answered(transport: Transport, url: str, body: list[bytes] | None = None) -> None:
    """One request, read to its end."""
    source = opened(transport, url, body or [b"{}"])
    async for _ in source:
        source.end_seen()
    await source.aclose()


def opened(transport: Transport, url: str, body: list[bytes]) -> EventSource:
    return transport.open(url, headers={}, body=body, clocks=Clocks(), provider="p")


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_connection_that_was_closed_meanwhile(transport: Transport, how: str) -> None:
    """The request goes out once more, whole, over a new connection; nobody notices."""
    wire = Wire(["answer", how], ["answer"])
    pieces = [b"{", b'"x":"', b"y" * 300_000, b'"}']
    async with serving(wire) as url:
        await answered(transport, url)
        await answered(transport, url, pieces)
    assert wire.bodies == [b"{}", b"".join(pieces), b"".join(pieces)]


@pytest.mark.parametrize(
    "connections, requests",
    [
        pytest.param([["close"]], 1, id="new connection"),
        pytest.param([["reset"]], 1, id="new connection reset"),
        pytest.param([["answer", "close"], ["close"]], 3, id="twice"),
        pytest.param([["answer", "begin"]], 2, id="answer begun"),
    ],
)
async def test_other_breaks_are_failures(
    transport: Transport, connections: list[list[str]], requests: int
) -> None:
    """A new connection that breaks, a second one, and an answer that has begun are not repeated."""
    wire = Wire(*connections)
    async with serving(wire) as url:
        if connections[0][0] == "answer":
            await answered(transport, url)
        with pytest.raises(PalaverError) as caught:
            await answered(transport, url)
    assert isinstance(caught.value, ConnectionFailed)
    assert len(wire.bodies) == requests


async def test_a_body_may_be_sent_twice(transport: Transport) -> None:
    """An attempt leaves the pieces as they were."""
    wire = Wire(["answer", "answer"])
    pieces = [b"{", b"}"]
    async with serving(wire) as url:
        for _ in range(2):
            await answered(transport, url, pieces)
    assert wire.bodies == [b"{}", b"{}"]
    assert pieces == [b"{", b"}"]


async def test_the_system_s_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's proxy is asked, over one kept connection, and not for hosts it excepts."""
    proxy, here = Wire(["answer", "answer"]), Wire(["answer"])
    async with serving(proxy) as way, serving(here) as url:
        monkeypatch.setenv("http_proxy", way)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        transport = Transport()
        for _ in range(2):
            await answered(transport, "http://provider.invalid/v1")
        await answered(transport, url)
        await transport.aclose()
    assert (len(proxy.bodies), len(here.bodies)) == (2, 1)
