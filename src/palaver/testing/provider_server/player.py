"""Plays a reply into a connection: frames, pauses, faults. The fast path is a burst without faults.

Frames that need no waiting between them go out in writes of up to 32 KiB.
"""

import asyncio
import socket
import struct
from collections.abc import Iterator

import msgspec
from aiohttp import web

from palaver.domain.clock import Clock
from palaver.domain.errors import (
    ConnectionFailed,
    ProtocolViolation,
    ProviderError,
    StreamTruncated,
)
from palaver.testing.provider_server.apis import Api
from palaver.testing.provider_server.faults import (
    Broken,
    End,
    Fault,
    Linger,
    Pings,
    Placed,
    Reset,
    Severed,
    Split,
    Stray,
    placed,
)
from palaver.testing.provider_server.journal import Received
from palaver.testing.provider_server.refusal import scripted
from palaver.testing.provider_server.reply import Signal
from palaver.testing.script import Cut, Pause, rest

_BURST = 32 * 1024


class _Severed(Exception):
    """As many bytes went out as were to go."""


class Way(msgspec.Struct, frozen=True):
    """How a stream goes out."""

    api: Api
    clock: Clock
    faults: tuple[Fault, ...] = ()
    pace_s: float = 0.0


class Player:
    """One stream on its way. `play` returns when all is sent that will be sent."""

    def __init__(
        self, way: Way, received: Received, response: web.StreamResponse, request: web.Request
    ) -> None:
        self._way, self._received = way, received
        self._response, self._request = response, request
        self._placed = placed(way.faults)
        self._severed = next((f for f in way.faults if isinstance(f, Severed)), None)
        self._chunk = next((f.chunk for f in way.faults if isinstance(f, Split)), 0)
        self._buffer = bytearray()
        self._next_at = 0.0

    async def play(self, frames: Iterator[bytes | Signal]) -> None:
        """Send `frames`; a fault or a failing step may end it early."""
        try:
            await self._play(frames)
        except _Severed:
            await self._sever()

    async def _play(self, frames: Iterator[bytes | Signal]) -> None:
        pace, buffer = self._way.pace_s, self._buffer
        if not await self._strike(0):
            return
        for frame in frames:
            if not isinstance(frame, bytes):
                if not await self._signal(frame):
                    return
                continue
            buffer += frame
            self._received.sent_frames += 1
            if pace:
                await self._flush()
                await self._wait_for_next(pace)
            elif len(buffer) > _BURST:
                await self._flush()
            if self._placed and not await self._strike(self._received.sent_frames):
                return
        await self._flush()
        if any(isinstance(fault, Linger) for fault in self._way.faults):
            await asyncio.Event().wait()
        await self._response.write_eof()

    async def _signal(self, signal: Signal) -> bool:
        """Carry out a step that is no content; False when the stream is over."""
        await self._flush()
        if isinstance(signal, Pause):
            await rest(signal.seconds, signal.until, self._way.clock)
            return True
        if isinstance(signal, Cut):
            await self._response.write_eof()
            return False
        return await self._fail(signal.error)

    async def _fail(self, error: ProviderError) -> bool:
        if isinstance(error, ConnectionFailed):
            reset(self._request)
            return False
        if isinstance(error, ProtocolViolation):
            self._buffer += self._way.api.broken
        elif not isinstance(error, StreamTruncated):
            refused = scripted(error, openai=self._way.api.is_openai)
            self._buffer += self._way.api.error_frame(refused, self._received.request_id)
        await self._flush()
        await self._response.write_eof()
        return False

    async def _sever(self) -> None:
        if self._severed is not None and self._severed.reset:
            await self._drained()
            reset(self._request)
        else:
            await self._response.write_eof()

    async def _strike(self, frames: int) -> bool:
        """The fault that waits after so many frames; False when the stream is over."""
        fault = self._placed.get(frames)
        if fault is None or (isinstance(fault, Reset) and not frames):
            return True
        await self._flush()
        return await self._carry_out(fault)

    async def _carry_out(self, fault: Placed) -> bool:
        match fault:
            case Reset():
                # What was written has to leave first: a reset throws away what waits.
                await self._drained()
                reset(self._request)
                return False
            case End():
                await self._response.write_eof()
                return False
            case Pings():
                await self._ping(fault)
            case Broken():
                self._buffer += self._way.api.broken
            case Stray():
                self._buffer += self._way.api.stray
        return True

    async def _ping(self, fault: Pings) -> None:
        until = fault.until or asyncio.Event()
        while not until.is_set():
            await self._response.write(self._way.api.ping)
            await self._way.clock.sleep(fault.every_s)

    async def _drained(self) -> None:
        transport = self._request.transport
        while transport is not None and transport.get_write_buffer_size():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)

    async def _wait_for_next(self, pace: float) -> None:
        now = self._way.clock.monotonic()
        # On a schedule: lateness of one delta does not add up.
        self._next_at = max(self._next_at or now, now - 1.0) + pace
        await self._way.clock.sleep(max(0.0, self._next_at - now))

    async def _flush(self) -> None:
        if not self._buffer:
            return
        data = bytes(self._buffer)
        self._buffer.clear()
        if self._severed is not None:
            left = self._severed.after_bytes - self._received.sent_bytes
            if len(data) >= left:
                await self._response.write(data[:left])
                self._received.sent_bytes += left
                raise _Severed
        if not self._chunk:
            await self._response.write(data)
            self._received.sent_bytes += len(data)
            return
        for start in range(0, len(data), self._chunk):
            part = data[start : start + self._chunk]
            await self._response.write(part)
            self._received.sent_bytes += len(part)
            await asyncio.sleep(0)


def reset(request: web.Request) -> None:
    """Close the connection with a RST."""
    transport = request.transport
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
