"""Clients whose connections break: whatever they lose, they come to the same whole."""

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from palaver import tool
from palaver.domain.messages import Role
from palaver.providers.base import ModelRequest
from palaver.server.ws import PROTOCOL
from palaver.streams.session import StreamSession
from palaver.testing import Call, Line, Say, ScriptedModel, Think
from tests.server.conftest import Served, Serving
from tests.server.streaming import Whole, framed, sent


@tool(effect="read")
def weigh(what: str) -> str:
    """Weigh something."""
    return f"{what}: 3 kg"


def speak(request: ModelRequest) -> list[Line]:
    """A thought, a sentence and two calls; then, with their results, an answer."""
    if request.messages[-1].role is not Role.USER:
        return [Say("Together they are six kilograms — “not much”.", piece=5)]
    return [
        Think("Two things are to be weighed.", piece=10),
        Say("I weigh both.", piece=4),
        Call("weigh", {"what": "the cat"}, piece=6),
        Call("weigh", {"what": "the hat"}, piece=6),
    ]


def speaker() -> ScriptedModel:
    """Answers anybody."""
    model = ScriptedModel(piece=5)
    model.when("", speak)
    return model


async def over_sse(served: Served, turn: str, whole: Whole, *, drop: Callable[[], int]) -> None:
    """Read on until the connection is dropped, `drop()` events later."""
    place, left = f"/api/turns/{turn}/events", drop()
    async with served.http.get(place, headers=_from(whole)) as answer:
        async for event in sent(answer):
            whole.take(event)
            left -= 1
            if not left:
                answer.close()
                return


async def within_bytes(served: Served, turn: str, whole: Whole, *, drop: Callable[[], int]) -> None:
    """The same; the connection breaks `drop()` bytes later, wherever that is."""
    place = f"/api/turns/{turn}/events"
    async with served.http.get(place, headers=_from(whole)) as answer:
        async for event in sent(answer, limit=drop()):
            whole.take(event)
        answer.close()


def _from(whole: Whole) -> dict[str, str]:
    return {"last-event-id": whole.cursor} if whole.cursor else {}


async def over_ws(served: Served, turn: str, whole: Whole, *, drop: Callable[[], int]) -> None:
    """The same over a socket."""
    address, left = served.address.replace("http", "ws") + "/api/ws", drop()
    options: dict[str, Any] = {"proxy": None, "open_timeout": 60, "ping_interval": None}
    async with connect(address, subprotocols=[PROTOCOL], **options) as socket:  # type: ignore[list-item]
        after = whole.cursor or "0"
        await socket.send(f'{{"id":"1","type":"subscribe","turn":"{turn}","after":"{after}"}}')
        try:
            async for frame in socket:
                assert isinstance(frame, str)
                if (event := framed(frame)) is None:
                    continue
                whole.take(event)
                left -= 1
                if whole.is_done or not left:
                    socket.transport.abort()
                    return
        except ConnectionClosed:
            return


async def whole_of(served: Served, session: StreamSession) -> bytes:
    """A turn as an undisturbed reader has it."""
    whole = Whole()
    await over_sse(served, session.turn, whole, drop=lambda: 0)
    assert whole.is_done
    return whole.bytes


@pytest.mark.parametrize("read", [over_sse, over_ws], ids=["sse", "ws"])
async def test_a_drop_at_every_event(serving: Serving, read: Callable[..., object]) -> None:
    """A client of a turn with tools that is dropped once, behind each event in turn while the turn
    runs, and one that is dropped behind every single event, have the whole, byte for byte."""
    served = await serving(speaker(), tools=[weigh])
    first = await served.turn()
    events = len((await whole_of(served, first)).split(b"\n"))
    assert events > 30

    async def dropped(at: int, again: int) -> None:
        session, whole, drops = await served.turn(), Whole(), iter([at])
        while not whole.is_done:
            await read(served, session.turn, whole, drop=lambda: next(drops, again))  # type: ignore[misc]
        assert whole.bytes == await whole_of(served, session)

    await dropped(1, 1)
    for at in range(1, events):
        await dropped(at, 0)


@pytest.mark.long
async def test_ten_thousand_drops(serving: Serving) -> None:
    """At 10,000 places by chance, of streams in the middle of a byte sequence, of sockets between
    frames: every client comes to the same whole."""
    chance = random.Random(7)
    served = await serving(speaker(), tools=[weigh])
    drops = 0

    async def client(number: int) -> None:
        nonlocal drops
        while drops < 10_000:
            session, whole = await served.turn(), Whole()
            read, most = ((within_bytes, 1500), (over_ws, 12))[number % 2]
            drop = partial(chance.randint, 1, most)
            while not whole.is_done:
                await read(served, session.turn, whole, drop=drop)
                drops += 1
            assert whole.bytes == await whole_of(served, session)

    async with asyncio.TaskGroup() as clients:
        for number in range(8):
            clients.create_task(client(number))
