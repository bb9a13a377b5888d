"""A turn as server-sent events."""

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from palaver import tool
from palaver.domain.stream import StreamEvent, TextDelta
from palaver.server.pieces import PIECE_EVENTS, Newest
from palaver.settings import Settings, StreamSettings
from palaver.streams.cursor import Batch
from palaver.testing import Call, Pause, Say, ScriptedModel, ToldClock
from tests.server.conftest import Served, Serving
from tests.server.streaming import Sent, Whole, blocks, sent


async def read(served: Served, turn: str, **more: Any) -> list[Sent]:
    """All that a stream sends."""
    async with served.http.get(f"/api/turns/{turn}/events", **more) as answer:
        assert answer.status == 200
        return [event async for event in sent(answer)]


async def test_a_turn_is_streamed(serving: Serving) -> None:
    """Saying something with `stream` answers with the turn's events, to the terminal one."""
    served = await serving(ScriptedModel(["Good day."]))
    conversation = await served.conversation()
    said = {"text": "hello", "stream": True}
    whole = Whole()
    async with served.http.post(f"/api/conversations/{conversation}/turns", json=said) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache, no-transform"
        assert answer.headers["location"].endswith("/events")
        first = [block async for block in blocks(answer)]
    assert first[0] == b"retry: 1000"
    assert first[1].startswith(b"id: 0:1\nevent: turn.started\ndata: {")
    async with served.http.get(answer.headers["location"]) as again:
        async for event in sent(again):
            whole.take(event)
    assert whole.is_done
    assert whole.text == "Good day."


async def test_a_reader_goes_on_where_it_was(serving: Serving) -> None:
    """`after` and `Last-Event-ID` take a number or an id, and what follows comes once, in order."""
    served = await serving(ScriptedModel(["Good day to you, too."]))
    turn = (await served.turn()).turn
    whole = await read(served, turn)
    for seen in range(1, len(whole)):
        place = whole[seen - 1].id
        assert await read(served, f"{turn}", params={"after": str(seen)}) == whole[seen:]
        assert await read(served, f"{turn}", params={"after": place}) == whole[seen:]
        assert await read(served, f"{turn}", headers={"last-event-id": place}) == whole[seen:]


async def test_who_saw_the_end_has_missed_nothing(serving: Serving) -> None:
    """Behind the terminal event there is nothing: the stream ends without a word."""
    served = await serving(ScriptedModel(["Good day."]))
    turn = (await served.turn()).turn
    whole = await read(served, turn)
    assert await read(served, turn, params={"after": whole[-1].id}) == []


@pytest.mark.parametrize(
    "query, status, code",
    [
        pytest.param("nonsense", 422, "invalid_input", id="no place"),
        pytest.param("-1", 422, "invalid_input", id="negative"),
    ],
)
async def test_a_place_that_is_none(serving: Serving, query: str, status: int, code: str) -> None:
    """What is no place is refused before anything is streamed."""
    served = await serving(ScriptedModel(["Good day."]))
    turn = (await served.turn()).turn
    async with served.http.get(f"/api/turns/{turn}/events?after={query}") as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (status, code)


async def test_turns_of_others_do_not_exist(serving: Serving) -> None:
    """A turn of another tenant is answered as one that never was."""
    served = await serving(ScriptedModel(["Good day."]))
    turn = (await served.turn(tenant="theirs")).turn
    mine, theirs = await served.key(), await served.key(tenant="theirs")
    for name, key, status in ((turn, mine, 404), ("turn_x", mine, 404), (turn, theirs, 200)):
        async with served.http.get(f"/api/turns/{name}/events", headers=key) as answer:
            assert answer.status == status


async def test_who_leaves_stops_nothing(serving: Serving) -> None:
    """A reader that goes away in the middle cancels nothing; it finds the whole when it is back."""
    go_on = asyncio.Event()
    served = await serving(ScriptedModel([[Say("Half"), Pause(until=go_on), Say(" and half.")]]))
    session = await served.turn()
    whole = Whole()
    async with served.http.get(f"/api/turns/{session.turn}/events") as answer:
        async for event in sent(answer):
            whole.take(event)
            if event.kind == "text.delta":
                break
    while len(served.server.streams):  # noqa: ASYNC110 - the server notices in its own time
        await asyncio.sleep(0.001)
    go_on.set()
    for event in await read(served, session.turn, params={"after": whole.cursor}):
        whole.take(event)
    assert (whole.is_done, whole.text) == (True, "Half and half.")


async def test_a_silent_stream_gives_signs_of_life(serving: Serving) -> None:
    """Where a turn has nothing to say, a comment says that the server is there."""
    clock, go_on = ToldClock(), asyncio.Event()
    served = await serving(ScriptedModel([[Pause(until=go_on), "Well."]]), clock=clock)
    session = await served.turn()
    async with served.http.get(f"/api/turns/{session.turn}/events") as answer:
        coming = blocks(answer)
        while not (await anext(coming)).startswith(b"id: 0:2"):
            pass
        for _ in range(3):
            await clock.advance(15)
            assert await anext(coming) == b": here"
        go_on.set()
        rest = [block async for block in coming]
    assert b"event: turn.completed" in rest[-1]


async def test_a_reader_that_takes_nothing_is_let_go(serving: Serving) -> None:
    """Its connection is ended after `send_s`; another reader of the same turn gets all of it."""
    clock, go_on = ToldClock(), asyncio.Event()
    much = [Say("x" * 1_000_000, piece=100_000)] * 8
    served = await serving(ScriptedModel([[*much, Pause(until=go_on), "!"]]), clock=clock)
    session = await served.turn()
    slow = _asking(served, session.turn)
    try:
        async with served.http.get(f"/api/turns/{session.turn}/events") as answer:
            whole = Whole()
            async for event in sent(answer):
                whole.take(event)
                if len(whole.events) == 82:
                    break  # the other one's connection is full
            assert len(served.server.streams) == 2
            await clock.advance(20)
            while len(served.server.streams) > 1:  # noqa: ASYNC110 - it ends in its own time
                await asyncio.sleep(0.001)
            go_on.set()
            async for event in sent(answer):
                whole.take(event)
        assert (whole.is_done, len(whole.text)) == (True, 8_000_001)
        assert await _is_cut(slow)
    finally:
        slow.close()


def _asking(served: Served, turn: str) -> socket.socket:
    """A client that asks and does not listen."""
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, _, port = served.address.removeprefix("http://").partition(":")
    slow.connect((host, int(port)))
    slow.sendall(f"GET /api/turns/{turn}/events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    slow.setblocking(False)
    return slow


async def _is_cut(slow: socket.socket) -> bool:
    """Whether the connection ends before the stream did."""
    loop, came = asyncio.get_running_loop(), b""
    try:
        while more := await loop.sock_recv(slow, 1 << 20):
            came = (came + more)[-100:]
    except ConnectionResetError:
        return True
    return not came.endswith(b"0\r\n\r\n")


async def test_more_readers_than_a_caller_may_have(serving: Serving) -> None:
    """The next one is refused before anything is streamed, and finds room when one has gone."""
    never = asyncio.Event()
    served = await serving(ScriptedModel([[Pause(until=never)]]), streams_per_caller=1)
    session = await served.turn()
    place = f"/api/turns/{session.turn}/events"
    async with served.http.get(place) as first:
        assert first.status == 200
        async with served.http.get(place) as second:
            assert (second.status, second.headers["retry-after"]) == (429, "1")
            assert second.content_type == "application/problem+json"
            assert (await second.json(content_type=None))["code"] == "quota_exceeded"
    while len(served.server.streams):  # noqa: ASYNC110 - the server notices in its own time
        await asyncio.sleep(0.001)
    async with served.http.get(place) as third:
        assert third.status == 200


async def test_more_readers_than_the_server_takes(serving: Serving) -> None:
    """Whoever comes last is told to come again, whosesoever the others are."""
    never = asyncio.Event()
    served = await serving(ScriptedModel([[Pause(until=never)], [Pause(until=never)]]), streams=1)
    mine, theirs = await served.turn(), await served.turn(tenant="theirs")
    key, other = await served.key(), await served.key(tenant="theirs")
    async with served.http.get(f"/api/turns/{mine.turn}/events", headers=key) as first:
        assert first.status == 200
        place = f"/api/turns/{theirs.turn}/events"
        async with served.http.get(place, headers=other) as second:
            assert (second.status, second.headers["retry-after"]) == (503, "1")


async def test_a_revoked_key_reads_no_further(serving: Serving) -> None:
    """A stream that began under a key ends, without a terminal event, soon after the key does."""
    clock, never = ToldClock(), asyncio.Event()
    served = await serving(ScriptedModel([[Pause(until=never)]]), clock=clock)
    session, key = await served.turn(), await served.key()
    async with served.http.get(f"/api/turns/{session.turn}/events", headers=key) as answer:
        (made,) = await served.server.access.keys()
        await served.server.authenticator.keys.revoke(made.id)
        await clock.advance(20)
        assert [event.kind async for event in sent(answer)] == ["turn.started", "attempt.started"]


async def test_nobody_streams_to_head(serving: Serving) -> None:
    """HEAD is answered at once."""
    never = asyncio.Event()
    served = await serving(ScriptedModel([[Pause(until=never)]]))
    session = await served.turn()
    async with served.http.head(f"/api/turns/{session.turn}/events") as answer:
        assert answer.status == 405


# Where the events are gone.

PRUNING = Settings(stream=StreamSettings(keep_turns=1, keep_sessions=0))


async def test_a_pruned_turn_is_told_as_it_stands(serving: Serving) -> None:
    """Instead of events that are gone: the turn's messages, then how it ended."""
    served = await serving(ScriptedModel(["one", "two", "three"]), settings=PRUNING)
    async with served.server.tenants.use("local") as manager:
        conversation = await manager.create()
        turns = []
        for number in range(3):
            session = await conversation.start(f"question {number}")
            await session.ended()
            turns.append(session.turn)
    gap, end = await read(served, turns[0], params={"after": "0:3"})
    assert (gap.kind, gap.id) == ("resume_gap", "")
    assert gap.value["turn"]["outcome"] == "completed"
    assert gap.value["error"]["code"] == "resume_gap"
    texts = [[block["text"] for block in m["content"]] for m in gap.value["messages"]]
    assert texts == [["question 0"], ["one"]]
    assert (end.kind, end.id, end.value["turn"]) == ("turn.completed", "", turns[0])


async def test_an_unknown_epoch_begins_again(serving: Serving) -> None:
    """Who saw what nobody knows, as of a restored file, is told of an open turn from its first
    event on."""
    go_on = asyncio.Event()
    served = await serving(ScriptedModel([[Say("Half"), Pause(until=go_on), Say(" and half.")]]))
    session = await served.turn()
    place = f"/api/turns/{session.turn}/events"
    async with served.http.get(place, params={"after": "7:3"}) as answer:
        coming = sent(answer)
        gap = await anext(coming)
        assert (gap.kind, gap.value["turn"]["open"]) == ("resume_gap", True)
        assert [m["role"] for m in gap.value["messages"]] == ["user"]
        go_on.set()
        whole = Whole()
        async for event in coming:
            whole.take(event)
    assert (min(whole.events), whole.is_done, whole.text) == (1, True, "Half and half.")


# Turns that wait for somebody.


@tool(effect="effect")
def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


async def test_a_held_turn_goes_on_in_the_same_stream(serving: Serving) -> None:
    """A reader of a turn that waits for a decision stays, and gets the rest when it is decided."""
    model = ScriptedModel([["I pay.", Call("pay", {"amount": 7})], "Done."])
    served = await serving(model, tools=[pay])
    session = await served.turn()
    whole = Whole()
    async with served.http.get(f"/api/turns/{session.turn}/events") as answer:
        async for event in sent(answer):
            whole.take(event)
            if event.kind == "turn.suspended":
                async with served.server.tenants.use("local") as manager:
                    conversation = await manager.open(session.conversation)
                    await conversation.decide(event.value["calls"][0]["id"], approve=True)
    assert (whole.is_done, whole.text) == (True, "I pay.Done.")


def test_what_comes_together_is_encoded_once() -> None:
    """A hundred readers of one turn share what is written; a long batch is written in pieces."""
    asked: list[tuple[int, int]] = []

    def encode(first: int, events: Sequence[StreamEvent], epoch: int) -> bytes:
        asked.append((first, len(events)))
        return b"%d" % first

    newest = Newest(encode)
    batch = Batch(5, [TextDelta("a"), TextDelta("b")], 0)
    assert {piece for _ in range(100) for piece in newest.pieces(batch)} == {b"5"}
    assert asked == [(5, 2)]
    long = Batch(7, [TextDelta("a")] * (2 * PIECE_EVENTS + 1), 0)
    assert len(list(newest.pieces(long))) == 3
    assert asked[1:] == [(7, PIECE_EVENTS), (7 + PIECE_EVENTS, PIECE_EVENTS), (519, 1)]
