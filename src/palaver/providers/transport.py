"""The way to a provider and back: one POST, its answer as batches of server-sent events.

The session is made at the first request, because aiohttp costs start-up time. Its own `trust_env`
is not used: it reads `~/.netrc` in a thread for every request and fails where an entry meets our
`Authorization` header. Redirects are not followed, because a key must not go to another host.
"""

import asyncio
import functools
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import msgspec

from palaver.domain.errors import (
    PalaverError,
    ProtocolViolation,
    ProviderError,
)
from palaver.providers import failures
from palaver.providers.fragments import Body
from palaver.providers.sse import MAX_EVENT_BYTES, Sse, SseParser
from palaver.providers.watch import Watch
from palaver.settings import Clocks

if TYPE_CHECKING:
    import aiohttp

ERROR_BYTES = 64 * 1024
"""What is read of a refusal."""
ERROR_S = 5.0
"""How long its body may take."""
LINGER_S = 0.04
"""How long a finished connection may take to end its body and so become reusable."""
_READ_BYTES = 256 * 1024
_STREAM_STARTS = (b"data:", b"event:", b":", b"id:", b"retry:", b"\xef\xbb\xbf")
_SECRET_HEADERS = frozenset(("authorization", "x-api-key", "api-key", "cookie"))


def environment_proxy(url: str) -> str | None:
    """The proxy that the environment (or the system) names for this address."""
    parts = urlsplit(url)
    if not parts.hostname or urllib.request.proxy_bypass(parts.hostname):
        return None
    return urllib.request.getproxies().get(parts.scheme)


class Transport:
    """Pooled connections to providers. Belongs to the event loop of its first request."""

    def __init__(self, *, proxy: Callable[[str], str | None] = environment_proxy) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._proxy = functools.lru_cache(maxsize=16)(proxy)
        self._lingering: dict[aiohttp.ClientResponse, asyncio.TimerHandle] = {}

    def open(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Body | None,
        clocks: Clocks,
        provider: str,
    ) -> "EventSource":
        """An attempt that sends its request at the first step of its iteration: a POST, or a GET
        where there is no body."""
        return EventSource(self, url, headers, body, clocks, provider)

    async def aclose(self) -> None:
        """Close every connection. A later request opens new ones."""
        for response, timer in list(self._lingering.items()):
            timer.cancel()
            response.close()
        self._lingering.clear()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(
        self, url: str, *, headers: Mapping[str, str], body: Body | None, connect_s: float
    ) -> "aiohttp.ClientResponse":
        """The answer up to its headers. Raises aiohttp's errors."""
        import aiohttp

        from palaver.providers import connections

        if self._session is None:
            self._session = connections.new_session(read_bufsize=_READ_BYTES)
        return await connections.send(
            self._session,
            url,
            body,
            # Compressed streams come in larger and later pieces.
            headers={"Accept-Encoding": "identity", **headers},
            allow_redirects=False,
            proxy=self._proxy(url),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=connect_s, sock_connect=connect_s, sock_read=None
            ),
        )

    def linger(self, response: "aiohttp.ClientResponse") -> None:
        """Let the body of a finished answer end by itself for a moment, then close it.

        aiohttp gives the connection back to the pool when the end comes; nobody waits for it.
        """

        def end() -> None:
            self._lingering.pop(response, None)
            response.close()

        loop = asyncio.get_running_loop()
        self._lingering[response] = loop.call_later(LINGER_S, end)


class EventSource:
    """One attempt: iterate over it to get batches of events, one batch for each read.

    The iteration ends with the body; whether that was the end of the *message* only the adapter
    can say. It raises ConnectionFailed, ProviderTimeout, StreamTruncated (broken after content),
    ProtocolViolation, or the typed error of a refusal.
    """

    def __init__(
        self,
        transport: Transport,
        url: str,
        headers: Mapping[str, str],
        body: Body | None,
        clocks: Clocks,
        provider: str,
    ) -> None:
        self.status = 0
        """HTTP status; 0 until the answer begins."""
        self.headers: Mapping[str, str] = {}
        """Of the answer, names in lower case."""
        self.request_id = ""
        self.whole_body: bytes | None = None
        """The body of an answer that is one JSON text although a stream was asked for."""
        self._transport, self._url, self._provider = transport, url, provider
        self._request: tuple[Mapping[str, str], Body | None] | None = (headers, body)
        self._hidden = _secrets(headers)
        self._clocks = clocks
        self._parser = SseParser()
        self._watch = Watch(clocks)
        self._response: aiohttp.ClientResponse | None = None
        self._opening: asyncio.Timeout | None = None
        self._ended = self._closed = False
        self._first = b""
        """What was read to see what the answer is."""

    @property
    def in_stream(self) -> bool:
        """Whether content has been seen."""
        return self._watch.content

    def content_seen(self) -> None:
        """The batch in hand held content: the idle clock starts anew."""
        self._watch.content_seen()

    def end_seen(self) -> None:
        """The message is complete: no clock runs any more, and `aclose` may keep the connection."""
        self._ended = True
        self._watch.stop()

    def failure(self, body: bytes) -> ProviderError:
        """The typed error for an error object (JSON) that came within the stream."""
        return failures.translate(
            self.status,
            self.headers,
            body,
            provider=self._provider,
            hidden=self._hidden,
            in_stream=self.in_stream,
        )

    def __aiter__(self) -> AsyncIterator[list[Sse]]:
        return self

    async def __anext__(self) -> list[Sse]:
        if self._response is None:
            if self._request is None or self._closed:
                raise StopAsyncIteration
            await self._open(*self._request)
            if self.whole_body is not None:
                raise StopAsyncIteration
            if self._first and (batch := self._parsed(self._first)):
                return batch
        assert self._response is not None
        content = self._response.content
        while True:
            try:
                chunk = await content.readany()
            except asyncio.CancelledError:
                self._abandon()
                raise
            except Exception as error:  # noqa: BLE001 - translated; unknown ones are raised as they are
                self._fail(error)
            if not chunk:
                return self._rest()
            if batch := self._parsed(chunk):
                return batch

    async def aclose(self) -> None:
        """Close the connection, or leave it to the pool when the message was complete."""
        self._watch.stop()
        self._closed = True
        if self._opening is not None:
            # Another task waits for the answer; its deadline is now.
            self._opening.reschedule(asyncio.get_running_loop().time())
        response, self._response, self._request = self._response, None, None
        if response is None or response.closed:
            return
        if self._ended:
            self._transport.linger(response)
        else:
            response.close()

    async def _open(self, headers: Mapping[str, str], body: Body | None) -> None:
        self._request = None
        try:
            async with asyncio.timeout(self._clocks.first_token_s) as self._opening:
                started = asyncio.get_running_loop().time()
                response = await self._transport.send(
                    self._url, headers=headers, body=body, connect_s=self._clocks.connect_s
                )
        except Exception as error:  # noqa: BLE001 - translated; unknown ones are raised as they are
            self._fail(error)
        finally:
            self._opening = None
        self._response = response
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self.request_id = failures.request_id(self.headers)
        try:
            await self._accept(response, started)
        except BaseException:
            self._abandon()
            raise

    async def _accept(self, response: "aiohttp.ClientResponse", started: float) -> None:
        if not 200 <= response.status < 300:
            raise await self._refusal(response)
        self._watch.start(response, started)
        if response.content_type in ("text/event-stream", "application/octet-stream", ""):
            return
        await self._unannounced(response)

    async def _refusal(self, response: "aiohttp.ClientResponse") -> ProviderError:
        import aiohttp

        pieces: list[bytes] = []
        try:
            async with asyncio.timeout(ERROR_S):
                while sum(map(len, pieces)) < ERROR_BYTES:
                    piece = await response.content.readany()
                    if not piece:
                        self._ended = True  # the connection may be used again
                        break
                    pieces.append(piece)
        except (TimeoutError, aiohttp.ClientError):
            pass  # the status says enough
        body = b"".join(pieces)[:ERROR_BYTES]
        return failures.translate(
            response.status, self.headers, body, provider=self._provider, hidden=self._hidden
        )

    async def _unannounced(self, response: "aiohttp.ClientResponse") -> None:
        """A 200 that does not say it is an event stream: it may still be one, or one JSON text."""
        start = b""
        while not start.strip():
            try:
                piece = await response.content.readany()
            except Exception as error:  # noqa: BLE001 - translated
                self._fail(error)
            if not piece:
                break
            start += piece
        if start.lstrip().startswith(_STREAM_STARTS):
            self._first = start
            return
        body = await self._whole(response, start)
        try:
            plain = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            text = failures.person_text(body[:4096].decode("utf-8", "replace"), hidden=self._hidden)
            raise self._violation(f"the answer is no event stream: {text}") from None
        if isinstance(plain, dict) and (plain.get("error") or plain.get("type") == "error"):
            raise self.failure(body)
        self.whole_body = body
        self.end_seen()

    async def _whole(self, response: "aiohttp.ClientResponse", start: bytes) -> bytes:
        pieces, size = [start], len(start)
        while True:
            try:
                piece = await response.content.readany()
            except Exception as error:  # noqa: BLE001 - translated
                self._fail(error)
            size += len(piece)
            if size > MAX_EVENT_BYTES:
                raise self._violation(f"the answer is larger than {MAX_EVENT_BYTES} bytes")
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)

    def _parsed(self, chunk: bytes) -> list[Sse]:
        try:
            return self._parser.feed(chunk)
        except ProtocolViolation as error:
            self._abandon()
            raise self._violation(error.message) from None

    def _rest(self) -> list[Sse]:
        self._watch.stop()
        rest = self._parser.finish()
        # A message that was cut in mid-event is no event.
        if rest and (rest[0].data.strip() == b"[DONE]" or _is_json(rest[0].data)):
            return rest
        raise StopAsyncIteration

    def _violation(self, message: str) -> ProtocolViolation:
        return ProtocolViolation(
            message,
            status=self.status,
            request_id=self.request_id,
            in_stream=self.in_stream,
            provider=self._provider,
        )

    def _abandon(self) -> None:
        self._watch.stop()
        if self._response is not None:
            self._response.close()

    def _fail(self, error: Exception) -> NoReturn:
        self._abandon()
        if isinstance(error, PalaverError):
            raise error
        from palaver.providers.network import translated as translate

        translated = translate(error, in_stream=self.in_stream, closed=self._closed)
        if translated is None:
            raise error
        if isinstance(translated, ProviderError):
            translated.provider, translated.request_id = self._provider, self.request_id
            translated.status = self.status
        raise translated from error


def _secrets(headers: Mapping[str, str]) -> tuple[str, ...]:
    found = (value for name, value in headers.items() if name.lower() in _SECRET_HEADERS)
    return tuple(value.removeprefix("Bearer ") for value in found)


def _is_json(data: bytes) -> bool:
    try:
        decoded: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return isinstance(decoded, dict)
