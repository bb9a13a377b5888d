"""Readers of turns as clients are: what they were sent, and where they go on."""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import aiohttp
import msgspec


class Sent(NamedTuple):
    """One server-sent event."""

    id: str
    kind: str
    data: bytes

    @property
    def value(self) -> Any:
        """The data."""
        return msgspec.json.decode(self.data)


TERMINAL = ("turn.completed", "turn.failed", "turn.cancelled", "turn.interrupted")


async def sent(answer: aiohttp.ClientResponse, *, limit: int | None = None) -> AsyncIterator[Sent]:
    """The events of a stream as they come, to its end; or those that are complete within the first
    `limit` bytes."""
    async for block in blocks(answer, limit=limit):
        if block.startswith((b":", b"retry:")):
            continue
        fields = dict(line.split(b": ", 1) for line in block.split(b"\n"))
        assert fields.keys() <= {b"id", b"event", b"data"}
        yield Sent(fields.get(b"id", b"").decode(), fields[b"event"].decode(), fields[b"data"])


async def blocks(
    answer: aiohttp.ClientResponse, *, limit: int | None = None
) -> AsyncIterator[bytes]:
    """The same with signs of life and the rest."""
    left = b""
    async for more in answer.content.iter_any():
        allowed = more if limit is None else more[:limit]
        *whole, left = (left + allowed).split(b"\n\n")
        for block in whole:
            yield block
        if limit is not None:
            limit -= len(allowed)
            if not limit:
                return


def framed(frame: str) -> Sent | None:
    """A numbered event of a socket's frame as a stream would send it; None for other frames."""
    head, found, data = frame.removesuffix("}").partition(',"data":')
    value = msgspec.json.decode(head + "}") if found else {}
    return Sent(value["id"], value["type"], data.encode()) if "seq" in value else None


class Whole:
    """What a client has of a turn. An event with a higher epoch replaces what stood behind it."""

    def __init__(self) -> None:
        self.events: dict[int, tuple[str, bytes]] = {}
        self.cursor = ""
        self.is_done = False

    def take(self, event: Sent) -> None:
        """Add an event. Fails where one is missing, or comes twice."""
        if event.kind == "server.draining":
            return
        epoch, number = map(int, event.id.split(":"))
        if self.cursor:
            known, last = map(int, self.cursor.split(":"))
            assert epoch >= known
            assert number == last + 1 or (epoch > known and number <= last + 1)
        for replaced in [n for n in self.events if n >= number]:
            del self.events[replaced]
        self.events[number] = (event.kind, event.data)
        self.cursor = event.id
        self.is_done = event.kind in TERMINAL

    @property
    def text(self) -> str:
        """The answer: all text there is."""
        told = (data for kind, data in self.events.values() if kind == "text.delta")
        return "".join(msgspec.json.decode(data)["text"] for data in told)

    @property
    def bytes(self) -> bytes:
        """All of it."""
        lines = (b"%d %b %b" % (n, k.encode(), d) for n, (k, d) in sorted(self.events.items()))
        return b"\n".join(lines)
