"""One attempt on a chat model: reading with clocks, its end, and its closing.

The clocks are ours: LangChain's models have none by default, and pings of the provider, which keep
an SDK's read timeout from firing, never show up as chunks. An answer is over when the provider's
stop reason has come (and the usage, which follows it in chat completions); what is left of the
stream is drained for a moment, so that the connection can be used again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Protocol

from palaver.domain.errors import ConnectionFailed, ProviderTimeout, StreamTruncated
from palaver.domain.messages import Block
from palaver.domain.values import Usage
from palaver.providers.base import ModelEvent, ModelRequest
from palaver.providers.langchain.chunks import ChunkReader
from palaver.providers.langchain.failures import translated
from palaver.providers.langchain.recognise import Spoken, Wire
from palaver.settings import Clocks

_USAGE_S = 2.0
"""How long usage is waited for behind the stop reason."""
_DRAIN_S = 0.04
_CLOSE_S = 0.05


class Source(Protocol):
    """Where the chunks come from."""

    spoken: Spoken
    clocks: Clocks
    tells_its_end: bool
    """Whether a whole answer has a stop reason; set where it turns out to have one."""

    async def chunks(self, request: ModelRequest) -> AsyncIterator[Any]:
        """AIMessageChunks or AIMessages; an asynchronous generator. Raises PalaverError."""
        ...


class LangChainStream:
    """A `ModelStream`. Each chunk of LangChain's is a batch of its own."""

    def __init__(self, model: Source, request: ModelRequest) -> None:
        self.request_id = ""
        """Stays empty: LangChain does not hand it out with an answer."""
        self._model, self._request = model, request
        self._clocks = model.clocks
        self._reader = ChunkReader(model.spoken)
        self._chunks: Any = None
        self._guard: asyncio.Timeout | None = None
        self._deadline = 0.0
        self._content = self._finished = self._over = False

    def __aiter__(self) -> AsyncIterator[list[ModelEvent]]:
        return self

    async def __anext__(self) -> list[ModelEvent]:
        if self._finished and not self._over:
            await self._drain()
        if self._over:
            raise StopAsyncIteration
        try:
            if self._chunks is None:
                self._deadline = asyncio.get_running_loop().time() + self._clocks.first_token_s
                self._chunks = await self._model.chunks(self._request)
            while not (events := await self._step()):
                pass
        except BaseException as error:
            await self.aclose()
            if not isinstance(error, Exception):
                raise
            failure = translated(
                error, in_stream=self._content, provider=self._model.spoken.provider
            )
            if failure is error:
                raise
            raise failure from error
        return events

    def partial(self) -> tuple[Block, ...]:
        """What has come so far."""
        return self._reader.partial()

    def usage(self) -> Usage | None:
        """What was reported so far."""
        return self._reader.usage

    async def aclose(self) -> None:
        """Close LangChain's generator, and with it the connection."""
        self._over = True
        if self._guard is not None:
            # Somebody reads: the generator can only be closed from there, which follows at once.
            with contextlib.suppress(RuntimeError):
                self._guard.reschedule(asyncio.get_running_loop().time())
            return
        chunks, self._chunks = self._chunks, None
        if chunks is not None:
            # A callback or the SDK may fail at closing; there is nobody left to tell.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_CLOSE_S):
                    await chunks.aclose()

    async def _step(self) -> list[ModelEvent]:
        reader = self._reader
        try:
            message = await self._next()
        except StopAsyncIteration:
            self._check_end()
            return self._finish()
        now = asyncio.get_running_loop().time()
        if reader.feed(message):
            self._content = True
            self._deadline = now + self._clocks.idle_s
        if reader.reason and self._is_complete():
            return self._finish()
        if reader.reason:
            self._deadline = min(self._deadline, now + _USAGE_S)
        return reader.take()

    def _is_complete(self) -> bool:
        wire = self._model.spoken.wire
        if wire is Wire.PLAIN:
            return False  # some repeat the reason in every chunk
        return wire is not Wire.CHAT or self._reader.usage is not None

    async def _next(self) -> Any:
        guard = asyncio.timeout_at(self._deadline)
        try:
            async with guard:
                self._guard = guard
                return await anext(self._chunks)
        except StopAsyncIteration:
            raise
        except Exception:
            # An SDK may turn the cancellation by our clock into an error of its own.
            if not guard.expired():
                raise
            if self._over:
                raise ConnectionFailed("the attempt was closed") from None
            if not self._reader.reason:
                raise self._late() from None
            raise StopAsyncIteration from None
        finally:
            self._guard = None

    def _late(self) -> ProviderTimeout:
        if self._content:
            text = f"the provider sent nothing new for {self._clocks.idle_s:g} s"
            return ProviderTimeout(text, clock="idle", in_stream=True)
        text = f"the provider did not begin to answer within {self._clocks.first_token_s:g} s"
        return ProviderTimeout(text, clock="first_token")

    def _check_end(self) -> None:
        """An answer without a stop reason is cut, except where the provider never tells one."""
        reader, model = self._reader, self._model
        if reader.reason:
            model.tells_its_end = True
        elif model.tells_its_end or not reader.is_whole:
            raise StreamTruncated("the answer was cut off before its end", in_stream=self._content)

    def _finish(self) -> list[ModelEvent]:
        finished = self._reader.finish()
        self._finished = True
        return [*self._reader.take(), finished]

    async def _drain(self) -> None:
        chunks = self._chunks
        if chunks is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_DRAIN_S):
                    async for _ in chunks:
                        pass
        await self.aclose()
