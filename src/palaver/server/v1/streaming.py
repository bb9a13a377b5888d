"""Server-sent events as OpenAI's clients read them: data alone, and an error in place of silence.

Their readers take a stream that just ends for a whole answer, so one that the server has to close
ends with an error; and one that fails before anything was said is an error with a status, as long
as the client has not been waiting for so long that a proxy might give up.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Self, TypeVar, cast

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

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
        chunks: "Begun",
        *,
        closed: bytes,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(caller, cast("AsyncGenerator[bytes, None]", chunks), headers=headers)
        self._closed = closed

    def _last_word(self) -> bytes:
        return self._closed

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


async def begun(chunks: AsyncGenerator[bytes, None], seconds: float) -> "Begun":
    """`chunks`, of which the first is there already unless it takes longer than `seconds`.

    Raises TurnEnded where the first thing that comes is the end; then `chunks` is closed.
    """
    made = Begun(chunks)
    try:
        await made.wait(seconds)
    except BaseException:
        await made.aclose()
        raise
    return made


class Begun:
    """Chunks of which the first is on its way. What fails later is told within the stream.

    No generator: one that is closed before its first step does not run its `finally`.
    """

    def __init__(self, chunks: AsyncGenerator[bytes, None]) -> None:
        self._chunks = chunks
        self._first: asyncio.Future[bytes] | None = asyncio.ensure_future(_next(chunks))

    async def wait(self, seconds: float) -> None:
        """Return when the first chunk is there, or after `seconds`. Raises what it raises."""
        if self._first is not None:
            await asyncio.wait((self._first,), timeout=seconds)
            if self._first.done():
                self._first.result()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            if self._first is None:
                return await _next(self._chunks)
            chunk = await self._first
            self._first = None
            return chunk
        except TurnEnded as ended:
            return await self._ended(ended.info)
        except PalaverError as error:
            return await self._ended(error.info())
        except _Over:
            raise StopAsyncIteration from None

    async def _ended(self, info: ErrorInfo) -> bytes:
        await self.aclose()
        return error_chunk(info)

    async def aclose(self) -> None:
        """Let go of them."""
        if self._first is not None:
            self._first.cancel()
            await asyncio.gather(self._first, return_exceptions=True)
            self._first = None
        await self._chunks.aclose()


class _Over(Exception):
    """The end, as a future can hold it."""


async def _next(chunks: AsyncGenerator[bytes, None]) -> bytes:
    try:
        return await anext(chunks)
    except StopAsyncIteration:
        raise _Over from None


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
