import asyncio
import time

import msgspec
import pytest

from bench.pacing import APIS, MAX_DELTAS, Pacer, delays_ns


class Transport(asyncio.Transport):
    """Keeps what is written, and tells when the body has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)
        if self.written.endswith(b"\r\n0\r\n\r\n"):
            self.ended.set()

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize("api", APIS)
async def test_streams_are_stamped_and_complete(api: str) -> None:
    """Every stream gets its deltas, each with the time of its own sending, and an end."""
    pacer, streams = Pacer(), [Transport(), Transport()]
    before = time.monotonic_ns()
    for stream in streams:
        pacer.add(api, stream, 3, 1, head=b"")
    async with asyncio.timeout(60):
        for stream in streams:
            await stream.ended.wait()
    after = time.monotonic_ns()
    for stream in streams:
        delays = delays_ns("".join(_texts(stream.written)), after)
        assert len(delays) == 3
        assert delays == sorted(delays, reverse=True)
        assert 0 < delays[-1] <= delays[0] < after - before


async def test_bounds_are_kept() -> None:
    """More than the provider is made for is refused before anything is sent."""
    stream = Transport()
    with pytest.raises(ValueError, match="more than"):
        Pacer().add("anthropic", stream, MAX_DELTAS + 1, 20, head=b"head")
    with pytest.raises(ValueError, match="not stamped"):
        Pacer().add("responses", stream, 1, 20, head=b"head")
    assert not stream.written


def _texts(body: bytes) -> list[str]:
    found = []
    for line in body.split(b"\n"):
        if line.startswith(b"data: {"):
            event = msgspec.json.decode(line[6:])
            if event.get("type") == "content_block_delta":
                found.append(event["delta"]["text"])
            found += [c["delta"].get("content") or "" for c in event.get("choices", ())]
    return found
