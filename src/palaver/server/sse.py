"""A turn as server-sent events: a cursor on its run log that writes to one connection.

Each event has the id `epoch:number`, which `Last-Event-ID` brings back. What comes together is
written together; a stream that has nothing to say gives a sign of life now and then; a reader that
takes nothing for too long is let go of, and nobody else feels it. Closing a stream cancels nothing.
"""

import asyncio
from collections.abc import Sequence

import msgspec
from starlette.types import Receive, Scope as AsgiScope, Send

from palaver.domain.stream import StreamEvent
from palaver.server.core import Server
from palaver.streams.cursor import After
from palaver.streams.session import ResumeGap, StreamSession

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
RETRY = b"retry: 1000\n\n"
HEARTBEAT = b": here\n\n"
_encoder = msgspec.json.Encoder()


def encoded(first: int, events: Sequence[StreamEvent], epoch: int) -> bytes:
    """Numbered events as they are written."""
    return b"".join(
        b"id: %d:%d\nevent: %b\ndata: %b\n\n"
        % (epoch, number, event.__struct_config__.tag.encode(), _encoder.encode(event))  # type: ignore[union-attr]
        for number, event in enumerate(events, first)
    )


class TurnStream:
    """An ASGI response: the events of a turn behind `after`, to the terminal one or the end of the
    server."""

    def __init__(
        self,
        server: Server,
        session: StreamSession,
        *,
        after: After = 0,
        headers: dict[str, str] | None = None,
    ) -> None:
        self._server, self._session, self._after = server, session, after
        self._headers = [(k.encode(), v.encode()) for k, v in (headers or {}).items()]
        self._wrote_at = 0.0
        self._is_writing = False

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Write until the end, or until the reader has gone."""
        await send(
            {"type": "http.response.start", "status": 200, "headers": [*HEADERS, *self._headers]}
        )
        writing = asyncio.ensure_future(self._write(send))
        watching = [
            asyncio.ensure_future(_gone(receive)),
            asyncio.ensure_future(self._keep_alive(send)),
            asyncio.ensure_future(self._server.draining.wait()),
        ]
        try:
            await asyncio.wait((writing, *watching), return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
            elif watching[2].done():
                await _end(send, writing)
        finally:
            for task in (writing, *watching):
                task.cancel()
            await asyncio.wait((writing, *watching))

    async def _write(self, send: Send) -> None:
        await self._send(send, RETRY)
        try:
            async for first, events, epoch in self._session.batches(self._after):
                await self._send(send, encoded(first, events, epoch))
        except ResumeGap as gap:
            told = _encoder.encode(gap.info())
            await self._send(send, b"event: resume_gap\ndata: %b\n\n" % told)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, data: bytes) -> None:
        self._is_writing = True
        self._wrote_at = self._server.parts.clock.monotonic()
        await send({"type": "http.response.body", "body": data, "more_body": True})
        self._is_writing = False

    async def _keep_alive(self, send: Send) -> None:
        """Give signs of life; returns when the reader takes nothing any more."""
        settings, clock = self._server.settings, self._server.parts.clock
        while True:
            await clock.sleep(min(settings.heartbeat_s, settings.send_s))
            silent = clock.monotonic() - self._wrote_at
            if self._is_writing:
                if silent >= settings.send_s:
                    return
            elif silent >= settings.heartbeat_s:
                await self._send(send, HEARTBEAT)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(send: Send, writing: "asyncio.Future[None]") -> None:
    """Close the stream of a server that ends: the reader comes back with its last id."""
    writing.cancel()
    await asyncio.wait((writing,))
    await send({"type": "http.response.body", "body": b"", "more_body": False})
