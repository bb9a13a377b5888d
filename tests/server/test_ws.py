"""Many turns over one socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from palaver import tool
from palaver.settings import Settings, StreamSettings
from palaver.testing import Call, Pause, Say, ScriptedModel, ToldClock
from tests.server.conftest import Served, Serving
from tests.server.streaming import TERMINAL

PROTOCOL = "palaver.v1"


class Client:
    """A socket as a client has it: answers by their command, events by their turn."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.frames: list[dict[str, Any]] = []
        self._commands = 0

    async def ask(self, type: str, **given: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self._commands += 1
        id = f"c{self._commands}"
        await self.socket.send_json({"id": id, "type": type, **given})
        while True:
            frame = await self.frame()
            if frame.get("re") == id:
                return frame

    async def ok(self, type: str, **given: Any) -> Any:
        """The same for one that is carried out."""
        answer = await self.ask(type, **given)
        assert "ok" in answer, answer
        return answer["ok"]

    async def frame(self) -> dict[str, Any]:
        """The next frame."""
        frame: dict[str, Any] = await self.socket.receive_json()
        self.frames.append(frame)
        return frame

    async def until(self, type: str, turn: str = "") -> dict[str, Any]:
        """The next frame of this kind; it may have come already."""
        for frame in self.frames:
            if frame.get("type") == type and turn in ("", frame.get("turn")):
                return frame
        while True:
            frame = await self.frame()
            if frame.get("type") == type and turn in ("", frame.get("turn")):
                return frame

    def events(self, turn: str) -> list[tuple[int, str]]:
        """The numbered events of a turn that came."""
        return [(f["seq"], f["type"]) for f in self.frames if f.get("turn") == turn and "seq" in f]

    def text(self, turn: str) -> str:
        """What a turn said so far."""
        deltas = (f for f in self.frames if (f.get("turn"), f.get("type")) == (turn, "text.delta"))
        return "".join(delta["data"]["text"] for delta in deltas)

    async def closed(self) -> tuple[int | None, str | None]:
        """Read to the close; its code and reason."""
        while (message := await self.socket.receive()).type is aiohttp.WSMsgType.TEXT:
            self.frames.append(message.json())
        return self.socket.close_code, message.extra


@asynccontextmanager
async def connected(
    served: Served, place: str = "/api/ws", *, protocols: tuple[str, ...] = (PROTOCOL,), **more: Any
) -> AsyncIterator[Client]:
    """A socket that is open for the length of the block."""
    async with served.http.ws_connect(place, protocols=protocols, **more) as socket:
        yield Client(socket)


async def test_a_turn_over_a_socket(serving: Serving) -> None:
    """It is started, followed to its end, and every event comes once, in order, with its place."""
    served = await serving(ScriptedModel(["Good day."]))
    async with connected(served) as client:
        assert client.socket.protocol == PROTOCOL
        conversation = await served.conversation()
        begun = await client.ok("start", conversation=conversation, text="hello", stream=True)
        await client.until("subscription.ended", begun["turn"])
        events = client.events(begun["turn"])
        assert [number for number, _ in events] == list(range(1, len(events) + 1))
        assert (events[0][1], events[-1][1]) == ("turn.started", "turn.completed")
        assert client.text(begun["turn"]) == "Good day."
        assert client.frames[1]["v"] == 1
        assert client.frames[1]["id"] == "0:1"
        assert client.frames[1]["data"]["turn"] == begun["turn"]


async def test_a_subscription_goes_on_where_it_was(serving: Serving) -> None:
    """`after` takes a number or an `id`; what follows comes once."""
    served = await serving(ScriptedModel(["Good day to you."]))
    turn = (await served.turn()).turn
    async with connected(served) as client:
        await client.ok("subscribe", turn=turn)
        await client.until("subscription.ended")
        whole = client.events(turn)
        for after in (3, "3", "0:3"):
            client.frames.clear()
            await client.ok("subscribe", turn=turn, after=after)
            await client.until("subscription.ended")
            assert client.events(turn) == whole[3:]


async def test_many_turns_over_one_socket(serving: Serving) -> None:
    """Turns that run at the same time come whole, and one that is silent keeps none waiting."""
    model, never = ScriptedModel(), asyncio.Event()
    model.when("silent", [Pause(until=never)])
    for number in range(10):
        model.when(f"question {number}.", f"This is answer {number}, in a few pieces.")
    served = await serving(model)
    silent = await served.turn("silent")
    async with connected(served) as client:
        await client.ok("subscribe", turn=silent.turn)
        turns = [(await served.turn(f"question {number}.")).turn for number in range(10)]
        for turn in turns:
            await client.ok("subscribe", turn=turn)
        for number, turn in enumerate(turns):
            await client.until("subscription.ended", turn)
            assert client.text(turn) == f"This is answer {number}, in a few pieces."
        assert [kind for _, kind in client.events(silent.turn)][-1] not in TERMINAL


@tool(effect="effect")
def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


@pytest.mark.parametrize("answer", ["approve", "deny"])
async def test_calls_are_decided(serving: Serving, answer: str) -> None:
    """A turn that waits goes on in the same subscription when its call is decided."""
    model = ScriptedModel([["I pay.", Call("pay", {"amount": 7}, id="call_a")], "Done."])
    served = await serving(model, tools=[pay])
    async with connected(served) as client:
        conversation = await served.conversation()
        begun = await client.ok("start", conversation=conversation, text="pay", stream=True)
        held = await client.until("turn.suspended")
        wrong = await client.ask(answer, turn=begun["turn"], call="call_b")
        assert wrong["error"]["status"] == 409
        call = held["data"]["calls"][0]["id"]
        await client.ok(answer, turn=begun["turn"], call=call, note="as you like")
        await client.until("turn.completed")
        finished = await client.until("tool.finished")
    assert finished["data"]["result"].get("failed", False) is (answer == "deny")
    assert client.text(begun["turn"]) == "I pay.Done."


async def test_results_of_the_clients_own_tools(serving: Serving) -> None:
    """A turn that waits for its client's tool goes on with what is provided."""
    model = ScriptedModel([[Call("look", {}, id="call_a")], "Sunny, then."])
    served = await serving(model)
    look = {"name": "look", "description": "Look.", "parameters_schema": {"type": "object"}}
    async with connected(served) as client:
        conversation = await served.conversation()
        begun = await client.ok(
            "start", conversation=conversation, text="?", stream=True, client_tools=[look]
        )
        held = await client.until("turn.suspended")
        (call,) = held["data"]["calls"]
        results = [{"call": call["id"], "text": "sunny"}]
        await client.ok("provide", turn=begun["turn"], results=results)
        await client.until("turn.completed")
    assert client.text(begun["turn"]) == "Sunny, then."


async def test_cancel_is_heard_while_others_speak(serving: Serving) -> None:
    """A turn is cancelled over the socket on which it is followed."""
    never = asyncio.Event()
    served = await serving(ScriptedModel([[Say("Half"), Pause(until=never)]]))
    async with connected(served) as client:
        conversation = await served.conversation()
        begun = await client.ok("start", conversation=conversation, text="go on", stream=True)
        await client.until("text.delta")
        done = await client.ok("cancel", turn=begun["turn"])
        assert (done["open"], done["outcome"]) == (False, "cancelled")
        await client.until("turn.cancelled")


async def test_who_unsubscribes_hears_no_more(serving: Serving) -> None:
    """The turn runs on; a ping is answered on a quiet socket."""
    go_on = asyncio.Event()
    served = await serving(ScriptedModel([["Half", Pause(until=go_on), " and half."]]))
    session = await served.turn()
    async with connected(served) as client:
        await client.ok("subscribe", turn=session.turn)
        await client.until("text.delta")
        await client.ok("unsubscribe", turn=session.turn)
        heard = len(client.frames)
        go_on.set()
        await session.ended()
        assert await client.ok("ping") == {}
        assert [f for f in client.frames[heard:] if "re" not in f] == []


# What is not allowed.


async def test_turns_of_others_do_not_exist(serving: Serving) -> None:
    """Whatever is asked about another tenant's turn or conversation, it is not there."""
    never = asyncio.Event()
    served = await serving(ScriptedModel([[Pause(until=never)]]))
    session = await served.turn(tenant="theirs")
    async with connected(served, headers=await served.key()) as client:
        asked = [
            await client.ask("subscribe", turn=session.turn),
            await client.ask("cancel", turn=session.turn),
            await client.ask("approve", turn=session.turn, call="call_1"),
            await client.ask("deny", turn=session.turn, call="call_1"),
            await client.ask("provide", turn=session.turn, results=[{"call": "c", "text": "x"}]),
            await client.ask("start", conversation=session.conversation, text="hello"),
        ]
        assert [a["error"]["status"] for a in asked] == [404] * 6
        assert client.events(session.turn) == []


@pytest.mark.parametrize(
    "scope, refused",
    [
        pytest.param("read", {"start", "cancel", "approve", "deny", "provide"}, id="read"),
        pytest.param("write", {"subscribe", "approve", "deny"}, id="write"),
        pytest.param("approve", {"subscribe", "start", "cancel", "provide"}, id="approve"),
    ],
)
async def test_each_command_needs_its_permission(
    serving: Serving, scope: Any, refused: set[str]
) -> None:
    """A key that allows less is refused what it does not allow, and the socket stays open."""
    served = await serving(ScriptedModel(["Good day."]))
    turn = (await served.turn()).turn
    given: dict[str, dict[str, Any]] = {
        "subscribe": {"turn": turn},
        "start": {"conversation": "conv_x", "text": "hello"},
        "cancel": {"turn": turn},
        "approve": {"turn": turn, "call": "call_1"},
        "deny": {"turn": turn, "call": "call_1"},
        "provide": {"turn": turn, "results": [{"call": "call_1", "text": "x"}]},
    }
    async with connected(served, headers=await served.key(scope)) as client:
        answers = {name: await client.ask(name, **more) for name, more in given.items()}
    status = {name: a.get("error", {}).get("status") for name, a in answers.items()}
    assert {name for name, code in status.items() if code == 403} == refused
    noted = await served.server.access.audit_entries("local")
    assert [entry.action for entry in noted] == ["access.refused"] * len(refused)


async def test_who_comes_without_a_key(serving: Serving) -> None:
    """The first frame may bring it; a wrong one, or another frame, ends the socket with 4401."""
    served = await serving(ScriptedModel())
    key = (await served.key())["authorization"].removeprefix("Bearer ")
    async with connected(served) as client:
        assert await client.ok("authenticate", token=key) == {}
        assert await client.ok("ping") == {}
    for first in ({"type": "authenticate", "token": "pal_x"}, {"type": "ping"}):
        async with connected(served) as client:
            await client.socket.send_json({"id": "1", **first})
            assert (await client.closed())[0] == 4401
    async with connected(served, headers={"authorization": "Bearer pal_x"}) as client:
        assert (await client.closed())[0] == 4401


async def test_a_ticket_opens_one_socket(serving: Serving) -> None:
    """It is good once, for its caller's tenant alone, and not after its time."""
    clock = ToldClock()
    served = await serving(ScriptedModel(["Good day."]), clock=clock, ticket_s=30.0)
    mine, theirs = await served.key(), await served.key(tenant="theirs")
    turn = (await served.turn()).turn

    async def ticket(key: dict[str, str]) -> str:
        async with served.http.post("/api/ws-ticket", headers=key) as answer:
            assert answer.status == 201
            assert answer.headers["cache-control"] == "no-store"
            return f"/api/ws?ticket={(await answer.json())['ticket']}"

    place = await ticket(mine)
    async with connected(served, place) as client:
        await client.ok("subscribe", turn=turn)
    async with connected(served, place) as client:
        assert (await client.closed())[0] == 4401
    async with connected(served, await ticket(theirs)) as client:
        assert (await client.ask("subscribe", turn=turn))["error"]["status"] == 404
    late = await ticket(mine)
    await clock.advance(31)
    async with connected(served, late) as client:
        assert (await client.closed())[0] == 4401
    async with served.http.post("/api/ws-ticket") as answer:
        assert answer.status == 401


async def test_a_revoked_key_ends_the_socket(serving: Serving) -> None:
    """At the next command, or soon without one; a ticket's socket, too."""
    clock, never = ToldClock(), asyncio.Event()
    served = await serving(ScriptedModel([[Pause(until=never)]]), clock=clock)
    turn, key = (await served.turn()).turn, await served.key()
    async with served.http.post("/api/ws-ticket", headers=key) as answer:
        place = f"/api/ws?ticket={(await answer.json())['ticket']}"
    async with (
        connected(served, headers=key) as asking,
        connected(served, headers=key) as quiet,
        connected(served, place) as browser,
    ):
        for client in (asking, quiet, browser):
            await client.ok("subscribe", turn=turn)
        (made,) = await served.server.access.keys()
        await served.server.authenticator.keys.revoke(made.id)
        await asking.socket.send_json({"id": "1", "type": "subscribe", "turn": turn})
        assert (await asking.closed())[0] == 4401
        await clock.advance(20)
        assert (await quiet.closed())[0] == 4401
        assert (await browser.closed())[0] == 4401


# What is too much.


@pytest.mark.parametrize(
    "frame, code",
    [
        pytest.param("no json", 4400, id="no json"),
        pytest.param("[1]", 4400, id="no object"),
        pytest.param('{"type":"ping"}', 4400, id="no id"),
        pytest.param('{"id":"1","id":"2","type":"ping"}', 4400, id="a name twice"),
        pytest.param("[" * 100_000, 4400, id="deep"),
        pytest.param(b"ping", 4400, id="bytes"),
        pytest.param("x" * 5_000, 1009, id="large"),
    ],
)
async def test_frames_that_end_a_socket(serving: Serving, frame: "str | bytes", code: int) -> None:
    """What is no command and cannot be answered closes the socket, and only that one."""
    served = await serving(frame_bytes=4096 if code == 1009 else 1 << 20)
    async with connected(served) as client, connected(served) as other:
        if isinstance(frame, bytes):
            await client.socket.send_bytes(frame)
        else:
            await client.socket.send_str(frame)
        assert (await client.closed())[0] == code
        assert await other.ok("ping") == {}


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"type": "dance"}, id="unknown"),
        pytest.param({"type": "subscribe"}, id="a field is missing"),
        pytest.param({"type": "subscribe", "turn": "turn_x", "since": 3}, id="a field too many"),
        pytest.param({"type": "cancel", "turn": 7}, id="wrong type"),
    ],
)
async def test_commands_that_are_none(serving: Serving, given: dict[str, Any]) -> None:
    """Where the id can be read, it is answered what is wrong, and the socket stays."""
    served = await serving()
    async with connected(served) as client:
        assert (await client.ask(**given))["error"]["status"] == 422
        assert await client.ok("ping") == {}


async def test_another_protocol(serving: Serving) -> None:
    """A client of another version is told so by 4400, which a browser can see."""
    served = await serving()
    async with connected(served, protocols=("palaver.v9",)) as client:
        assert await client.closed() == (4400, "the subprotocol is palaver.v1")


async def test_more_frames_than_allowed(serving: Serving) -> None:
    """Ten seconds' worth may come at once; then the socket ends with 4429."""
    clock = ToldClock()
    served = await serving(frames_per_s=2, clock=clock)
    async with connected(served) as client:
        for _ in range(20):
            await client.ok("ping")
        await clock.advance(1)
        for _ in range(2):
            await client.ok("ping")
        await client.socket.send_json({"id": "1", "type": "ping"})
        assert (await client.closed())[0] == 4429


async def test_more_subscriptions_than_allowed(serving: Serving) -> None:
    """The next one is refused; a turn that is followed already may be subscribed again."""
    never = asyncio.Event()
    model = ScriptedModel([[Pause(until=never)], [Pause(until=never)], [Pause(until=never)]])
    served = await serving(model, subscriptions=2)
    one, two, three = [(await served.turn()).turn for _ in range(3)]
    async with connected(served) as client:
        await client.ok("subscribe", turn=one)
        await client.ok("subscribe", turn=two)
        assert (await client.ask("subscribe", turn=three))["error"]["status"] == 429
        await client.ok("subscribe", turn=one)
        await client.ok("unsubscribe", turn=one)
        await client.ok("subscribe", turn=three)


async def test_more_sockets_than_allowed(serving: Serving) -> None:
    """Of one caller 4429, of all together 1013; there is room again when one has gone."""
    served = await serving(sockets_per_caller=1, sockets=2)
    mine, theirs = await served.key(), await served.key(tenant="theirs")
    async with connected(served, headers=mine) as one:
        await one.ok("ping")
        async with connected(served, headers=mine) as two:
            assert (await two.closed())[0] == 4429
        async with connected(served, headers=theirs) as three:
            await three.ok("ping")
            third = await served.key(tenant="third")
            async with connected(served, headers=third) as four:
                assert (await four.closed())[0] == 1013
    while len(served.server.sockets):  # noqa: ASYNC110 - the server notices in its own time
        await asyncio.sleep(0.001)
    async with connected(served, headers=mine) as again:
        assert await again.ok("ping") == {}


async def test_a_client_that_takes_nothing_is_let_go(serving: Serving) -> None:
    """It is closed after `send_s` with the places where it can go on, behind what it had not read;
    another socket on the same turn gets all of it."""
    clock, go_on = ToldClock(), asyncio.Event()
    much = [Say("x" * 500_000, piece=50_000)] * 20
    served = await serving(ScriptedModel([[*much, Pause(until=go_on), "!"]]), clock=clock)
    turn = (await served.turn()).turn
    async with (
        connected(served, max_msg_size=0) as fast,
        connected(served, max_msg_size=0) as slow,
    ):
        await slow.socket.send_json({"id": "1", "type": "subscribe", "turn": turn})
        await fast.ok("subscribe", turn=turn)
        while len(fast.text(turn)) < 10_000_000:
            await fast.frame()
        await clock.advance(20)
        go_on.set()
        await fast.until("subscription.ended")
        assert len(fast.text(turn)) == 10_000_001
        code, _ = await slow.closed()
        (last,) = [f for f in slow.frames if f.get("type") == "server.slow"]
        assert code == 1013
        cursor = last["data"]["cursors"][turn]
        assert slow.frames[-1] == last
        assert slow.events(turn)[-1][0] == int(cursor.partition(":")[2])
    async with connected(served, max_msg_size=0) as again:
        await again.ok("subscribe", turn=turn, after=cursor)
        await again.until("subscription.ended")
    assert len(slow.text(turn) + again.text(turn)) == 10_000_001


async def test_where_events_are_gone(serving: Serving) -> None:
    """A pruned turn is told as it stands, and how it ended."""
    settings = Settings(stream=StreamSettings(keep_turns=1, keep_sessions=0))
    served = await serving(ScriptedModel(["one", "two", "three"]), settings=settings)
    async with served.server.tenants.use("local") as manager:
        conversation = await manager.create()
        turns = []
        for number in range(3):
            session = await conversation.start(f"question {number}")
            await session.ended()
            turns.append(session.turn)
    async with connected(served) as client:
        await client.ok("subscribe", turn=turns[0], after="0:2")
        gap = await client.until("resume_gap")
        assert [m["role"] for m in gap["data"]["messages"]] == ["user", "assistant"]
        await client.until("turn.completed")
        await client.until("subscription.ended")


async def test_a_server_that_ends_says_so(serving: Serving) -> None:
    """Sockets are told when to come back, and closed with 1012."""
    never = asyncio.Event()
    served = await serving(ScriptedModel([[Pause(until=never)]]))
    turn = (await served.turn()).turn
    async with connected(served) as client:
        await client.ok("subscribe", turn=turn)
        await served.server.drain()
        assert await client.closed() == (1012, "the server is ending")
        assert client.frames[-1] == {
            "v": 1,
            "type": "server.draining",
            "data": {"retry_ms": 1000},
        }
    async with connected(served) as late:
        assert (await late.closed())[0] == 1012
