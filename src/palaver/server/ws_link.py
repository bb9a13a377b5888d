"""What leaves by a socket: one frame after the other, each subscription in its turn.

Nothing is buffered beyond the connection's own few kilobytes: whoever has something to say waits
for the client to take what was said before. How long that takes is watched from outside.
"""

import asyncio
from collections.abc import Sequence

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from palaver.domain.clock import Clock
from palaver.server.connections import abort, cut


class Link:
    """The way out. `gone` is set when nobody is at the other end any more."""

    def __init__(self, socket: WebSocket, *, clock: Clock) -> None:
        self._socket, self._clock = socket, clock
        self._in_turn = asyncio.Lock()  # first come, first served
        self._began_at = 0.0
        self._is_writing = False
        self.gone = asyncio.Event()

    async def write(self, frame: str) -> None:
        """Send a frame behind what is being sent."""
        async with self._in_turn:
            await self._send(frame)

    async def write_all(self, frames: Sequence[str], sent: list[int]) -> None:
        """Send frames together; `sent[0]` counts those that were taken."""
        async with self._in_turn:
            for frame in frames:
                await self._send(frame)
                sent[0] += 1

    async def _send(self, frame: str) -> None:
        self._began_at, self._is_writing = self._clock.monotonic(), True
        try:
            await self._socket.send({"type": "websocket.send", "text": frame})
        except (WebSocketDisconnect, RuntimeError):  # gone, or closed from here
            self.gone.set()
        self._is_writing = False

    def stuck_s(self, now: float) -> float:
        """For how long the client has taken nothing of what it is sent."""
        return now - self._began_at if self._is_writing else 0.0

    async def close(self, code: int, reason: str, *last: str, within_s: float) -> None:
        """Say the last words and close. A client that does not take them in time has them no
        more."""
        try:
            async with asyncio.timeout(within_s):
                for frame in last:
                    await self._send(frame)
                await self._socket.close(code, short(reason))
        except TimeoutError:
            abort(self._socket.scope)
        except (WebSocketDisconnect, RuntimeError):
            self.gone.set()

    def cut(self, code: int, reason: str, *last: str, within_s: float) -> None:
        """The same past everything that the client has not taken."""
        scope = self._socket.scope
        if not cut(scope, *last, code=code, reason=short(reason), linger_s=within_s):
            abort(scope)
        self.gone.set()


def short(reason: str) -> str:
    """As a close frame can hold it: 123 bytes."""
    return reason.encode()[:120].decode(errors="ignore")
