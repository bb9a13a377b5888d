"""Connections to providers: kept for the next request, and a request that meets a dead one.

The server closes a kept connection when it likes. A request that was just sent then gets no answer,
and is sent once more over another one before anybody calls it failed.
"""

import asyncio
from typing import Any
from weakref import WeakSet

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from palaver.providers.fragments import Body

KEEPALIVE_S = 60.0
"""How long an unused connection stays open; a new one to a provider costs 50 ms and more."""
STALE_S = 2.0
"""A connection that the other side had closed shows it within a round trip, or it was not that."""


class InPieces(aiohttp.Payload):
    """A body that is written as it lies, without being joined. It may be sent again."""

    _autoclose = True

    def __init__(self, pieces: Body) -> None:
        super().__init__(pieces)
        self._size = sum(map(len, pieces))
        self.reused = False
        """Whether it left over a connection that had served another request."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The whole as text."""
        return b"".join(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send everything, at the socket's pace."""
        for piece in self._value:
            await writer.write(piece)


class _Connections(aiohttp.TCPConnector):
    """Tells bodies whether they are `reused`. aiohttp's tracing would cost 80 µs a request."""

    def __init__(self) -> None:
        # Without a limit, as each answer under way has its connection.
        super().__init__(limit=0, ttl_dns_cache=300, keepalive_timeout=KEEPALIVE_S)
        self._used: WeakSet[object] = WeakSet()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's name
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        protocol = connection.protocol
        if isinstance(req.body, InPieces):
            req.body.reused = protocol in self._used
        self._used.add(protocol)
        return connection


def new_session(*, read_bufsize: int) -> aiohttp.ClientSession:
    """A session without cookies that keeps connections."""
    return aiohttp.ClientSession(
        connector=_Connections(),
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=read_bufsize,
        raise_for_status=False,
    )


async def send(
    session: aiohttp.ClientSession, url: str, pieces: Body | None, **options: Any
) -> aiohttp.ClientResponse:
    """The answer to a POST of `pieces`, or to a GET, up to its headers. Raises aiohttp's errors.

    A kept connection that the other side has closed meanwhile costs nobody an attempt.
    """
    if pieces is None:
        return await session.get(url, **options)
    body = InPieces(pieces)
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        return await session.post(url, data=body, **options)
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionResetError) as error:
        if not body.reused or loop.time() - started > STALE_S or _answered(error):
            raise
    return await session.post(url, data=InPieces(pieces), **options)


def _answered(error: Exception) -> bool:
    """Whether a part of an answer had come."""
    return isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)
