"""How long a client may take for its headers, and how many it may send."""

import asyncio
from urllib.parse import urlsplit

import pytest

from tests.server.conftest import Serving
from tests.server.test_gate import request


async def test_headers_without_end(serving: Serving) -> None:
    """Headers that never end are not collected: the connection is closed."""
    served = await serving(header_bytes=4_000)
    port = urlsplit(served.address).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\nx-a: ")
    answer = b""
    try:
        while not answer:
            writer.write(b"a" * 10_000)
            await writer.drain()
            try:
                answer = await asyncio.wait_for(reader.read(1_000), 0.01)
            except TimeoutError:
                continue
    except ConnectionError:
        return
    finally:
        writer.close()
    assert answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /api/version HTTP/1.1\r\nHost: loc",
        b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\nGET /api/ver",
    ],
    ids=["nothing", "half a head", "half of the next"],
)
async def test_slow_head(serving: Serving, begun: bytes) -> None:
    """Who does not get to the end of the headers is let go of."""
    served = await serving(receive_s=0.05)
    port = urlsplit(served.address).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(begun)
    await reader.read(-1)  # returns when the server has closed the connection
    writer.close()


@pytest.mark.looptime
async def test_rest_of_a_refused_body(serving: Serving) -> None:
    """Nobody keeps a connection by going on with a body that was refused."""
    served = await serving(receive_s=0.05, body_bytes=10)
    port = urlsplit(served.address).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    text = request("/api/conversations", content_length="500").replace(b"GET", b"POST", 1)
    writer.write(text)
    assert b" 413 " in await reader.read(-1)
    writer.close()
