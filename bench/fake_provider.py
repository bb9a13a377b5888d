"""A provider for measuring: raw asyncio, bytes made beforehand, nothing in the way of the client.

Runs as its own process (`python -m bench.fake_provider`), says its port on standard output, and
ends when its standard input ends, so it never outlives who started it.
"""

import asyncio
import sys

from bench.pacing import Pacer
from bench.processes import allow_sockets
from bench.scenario import Step, many, script
from bench.wire import api_of, chunk, last_said

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\nrequest-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
)
_REFUSAL = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
YIELD_EVERY = 64
"""Writes of a burst between looks at other connections."""


class Provider(asyncio.Protocol):
    """One connection: requests one after the other, each with its script."""

    def __init__(self, pacer: Pacer) -> None:
        self._pacer = pacer
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._playing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio sets TCP_NODELAY on every stream socket."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """The client left; so does its script."""
        if self._playing is not None:
            self._playing.cancel()

    def data_received(self, data: bytes) -> None:
        """Collect a request; answer it when it is whole."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        size = _content_length(bytes(self._buffer[:end]))
        if len(self._buffer) < end + 4 + size:
            return
        target = self._buffer.split(b" ", 2)[1].decode()
        body = bytes(self._buffer[end + 4 : end + 4 + size])
        del self._buffer[: end + 4 + size]
        self._answer(target, body)

    def _answer(self, target: str, body: bytes) -> None:
        assert self._transport is not None
        scenario, _, path = target.lstrip("/").partition("/")
        api = api_of("/" + path)
        try:
            if api is None:
                raise ValueError(f"there is nothing at {path!r}")
            said = last_said(body)
            if said == "results" and (asked := many(scenario)):
                self._pacer.add(api, self._transport, *asked, head=_HEAD)
                return
            steps = script(api, scenario, said)
        except ValueError:
            self._transport.write(_REFUSAL)
            return
        self._playing = asyncio.get_running_loop().create_task(_play(self._transport, steps))


async def _play(transport: asyncio.Transport, steps: list[Step]) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    transport.write(_HEAD)
    for number, (at, frame) in enumerate(steps):
        wait_s = began + at - loop.time() if at else 0.0
        if wait_s > 0 or not number % YIELD_EVERY:
            await asyncio.sleep(max(wait_s, 0.0))
        if frame:
            transport.write(chunk(frame))
    transport.write(chunk(b""))


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    pacer = Pacer()
    server = await loop.create_server(lambda: Provider(pacer), "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    await ended.wait()
    server.close()


if __name__ == "__main__":
    allow_sockets()
    asyncio.run(_serve())
