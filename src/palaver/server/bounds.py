"""The body of a request, counted while it comes, and only as long as it may take.

What a client says of its length is not believed; a compressed body is refused by the gate, so that
nothing here ever grows. How deep JSON may be is looked at where it is read (`json_form`).
"""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.types import Receive

from palaver.domain.errors import PalaverError

PIECE_BYTES = 10 * 1024 * 1024
"""For each of it a body gets the whole time once more."""


class BodyTooLarge(PalaverError):
    """The request's body is larger than the server takes."""

    code = "body_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is larger than {limit} bytes")


class ReceiveTimeout(PalaverError):
    """The request's body did not come in time."""

    code = "receive_timeout"


class BoundedBody:
    """`receive` of a request, in place of the one that the server gave.

    The whole body has `seconds`, and as many again for each 10 MiB that have come. Raises
    BodyTooLarge and ReceiveTimeout; what waits for the end of the connection behind the body is
    not bounded.
    """

    def __init__(self, receive: Receive, *, limit: int, seconds: float) -> None:
        self._receive, self._limit, self._seconds = receive, limit, seconds
        self._taken = 0
        self._until: float | None = None
        self._is_whole = False

    async def __call__(self) -> MutableMapping[str, Any]:
        """The next message."""
        if self._is_whole:
            return await self._receive()
        message = await self._in_time()
        if message["type"] == "http.request":
            before = self._taken // PIECE_BYTES
            self._taken += len(message.get("body", b""))
            self._is_whole = not message.get("more_body", False)
            assert self._until is not None
            self._until += self._seconds * (self._taken // PIECE_BYTES - before)
            if self._taken > self._limit:
                raise BodyTooLarge(self._limit)
        return message

    async def _in_time(self) -> MutableMapping[str, Any]:
        loop = asyncio.get_running_loop()
        if self._until is None:
            self._until = loop.time() + self._seconds
        try:
            async with asyncio.timeout_at(self._until):
                return await self._receive()
        except TimeoutError:
            raise ReceiveTimeout("the request's body did not come in time") from None
