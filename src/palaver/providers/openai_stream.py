"""One attempt at one of OpenAI's APIs: the request, the reading, and what is left of a break."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

from palaver.domain.errors import ConnectionFailed, InvalidRequest, ProviderError
from palaver.domain.messages import Block
from palaver.domain.values import Usage
from palaver.providers.base import ModelEvent, ModelRequest
from palaver.providers.fragments import Body
from palaver.providers.openai_answer import Assembler
from palaver.providers.openai_request import Refused
from palaver.providers.sse import Sse
from palaver.providers.transport import EventSource


class Bodies(Protocol):
    """Writes requests."""

    async def body(self, request: ModelRequest) -> Body:
        """The request as JSON."""
        ...


class OpenAIStream:
    """Read once. A server that refuses an option of ours is asked again without it, once each."""

    def __init__(
        self,
        request: ModelRequest,
        *,
        bodies: Bodies,
        open: Callable[[Body], EventSource],
        assembler: Callable[["OpenAIStream"], Assembler],
        refused: Refused,
        provider: str,
    ) -> None:
        self.request_id = ""
        self._request, self._bodies, self._open = request, bodies, open
        self._refused, self._provider = refused, provider
        self._source: EventSource | None = None
        self._assembler = assembler(self)
        self._failed: ProviderError | None = None
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[list[ModelEvent]]:
        """Batches of events, `Finished` last. Raises ProviderError."""
        try:
            batch = await self._first()
            while batch is not None:
                events, over = self._taken(batch)
                if over:
                    await self._release()
                if events:
                    yield events
                if self._failed is not None:
                    raise self._failed
                if over:
                    return
                batch = await anext(self._reading(), None)
            self._close()
            yield self._assembler.take()
        finally:
            await self.aclose()

    def partial(self) -> tuple[Block, ...]:
        """What has come so far: text, finished reasoning, complete calls."""
        return self._assembler.partial()

    def usage(self) -> Usage | None:
        """What the provider has reported so far."""
        return self._assembler.usage

    def failure(self, body: bytes) -> ProviderError:
        """The typed error for an error object that came within the stream."""
        return self._reading().failure(body)

    async def aclose(self) -> None:
        """The connection is closed, or given back when the answer was complete."""
        self._closed = True
        if self._source is not None:
            await self._source.aclose()

    async def _first(self) -> list[Sse] | None:
        """The first batch, or None where the answer is one JSON document."""
        while True:
            body = await self._bodies.body(self._request)
            if self._closed:
                raise ConnectionFailed("the attempt was closed", provider=self._provider)
            self._source = self._open(body)
            try:
                batch = await anext(self._source, None)
            except InvalidRequest as refusal:
                self.request_id = self._source.request_id
                if refusal.in_stream or not self._refused.learn(refusal.message):
                    raise
                await self._source.aclose()
            else:
                self.request_id = self._source.request_id
                return batch

    def _reading(self) -> EventSource:
        assert self._source is not None, "nothing was sent yet"
        return self._source

    def _taken(self, batch: list[Sse]) -> tuple[list[ModelEvent], bool]:
        """The events of one read, and whether the answer is complete.

        What came before an error is shown, then the error is raised.
        """
        source, assembler, went_on = self._reading(), self._assembler, False
        try:
            for event in batch:
                if event.event == b"error":
                    raise source.failure(event.data)
                if assembler.feed(event.data) and not went_on:
                    went_on = True
                    source.content_seen()
                if assembler.ended:
                    break
        except ProviderError as error:
            self._failed = self._located(error)
        return assembler.take(), assembler.ended

    def _close(self) -> None:
        source = self._reading()
        try:
            if source.whole_body is not None:
                self._assembler.document(source.whole_body)
            else:
                self._assembler.close()
        except ProviderError as error:
            raise self._located(error) from None

    async def _release(self) -> None:
        source = self._reading()
        source.end_seen()
        await source.aclose()

    def _located(self, error: ProviderError) -> ProviderError:
        source = self._reading()
        error.provider = error.provider or self._provider
        error.request_id = error.request_id or source.request_id
        error.status = error.status or source.status
        error.in_stream = error.in_stream or source.in_stream
        return error


def headers(*, api_key: str, azure: bool, organization: str, project: str) -> Mapping[str, str]:
    """What every request carries. Servers without keys get none."""
    found = {"content-type": "application/json", "accept": "text/event-stream"}
    if api_key:
        name, value = ("api-key", api_key) if azure else ("authorization", f"Bearer {api_key}")
        found[name] = value
    if organization:
        found["openai-organization"] = organization
    if project:
        found["openai-project"] = project
    return found
