"""uvicorn's connections, with what an app cannot do from inside: end one whose peer takes nothing.

Under another ASGI server the keys in the scope are missing; then such a connection is closed as far
as that server does it.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

ABORT = "palaver.abort"
CUT = "palaver.cut"
UNACKNOWLEDGED_S = 60
"""A peer that acknowledges nothing for so long is gone, whatever its network says."""


def abort(scope: Scope) -> None:
    """End the connection at once; what is still to be sent is thrown away."""
    scope.get(ABORT, _nothing)()


def cut(scope: Scope, *last: str, code: int, reason: str, linger_s: float) -> bool:
    """Close a socket whose peer takes nothing: the last frames and the close wait behind what it
    has not taken, for so long. Returns whether the server can do so."""
    cutting: Callable[..., None] | None = scope.get(CUT)
    if cutting is None:
        return False
    cutting(*last, code=code, reason=reason, linger_s=linger_s)
    return True


def _nothing() -> None:
    pass


def endable(base: type[HttpToolsProtocol]) -> type[HttpToolsProtocol]:
    """A connection that speaks HTTP, as `base` does, and that an app can end."""

    class Endable(base):  # type: ignore[misc, valid-type]
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            found: socket.socket | None = transport.get_extra_info("socket")
            if found is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
                within = UNACKNOWLEDGED_S * 1000
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, within)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self.scope[ABORT] = self.transport.abort

    return Endable


class SocketConnection(WebSocketsSansIOProtocol):
    """A connection that speaks WebSocket."""

    def handle_connect(self, event: Any) -> None:
        """Give the app, beside the request, the ways to end the connection."""
        super().handle_connect(event)
        if hasattr(self, "scope"):  # its task has not begun
            scope = cast("dict[str, Any]", self.scope)
            scope[ABORT], scope[CUT] = self.transport.abort, self.cut

    def cut(self, *last: str, code: int, reason: str, linger_s: float) -> None:
        """See `connections.cut`."""
        if self.disconnected or self.close_sent:
            return
        for frame in last:
            self.conn.send_text(frame.encode())
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.stop_keepalive()
        self.close_sent = True
        self.close_timer = self.loop.call_later(linger_s, self.transport.abort)
