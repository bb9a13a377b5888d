"""Responses in background mode: OpenAI works on when the connection breaks, and keeps the events.

A broken stream is read on behind its last event, so nothing is said twice and calls under way go
on. Nobody else ends such an answer: who gives it up has to cancel it.
Source: https://platform.openai.com/docs/guides/background (streaming, cancelling).
"""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from palaver.domain.errors import PalaverError
from palaver.providers.base import ModelRequest
from palaver.providers.openai_request import Server
from palaver.providers.openai_responses import ResponsesAssembler
from palaver.providers.openai_stream import OpenAIStream
from palaver.providers.sse import Sse
from palaver.providers.transport import EventSource, Transport
from palaver.settings import Clocks

CANCEL_S = 5.0
"""How long the provider may take to hear that an answer is not wanted any more."""


class KeptResponses:
    """The responses that one account has under way."""

    def __init__(
        self,
        server: Server,
        transport: Transport,
        *,
        headers: Mapping[str, str],
        clocks: Clocks,
        provider: str,
    ) -> None:
        self._server, self._transport = server, transport
        self._headers, self._clocks, self._provider = headers, clocks, provider
        self._cancels: set[asyncio.Task[None]] = set()

    def read_on(self, response: str, after: int) -> EventSource:
        """The events of a response behind the one with this number."""
        url = self._url(response)
        mark = "&" if "?" in url else "?"
        return self._open(f"{url}{mark}stream=true&starting_after={after}", post=False)

    def cancel(self, response: str) -> None:
        """End a response, without waiting for it."""
        task = asyncio.create_task(self._cancel(response), name="cancel a response")
        self._cancels.add(task)
        task.add_done_callback(self._cancels.discard)

    async def aclose(self) -> None:
        """Wait until the provider has heard of all that is cancelled."""
        if self._cancels:
            await asyncio.wait(self._cancels, timeout=CANCEL_S)

    async def _cancel(self, response: str) -> None:
        source = self._open(self._url(response, "/cancel"), post=True)
        try:
            async with asyncio.timeout(CANCEL_S):
                async for _ in source:
                    pass
        except (PalaverError, TimeoutError):
            pass  # it ends by itself some time; nobody is to be told about that
        finally:
            await source.aclose()

    def _url(self, response: str, what: str = "") -> str:
        return self._server.url(f"/responses/{quote(response, safe='')}{what}")

    def _open(self, url: str, *, post: bool) -> EventSource:
        return self._transport.open(
            url,
            headers=self._headers,
            body=[] if post else None,
            clocks=self._clocks,
            provider=self._provider,
        )


class BackgroundStream(OpenAIStream):
    """A `ResumableStream`."""

    def __init__(
        self,
        request: ModelRequest,
        *,
        kept: KeptResponses,
        before: "BackgroundStream | None" = None,
        **options: Any,
    ) -> None:
        self._kept, self._options = kept, options
        super().__init__(request, **options)
        self._goes_on = before is not None
        if before is not None:
            self._assembler = before._assembler
            self._answer.heard_by(self.failure, lambda: self.request_id)

    @property
    def can_resume(self) -> bool:
        """Whether the provider has the answer that this stream was reading."""
        return bool(self._answer.native_id) and not self._answer.ended

    def resumed(self) -> "BackgroundStream":
        """The same answer from exactly where this stream broke."""
        return BackgroundStream(self._request, kept=self._kept, before=self, **self._options)

    def abandon(self) -> None:
        """Nobody will come back for the answer: the provider is told, without waiting."""
        if self.can_resume:
            self._kept.cancel(self._answer.native_id)

    @property
    def _answer(self) -> ResponsesAssembler:
        assert isinstance(self._assembler, ResponsesAssembler)
        return self._assembler

    async def _first(self) -> list[Sse] | None:
        if not self._goes_on:
            return await super()._first()
        self._source = self._kept.read_on(self._answer.native_id, self._answer.sequence)
        try:
            return await anext(self._source, None)
        finally:
            self.request_id = self._source.request_id
