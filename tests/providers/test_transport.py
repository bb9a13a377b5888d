"""One request and its answer over real sockets, in virtual time: it moves when nothing else can
happen, so that what is said of milliseconds holds on a slow machine too."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from palaver.domain.errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    Overloaded,
    PalaverError,
    ProtocolViolation,
    ProviderError,
    ProviderTimeout,
    StreamTruncated,
)
from palaver.providers.sse import Sse
from palaver.providers.transport import EventSource, Transport
from palaver.settings import Clocks
from tests.providers.replay import Answer, serving

pytestmark = pytest.mark.looptime
SLOW = Clocks(connect_s=60.0)
QUICK = Clocks(connect_s=60.0, first_token_s=0.03, idle_s=0.03)
EVENT = b"data: {}\n\n"


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    made = Transport(proxy=lambda url: None)
    yield made
    await made.aclose()


def opened(
    transport: Transport, url: str, *, clocks: Clocks = SLOW, body: bytes = b"{}"
) -> EventSource:
    headers = {"x-api-key": "sk-secret-secret", "content-type": "application/json"}
    return transport.open(f"{url}/v1/x", headers=headers, body=[body], clocks=clocks, provider="p")


async def collected(source: EventSource, *, content: bool = True) -> list[Sse]:
    events: list[Sse] = []
    async for batch in source:
        events += batch
        if content:
            source.content_seen()
    return events


async def raised(source: EventSource, *, content: bool = True) -> PalaverError:
    with pytest.raises(PalaverError) as caught:
        await collected(source, content=content)
    await source.aclose()
    return caught.value


async def test_events_status_and_ids(transport: Transport) -> None:
    """The stream's events come with the answer's status, headers and request id."""
    answer = Answer(EVENT * 100)
    answer.headers |= {"X-Request-Id": "req_7"}
    async with serving(answer) as url:
        source = opened(transport, url)
        assert len(await collected(source)) == 100
        assert (source.status, source.request_id) == (200, "req_7")
        assert source.headers["x-request-id"] == "req_7"
    assert answer.seen[0][0]["x-api-key"] == "sk-secret-secret"
    assert answer.seen[0][1] == b"{}"


async def test_large_request(transport: Transport) -> None:
    """A request of several megabytes arrives whole."""
    answer = Answer(EVENT)
    body = bytes(range(256)) * 20_000
    async with serving(answer) as url:
        await collected(opened(transport, url, body=body))
    assert answer.seen[0][1] == body


async def test_connection_is_used_again(transport: Transport) -> None:
    """After a complete answer the same connection serves the next request."""
    answer = Answer(EVENT)
    async with serving(answer) as url:
        for _ in range(5):
            source = opened(transport, url)
            async for _ in source:
                source.end_seen()
                break
            await source.aclose()
            await asyncio.sleep(0.01)
    assert len(answer.peers) == 1


@pytest.mark.parametrize("complete", [False, True])
async def test_close_ends_the_provider_s_work(transport: Transport, complete: bool) -> None:
    """Closing reaches the server within 50 ms, also when the answer was complete and it lingers."""
    answer = Answer(EVENT)
    answer.hang = True
    async with serving(answer) as url:
        source = opened(transport, url)
        async for _ in source:
            break
        if complete:
            source.end_seen()
        loop = asyncio.get_running_loop()
        started = loop.time()
        await source.aclose()
        await source.aclose()
        assert loop.time() == started
        await answer.gone.wait()
        assert loop.time() - started < 0.05


async def test_close_while_another_task_waits(transport: Transport) -> None:
    """Closing wakes a reader, whether it waits for the answer's beginning or for more of it."""
    for before_s in (5.0, 0.0):
        answer = Answer(EVENT)
        answer.before_s, answer.hang = before_s, True
        async with serving(answer) as url:
            source = opened(transport, url)
            reader = asyncio.create_task(raised(source))
            await asyncio.sleep(0.03)
            await source.aclose()
            async with asyncio.timeout(0.2):
                assert isinstance(await reader, ProviderError)


async def test_first_token_clock(transport: Transport) -> None:
    """Neither silence nor pings count as an answer's beginning."""
    for before_s, pings in ((1.0, b""), (0.0, b": ping\n\n"), (0.0, b'data: {"type":"ping"}\n\n')):
        answer = Answer(b"")
        answer.before_s, answer.hang, answer.pings = before_s, True, pings
        async with serving(answer) as url:
            error = await raised(opened(transport, url, clocks=QUICK), content=False)
            assert isinstance(error, ProviderTimeout)
            assert (error.clock, error.in_stream) == ("first_token", False)


async def test_idle_clock(transport: Transport) -> None:
    """A stream that has begun and then only pings is given up after the idle time."""
    answer = Answer(EVENT)
    answer.hang, answer.pings = True, b": ping\n\n"
    async with serving(answer) as url:
        started = asyncio.get_running_loop().time()
        clocks = Clocks(connect_s=60.0, first_token_s=60, idle_s=0.04)
        error = await raised(opened(transport, url, clocks=clocks))
        assert isinstance(error, ProviderTimeout)
        assert (error.clock, error.in_stream) == ("idle", True)
        assert 0.04 <= asyncio.get_running_loop().time() - started < 0.05
        async with asyncio.timeout(0.2):
            await answer.gone.wait()


async def test_idle_clock_is_moved_by_content(transport: Transport) -> None:
    """Content that keeps coming is never timed out, however long the whole takes."""
    answer = Answer(EVENT)
    answer.hang, answer.pings = True, EVENT
    async with serving(answer) as url:
        source = opened(transport, url, clocks=QUICK)
        count = 0
        async for batch in source:
            source.content_seen()
            count += len(batch)
            if count > 20:
                break
        await source.aclose()


async def test_refusal_is_typed(transport: Transport) -> None:
    """A refused request raises the typed error; the key in its text is blacked out."""
    answer = Answer(b'{"error":{"message":"bad key sk-secret-secret"}}')
    answer.status, answer.headers = 401, {"content-type": "application/json", "request-id": "r1"}
    async with serving(answer) as url:
        error = await raised(opened(transport, url))
        assert isinstance(error, AuthenticationFailed)
        assert (error.status, error.request_id, error.provider) == (401, "r1", "p")
        assert "secret" not in str(error)


async def test_huge_refusal_is_not_read_to_its_end(transport: Transport) -> None:
    """Of a refusal only the beginning is read."""
    answer = Answer(b"x" * 3_000_000)
    answer.status, answer.headers = 529, {"content-type": "text/plain"}
    async with serving(answer) as url:
        assert isinstance(await raised(opened(transport, url)), Overloaded)


async def test_redirects_are_not_followed(transport: Transport) -> None:
    """A key never goes to the address that a redirect names."""
    answer = Answer(b"")
    async with serving(answer) as url:
        answer.status, answer.headers = 307, {"location": f"{url}/other"}
        assert isinstance(await raised(opened(transport, url)), ProtocolViolation)
    assert len(answer.seen) == 1


async def test_json_instead_of_a_stream(transport: Transport) -> None:
    """One JSON text is handed over whole; a JSON error is raised; a web page is a violation."""
    answer = Answer(b' {"id":"x"}')
    async with serving(answer) as url:
        answer.headers = {"content-type": "application/json"}
        source = opened(transport, url)
        assert await collected(source) == []
        assert source.whole_body == b' {"id":"x"}'
        await source.aclose()
        answer.body = b'{"error":{"type":"overloaded_error","message":"no"}}'
        assert isinstance(await raised(opened(transport, url)), Overloaded)
        answer.body = b"<html><head><title>Sign in to the network</title></head></html>"
        answer.headers = {"content-type": "text/html"}
        error = await raised(opened(transport, url))
        assert isinstance(error, ProtocolViolation)
        assert "Sign in" in str(error)


async def test_stream_under_another_name(transport: Transport) -> None:
    """An event stream that calls itself text is read as what it is."""
    answer = Answer(b"\n" + EVENT * 3)
    answer.headers = {"content-type": "text/plain"}
    async with serving(answer) as url:
        assert len(await collected(opened(transport, url))) == 3


@pytest.mark.parametrize("content, kind", [(False, ConnectionFailed), (True, StreamTruncated)])
async def test_reset(transport: Transport, content: bool, kind: type[ProviderError]) -> None:
    """A connection cut before content is a failed one, after content a truncated answer."""
    answer = Answer(EVENT)
    answer.reset = True
    async with serving(answer) as url:
        error = await raised(opened(transport, url), content=content)
        assert isinstance(error, ProviderError)
        assert type(error) is kind
        assert error.in_stream is content


async def test_nobody_there(transport: Transport) -> None:
    """Refused connections, unknown names and broken addresses are said apart."""
    error = await raised(opened(transport, "http://127.0.0.1:1"))
    assert isinstance(error, ConnectionFailed)
    assert error.can_retry
    error = await raised(opened(transport, "http://name.invalid"))
    assert isinstance(error, ConnectionFailed)
    assert "name.invalid" in str(error)
    assert isinstance(await raised(opened(transport, "http://")), ConfigurationError)


async def test_end_without_blank_line(transport: Transport) -> None:
    """A last event that is whole counts although its blank line is missing; a cut one does not."""
    answer = Answer(EVENT + b"data: [DONE]")
    async with serving(answer) as url:
        assert [event.data for event in await collected(opened(transport, url))] == [
            b"{}",
            b"[DONE]",
        ]
        answer.body = EVENT + b'data: {"a":'
        assert [event.data for event in await collected(opened(transport, url))] == [b"{}"]


async def test_key_that_is_no_header(transport: Transport) -> None:
    """A key with a line break is a matter of configuration; it is not quoted."""
    async with serving(Answer()) as url:
        source = transport.open(
            url, headers={"x-api-key": "a\nb"}, body=[b""], clocks=SLOW, provider="p"
        )
        error = await raised(source)
    assert isinstance(error, ConfigurationError)
    assert "a\n" not in str(error)


async def test_cancelled_reader(transport: Transport) -> None:
    """A cancelled reader leaves no connection open, before and within the answer."""
    for before_s in (5.0, 0.0):
        answer = Answer(EVENT)
        answer.before_s, answer.hang = before_s, True
        async with serving(answer) as url:
            reader = asyncio.create_task(collected(opened(transport, url)))
            await asyncio.sleep(0.03)
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
            if not before_s:
                async with asyncio.timeout(0.2):
                    await answer.gone.wait()
