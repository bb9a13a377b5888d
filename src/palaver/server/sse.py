"""A turn as server-sent events: a cursor on its run log that writes to one connection.

Each event has the id `epoch:number`, which `Last-Event-ID` brings back. What comes together is
written together; a stream that has nothing to say gives a sign of life now and then; a reader that
takes nothing for too long is let go of, and nobody else feels it. Closing a stream cancels nothing.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from weakref import WeakKeyDictionary

import msgspec
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope as AsgiScope, Send

from palaver.domain.errors import NotAuthenticated, PalaverError
from palaver.domain.stream import StreamEvent
from palaver.server.auth import principal_of
from palaver.server.connections import abort
from palaver.server.core import Caller
from palaver.server.following import Ended, Snapshot, told
from palaver.server.pieces import PIECE_EVENTS, Newest
from palaver.streams.cursor import After, Batch
from palaver.streams.session import StreamSession

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
RETRY = b"retry: 1000\n\n"
HEARTBEAT = b": here\n\n"
DRAINING = b'event: server.draining\ndata: {"retry_ms":1000}\n\n'
_encoder = msgspec.json.Encoder()
_heads: dict[type, bytes] = {}


def encoded(first: int, events: Sequence[StreamEvent], epoch: int) -> bytes:
    """Numbered events as they are written."""
    return b"".join(
        b"id: %d:%d%b%b\n\n" % (epoch, number, _head(type(event)), _encoder.encode(event))
        for number, event in enumerate(events, first)
    )


def _head(kind: type) -> bytes:
    found = _heads.get(kind)
    if found is None:
        tag = kind.__struct_config__.tag  # type: ignore[attr-defined]
        found = _heads[kind] = f"\nevent: {tag}\ndata: ".encode()
    return found


_newest: WeakKeyDictionary[StreamSession, Newest[bytes]] = WeakKeyDictionary()


class EventStream:
    """An ASGI response: server-sent events that come from `chunks`, until it ends, the reader has
    gone, or the server ends. Raises QuotaExceeded, ServerBusy and Draining before it begins."""

    def __init__(
        self,
        caller: Caller,
        chunks: AsyncGenerator[bytes, None],
        *,
        headers: dict[str, str] | None = None,
        heartbeat: bytes = HEARTBEAT,
    ) -> None:
        self._caller, self._chunks, self._heartbeat = caller, chunks, heartbeat
        self._headers = [(k.encode(), v.encode()) for k, v in (headers or {}).items()]
        self._clock = caller.server.parts.clock
        self._settings = caller.server.settings
        self._block = asyncio.timeout(None)
        self._wrote_at = self._checked_at = self._clock.monotonic()
        self._is_writing = self._is_ending = self._is_inside = False
        self._beat: asyncio.Task[None] | None = None

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Write until the end, or until the reader has gone."""
        self._scope, self._send = scope, send
        readers = self._caller.server.streams
        async with aclosing(self._chunks):
            with readers.looked_after(self, self._caller.account):
                await self._told(receive)

    async def _told(self, receive: Receive) -> None:
        headers = [*HEADERS, *self._headers]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        gone = asyncio.ensure_future(_gone(receive))
        try:
            async with self._block:
                self._is_inside = True
                gone.add_done_callback(self._stop)
                if self._scope["method"] != "HEAD" and not self._is_ending:
                    await self._write()
        except TimeoutError:
            if not self._block.expired():
                raise
            if not self._is_ending:
                return  # nobody is there any more
        finally:
            self._is_inside = False
            gone.remove_done_callback(self._stop)
            tasks = [gone] if self._beat is None else [gone, self._beat]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        last = self._last_word() if self._is_ending else b""
        await self._send({"type": "http.response.body", "body": last, "more_body": False})

    def _last_word(self) -> bytes:
        """What a reader is told whose stream the server has to end."""
        return b""

    async def _write(self) -> None:
        await self._put(RETRY)
        async for chunk in self._chunks:
            await self._put(chunk)

    async def _put(self, data: bytes) -> None:
        self._wrote_at = self._clock.monotonic()
        self._is_writing = True
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self._is_writing = False

    # What goes on beside the writing.

    def look(self, now: float) -> None:
        """See `Reader.look`."""
        silent_s = now - self._wrote_at
        if self._is_writing and silent_s >= self._settings.send_s:
            abort(self._scope)
            self._stop()
            return
        is_due = silent_s >= self._settings.heartbeat_s and not self._is_writing
        is_check_due = now - self._checked_at >= self._settings.heartbeat_s
        if (is_due or is_check_due) and (self._beat is None or self._beat.done()):
            self._beat = asyncio.create_task(self._live(is_due), name="heartbeat")

    async def _live(self, is_due: bool) -> None:
        """See that the reader may still be here, and say that the server is."""
        self._checked_at = self._clock.monotonic()
        try:
            await principal_of(self._caller.server, HTTPConnection(self._scope))
        except NotAuthenticated:
            self.end()
            return
        except PalaverError:
            pass  # the store cannot be read: that is for whoever writes to find out
        if is_due and not self._is_writing:
            await self._put(self._heartbeat)

    def end(self) -> None:
        """Close the stream: the reader comes back with its last id, and to another process."""
        self._is_ending = True
        self._stop()

    def _stop(self, _: object = None) -> None:
        if self._is_inside and not self._block.expired():
            self._block.reschedule(0)


class TurnStream(EventStream):
    """The events of a turn behind `after`, to the terminal one."""

    def __init__(
        self,
        caller: Caller,
        session: StreamSession,
        *,
        after: After = 0,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(caller, _written(caller, session, after), headers=headers)

    def _last_word(self) -> bytes:
        return DRAINING if self._caller.server.is_draining else b""


async def _written(
    caller: Caller, session: StreamSession, after: After
) -> AsyncGenerator[bytes, None]:
    newest = _newest.setdefault(session, Newest(encoded))
    try:
        async for item in told(caller, session, after):
            match item:
                case Batch():
                    for piece in newest.pieces(item):
                        yield piece
                        if len(item.events) > PIECE_EVENTS:
                            await asyncio.sleep(0)  # a long replay keeps nobody waiting
                case Snapshot():
                    yield b"event: resume_gap\ndata: %b\n\n" % _encoder.encode(item)
                case Ended(event=event):
                    yield b"%b%b\n\n" % (_head(type(event))[1:], _encoder.encode(event))
    except PalaverError as error:
        # The reader has seen no terminal event, so it comes back.
        yield b"event: stream.error\ndata: %b\n\n" % _encoder.encode(error.info())


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
