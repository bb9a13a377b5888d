"""What uvicorn leaves open: how long a client may take for its headers, and how many it may send.

Its fast parser collects the head of a request as long as somebody sends one, and no clock runs
before the first request. Both would let a few hundred idle sockets, or one, take all there is.
"""

from asyncio import TimerHandle, Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_REFUSED = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/problem+json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b"
)
_TOLD = (
    b'{"type":"urn:palaver:error:headers_too_large","title":"Headers too large","status":431,'
    b'"code":"headers_too_large","message":"the request\'s headers are too large"}'
)


def bounded(head_bytes: int, seconds: float) -> type[HttpToolsProtocol]:
    """A protocol that lets go of a client whose request line and headers have more than
    `head_bytes` bytes, or are not there `seconds` after it connected, after their first byte, or
    (what is left of a body that was refused) after the answer."""

    class Bounded(HttpToolsProtocol):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            self._head_left = head_bytes
            self._is_in_head = True
            self._deadline: TimerHandle | None = None

        def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            self._head_left -= len(data)
            super().data_received(data)
            # A piece with the end of the head in it is forgiven: the gate counts what it holds.
            if self._has_too_much() and not self.transport.is_closing():
                self.transport.write(_REFUSED % (len(_TOLD), _TOLD))
                self.transport.close()

        def _has_too_much(self) -> bool:
            return self._is_in_head and self._head_left < 0

        def handle_websocket_upgrade(self) -> None:
            self._stop_waiting()
            super().handle_websocket_upgrade()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._is_in_head, self._head_left = True, head_bytes
            self._wait()

        def on_headers_complete(self) -> None:
            self._is_in_head = False
            self._stop_waiting()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            super().on_message_complete()
            self._stop_waiting()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.cycle.more_body:
                self._wait()

        def _wait(self) -> None:
            self._stop_waiting()
            self._deadline = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

        def _stop_waiting(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return Bounded
