"""Server-sent events as OpenAI's clients read them: data alone, and an error in place of silence.

Their readers take a stream that just ends for a whole answer, so one that the server has to close
ends with an error; and one that fails before anything was said is an error with a status, as long
as the client has not been waiting for so long that a proxy might give up.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

import msgspec
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from palaver.domain.errors import PalaverError
from palaver.domain.values import ErrorInfo
from palaver.server.core import Caller
from palaver.server.sse import EventStream
from palaver.server.v1.errors import OpenAIError, status_of_info, told

CLOSED = ErrorInfo(
    "stream_closed",
    "the server closed the stream before the answer was complete",
    "Ask again in a moment.",
)
T = TypeVar("T")


class TurnEnded(Exception):
    """The turn ended without an answer; `info` says why."""

    def __init__(self, info: ErrorInfo) -> None:
        super().__init__(info.message)
        self.info = info


def error_chunk(info: ErrorInfo) -> bytes:
    """An error within a stream of chat completions."""
    body = msgspec.json.encode(OpenAIError(told(info, status_of_info(info))))
    return b"data: %b\n\n" % body


class OpenAIStream(EventStream):
    """`EventStream` without a word of its own, but the last: `closed`, where the server has to end
    it."""

    def __init__(
        self,
        caller: Caller,
        chunks: AsyncGenerator[bytes, None],
        *,
        closed: bytes,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(caller, chunks, headers=headers)
        self._closed = closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `EventStream`."""

        async def sending(message: Message) -> None:
            if self._is_ending and not message.get("more_body", True):
                message = {**message, "body": self._closed}
            await send(message)

        await super().__call__(scope, receive, sending)

    async def _write(self) -> None:
        async for chunk in self._chunks:
            await self._put(chunk)


class StreamResponse(Response):
    """A stream as a route gives it back."""

    def __init__(self, stream: EventStream) -> None:
        super().__init__()
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `EventStream`."""
        await self._stream(scope, receive, send)


async def begun(chunks: AsyncGenerator[bytes, None], seconds: float) -> AsyncGenerator[bytes, None]:
    """`chunks`, of which the first is there already unless it takes longer than `seconds`.

    Raises TurnEnded where the first thing that comes is the end; then `chunks` is closed.
    """
    first = asyncio.ensure_future(anext(chunks, b""))
    try:
        await asyncio.wait((first,), timeout=seconds)
        if first.done():
            first.result()
    except BaseException:
        await _let_go(first, chunks)
        raise
    return _going_on(first, chunks)


async def _going_on(
    first: "asyncio.Future[bytes]", chunks: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    try:
        yield await first
        async for chunk in chunks:
            yield chunk
    except TurnEnded as ended:
        yield error_chunk(ended.info)
    except PalaverError as error:
        yield error_chunk(error.info())
    finally:
        await _let_go(first, chunks)


async def _let_go(first: "asyncio.Future[bytes]", chunks: AsyncGenerator[bytes, None]) -> None:
    first.cancel()
    await asyncio.wait((first,))
    await chunks.aclose()


async def unless_gone(work: "asyncio.Future[T]", receive: Receive) -> T | None:
    """What `work` gives; None where the client went away before, and `work` is cancelled then."""
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        for task in (work, gone):
            task.cancel()
        await asyncio.wait((work, gone))


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
