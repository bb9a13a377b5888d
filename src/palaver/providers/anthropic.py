"""Anthropic's Messages API, spoken natively.

One `AnthropicManager` is one model behind one address. It makes requests (`anthropic_request`),
reads answers (`anthropic_answer`) and leaves connections and clocks to the transport.
"""

from collections.abc import AsyncIterator, Sequence

from msgspec.structs import replace

from palaver.domain.errors import PalaverError, ProtocolViolation, StreamTruncated
from palaver.domain.messages import Block
from palaver.domain.values import Usage
from palaver.providers.anthropic_answer import AnthropicAnswer, ErrorEvent
from palaver.providers.anthropic_models import Generation
from palaver.providers.anthropic_request import RequestEncoder
from palaver.providers.base import Finished, ModelEvent, ModelInfo, ModelRequest
from palaver.providers.transport import EventSource, Transport
from palaver.settings import Clocks

VERSION = "2023-06-01"
_CLOCKS = Clocks()


class AnthropicManager:
    """A `Model` on the Messages API or on a server compatible with it."""

    def __init__(
        self,
        *,
        model: str,
        api_key: str,
        info: ModelInfo,
        base_url: str = "https://api.anthropic.com",
        clocks: Clocks = _CLOCKS,
        transport: Transport | None = None,
        betas: Sequence[str] = (),
    ) -> None:
        self._info = info
        self._provider = info.name.partition(":")[0] or "anthropic"
        self._url = f"{base_url.rstrip('/').removesuffix('/v1')}/v1/messages"
        self._headers = {
            "anthropic-version": VERSION,
            "content-type": "application/json",
            "x-api-key": api_key.strip(),
        }
        if named := ",".join(dict.fromkeys((*betas, *Generation.of(model).betas()))):
            self._headers["anthropic-beta"] = named
        self._clocks = clocks
        self._transport = transport or Transport()
        self._owns_transport = transport is None
        self._encoder = RequestEncoder(model=model, info=info, provider=self._provider)

    def __repr__(self) -> str:
        return f"AnthropicManager({self.name!r})"

    @property
    def name(self) -> str:
        """`provider:model`."""
        return self._info.name

    @property
    def info(self) -> ModelInfo:
        """What is known about the model."""
        return self._info

    def stream(self, request: ModelRequest) -> "AnthropicStream":
        """An attempt; nothing is sent before the first step of its iteration."""
        return AnthropicStream(self, request)

    async def aclose(self) -> None:
        """Close the connections, unless the transport belongs to somebody else."""
        if self._owns_transport:
            await self._transport.aclose()

    async def send(self, request: ModelRequest) -> EventSource:
        """The answer's events; the request leaves with the first step of their iteration."""
        body = await self._encoder.encode(request)
        return self._transport.open(
            self._url,
            headers=self._headers,
            body=body,
            clocks=self._clocks,
            provider=self._provider,
        )


class AnthropicStream:
    """One attempt on the Messages API: a `ModelStream`."""

    def __init__(self, manager: AnthropicManager, request: ModelRequest) -> None:
        self.request_id = ""
        """The provider's, known when the answer begins."""
        self._manager, self._request = manager, request
        self._source: EventSource | None = None
        self._answer = AnthropicAnswer()
        self._failure: PalaverError | None = None
        self._over = False

    def __aiter__(self) -> AsyncIterator[list[ModelEvent]]:
        return self

    async def __anext__(self) -> list[ModelEvent]:
        if self._failure is not None:
            self._over = True
            failure, self._failure = self._failure, None
            raise failure
        if self._over:
            raise StopAsyncIteration
        try:
            if self._source is None:
                self._source = await self._manager.send(self._request)
            while True:
                if events := await self._step(self._source):
                    return events
        except PalaverError:
            await self.aclose()
            raise

    def partial(self) -> tuple[Block, ...]:
        """What has come so far: text, signed thinking, complete calls."""
        return self._answer.partial()

    def usage(self) -> Usage | None:
        """What the provider has reported so far."""
        return self._answer.usage

    async def aclose(self) -> None:
        """End the attempt; its connection is closed unless the answer was complete."""
        self._over = True
        if self._source is not None:
            await self._source.aclose()

    async def _step(self, source: EventSource) -> list[ModelEvent]:
        answer = self._answer
        try:
            batch = await source.__anext__()
            events = answer.feed(batch)
        except StopAsyncIteration:
            events = self._at_end(source)
        except (ErrorEvent, ProtocolViolation) as failure:
            events = await self._failed(source, failure)
        self.request_id = source.request_id
        if answer.has_news:
            source.content_seen()
        if answer.finished is not None:
            source.end_seen()
            await self.aclose()
            events.append(self._finished(answer.finished))
        return events

    def _at_end(self, source: EventSource) -> list[ModelEvent]:
        if source.whole_body is not None and not self._over:
            return self._answer.whole(source.whole_body)
        raise StreamTruncated(
            "the answer ended before it was complete",
            status=source.status,
            request_id=source.request_id,
            in_stream=source.in_stream,
        )

    async def _failed(
        self, source: EventSource, said: ErrorEvent | ProtocolViolation
    ) -> list[ModelEvent]:
        """Whatever came before the failure is handed out first."""
        events = self._answer.taken()
        if self._answer.has_news:
            source.content_seen()
        failure = source.failure(said.data) if isinstance(said, ErrorEvent) else said
        failure.status, failure.request_id = source.status, source.request_id
        failure.in_stream = source.in_stream
        await source.aclose()
        if not events:
            raise failure
        self._failure = failure
        return events

    def _finished(self, finished: Finished) -> Finished:
        return replace(finished, request_id=self.request_id)
