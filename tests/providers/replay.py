"""Recorded provider streams, replayed: straight into a parser, or through a real loopback server.

The recordings lie beside the checkout and are never copied. A split is random bytes of a recording:
also inside a character, inside a line end, inside a JSON string.
"""

import asyncio
import functools
import gzip
import json
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from palaver.providers.sse import Sse, SseParser

DATA = Path(
    os.environ.get("PALAVER_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data")
)
needs_data = pytest.mark.skipif(
    not DATA.exists(), reason="the test data is not beside the checkout"
)


@functools.cache
def records(name: str) -> tuple[dict[str, Any], ...]:
    """All records of `recordings/openai_chat` and the like; none where the data is absent."""
    path = DATA / f"{name}.jsonl.gz"
    if not path.exists():
        return ()
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return tuple(json.loads(line) for line in file)


def streamed(*names: str) -> list[dict[str, Any]]:
    """The records that hold an event stream: whole recordings, and lists of event texts."""
    return [
        record
        for name in names
        for record in records(name)
        if record.get("form") == "events" or record.get("stream")
    ]


def wire(record: dict[str, Any]) -> bytes:
    """The stream's bytes: as recorded, or its event texts framed as data lines."""
    if record.get("form") == "events":
        return "".join(f"data: {line}\n\n" for line in record["lines"]).encode()
    return str(record["body"]).encode()


def payloads(record: dict[str, Any]) -> list[str]:
    """The data of every event, read without any code of ours: for independent expectations."""
    if record.get("form") == "events":
        return list(record["lines"])
    lines = record["body"].replace("\r\n", "\n").split("\n")
    return [line[5:].strip() for line in lines if line.startswith("data:")]


def splits(body: bytes, *, seed: int, largest: int = 4096) -> Iterator[bytes]:
    """`body` in random pieces: mostly small ones, some of a single byte, some large."""
    chance = random.Random(seed)
    at = 0
    while at < len(body):
        size = chance.choice((1, 2, 7, 60, 300, largest))
        size = chance.randint(1, size)
        yield body[at : at + size]
        at += size


def batches(body: bytes, *, seed: int) -> Iterator[list[Sse]]:
    """What the transport would hand out for these splits."""
    parser = SseParser()
    for piece in splits(body, seed=seed):
        if batch := parser.feed(piece):
            yield batch


def ids(record: dict[str, Any]) -> str:
    """A test id."""
    return str(record["id"])


class Answer:
    """What the loopback server says to the next request; it notes what it was asked."""

    def __init__(self, body: bytes = b"", *, seed: int = 0) -> None:
        self.body, self.seed = body, seed
        self.status = 200
        self.headers: dict[str, str] = {"content-type": "text/event-stream"}
        self.before_s = 0.0
        """Seconds before the answer begins."""
        self.hang = False
        """Keep the connection open behind the body."""
        self.reset = False
        """Cut the connection behind the body, without the end of the chunked coding."""
        self.pings: bytes = b""
        """Sent every 5 ms while hanging."""
        self.seen: list[tuple[dict[str, str], bytes]] = []
        """Headers (lower case) and body of each request."""
        self.peers: set[Any] = set()
        """The client's addresses: one for each connection."""
        self.gone = asyncio.Event()
        """The client has closed the connection while we hung."""


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    """The address of a server that gives `answer` to every POST."""
    from aiohttp import web

    async def handle(request: web.Request) -> web.StreamResponse:
        answer.seen.append(
            ({name.lower(): value for name, value in request.headers.items()}, await request.read())
        )
        connection = request.transport
        assert connection is not None
        answer.peers.add(connection.get_extra_info("peername"))
        if answer.before_s:
            await asyncio.sleep(answer.before_s)
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        await response.prepare(request)
        for piece in splits(answer.body, seed=answer.seed, largest=20_000):
            await response.write(piece)
            await asyncio.sleep(0)
        if answer.reset:
            connection.abort()
        while answer.hang:
            try:
                if answer.pings:
                    await response.write(answer.pings)
            except ConnectionError:
                answer.gone.set()
                raise
            await asyncio.sleep(0.005)
            if connection.is_closing():
                answer.gone.set()
                break
        return response

    app = web.Application(client_max_size=1 << 28)
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()
