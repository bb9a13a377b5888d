"""A turn's events over HTTP, each once, whatever happens to connections and servers on the way."""

from collections.abc import AsyncIterator
from typing import NamedTuple

import aiohttp
import msgspec

from palaver.client.transport import RemoteError, Transport, error_of, why
from palaver.domain.errors import ConnectionFailed, PalaverError, StoreError
from palaver.domain.stream import TERMINAL, StreamEvent
from palaver.streams.cursor import After, Cursor
from palaver.streams.session import Numbered, ResumeGap

PATIENCE = 10
"""Tries in a row that bring nothing, about a minute, before a stream is given up."""
SILENCE_S = 60.0
"""The server gives a sign of life every 15 seconds."""
_decoder: msgspec.json.Decoder[StreamEvent] = msgspec.json.Decoder(StreamEvent)


class Replaced(msgspec.Struct, frozen=True):
    """Another server goes on with the turn: what was shown from event `number` on does not count,
    and what follows takes its place."""

    number: int


class Line(NamedTuple):
    """One event as it was sent."""

    id: str
    name: str
    data: bytes


async def lines(content: aiohttp.StreamReader) -> AsyncIterator[Line]:
    """The server-sent events of a body, without its signs of life."""
    id, name, data = "", "", list[bytes]()
    async for raw in _whole(content):
        line = raw.rstrip(b"\r")
        if not line:
            if data:
                yield Line(id, name, b"\n".join(data))
            id, name, data = "", "", []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"id":
            id = value.decode()
        elif field == b"event":
            name = value.decode()


async def _whole(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length; the reader's own refuse the event of a long message."""
    parts: list[bytes] = []
    async for piece in content.iter_any():
        *ends, rest = piece.split(b"\n")
        for end in ends:
            yield b"".join((*parts, end))
            parts.clear()
        parts.append(rest)


async def follow(
    transport: Transport, turn: str, *, after: After = 0
) -> AsyncIterator[Numbered | Replaced]:
    """The events of a turn behind `after`, to its terminal one.

    Raises NotFound, ResumeGap when they are no longer kept, and ConnectionFailed when the server
    is away for about a minute.
    """
    at = Cursor.of(after)
    fruitless = 0
    while True:
        try:
            async for numbered in _connected(transport, turn, at):
                fruitless = 0
                if at.number >= numbered.number:
                    yield Replaced(numbered.number)
                at = Cursor(numbered.number, numbered.epoch)
                yield numbered
                if isinstance(numbered.event, TERMINAL):
                    return
            failure: PalaverError = ConnectionFailed("the server closed the stream")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            failure = ConnectionFailed(f"the stream broke: {why(error)}")
        except (RemoteError, StoreError) as error:
            if isinstance(error, RemoteError) and error.status not in (429, 502, 503, 504):
                raise
            failure = error
        fruitless += 1
        if fruitless > PATIENCE:
            raise failure
        await transport.pause(fruitless)


async def _connected(transport: Transport, turn: str, at: Cursor) -> AsyncIterator[Numbered]:
    async with transport.session.get(
        transport.url(f"/turns/{turn}/events"),
        headers={"last-event-id": str(at)} if at.number else {},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=SILENCE_S),
    ) as response:
        if response.status != 200:
            raise error_of(response.status, await response.read())
        async for line in lines(response.content):
            if line.name == "resume_gap":
                raise ResumeGap(
                    f"the events behind {at} of turn {turn} are no longer kept",
                    hint="Read the conversation's messages; the answer is among them.",
                )
            if not line.id:
                continue
            place = Cursor.of(line.id)
            try:
                event = _decoder.decode(line.data)
            except msgspec.ValidationError:
                continue  # of a newer server; its number is made up by the next one
            yield Numbered(place.number, event, place.epoch or 0)
