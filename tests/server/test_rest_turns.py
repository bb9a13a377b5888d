"""Turns over HTTP: started in each way, told apart by keys, cancelled, decided."""

import asyncio
from typing import Any

from palaver import tool
from palaver.testing import Call, Pause, Say, ScriptedModel
from tests.server.conftest import Served, Serving


async def started(served: Served, conversation: str, **body: Any) -> dict[str, Any]:
    response = await served.http.post(f"/api/conversations/{conversation}/turns", json=body)
    assert response.status == 202, await response.text()
    found: dict[str, Any] = await response.json()
    assert response.headers["location"] == found["events"]
    return found


async def test_started(serving: Serving) -> None:
    """A turn is accepted at once, runs by itself, and tells how it ended."""
    served = await serving(ScriptedModel(["Hello."]))
    found = await started(served, await served.conversation(), text="Hi")
    events = await (await served.http.get(found["events"])).text()
    assert "event: turn.completed" in events
    status = await (await served.http.get(f"/api/turns/{found['turn']}")).json()
    assert (status["open"], status["outcome"]) == (False, "completed")


async def test_waited_for(serving: Serving) -> None:
    """`wait` gives the whole answer in one response."""
    served = await serving(ScriptedModel(["Hello."]))
    id = await served.conversation()
    response = await served.http.post(f"/api/conversations/{id}/turns?wait=30", json={"text": "Hi"})
    answer = await response.json()
    assert (response.status, answer["text"], answer["outcome"]) == (200, "Hello.", "completed")


async def test_not_waited_for_too_long(serving: Serving) -> None:
    """When the answer takes longer than `wait`, the turn goes on and the caller is told where."""
    served = await serving(ScriptedModel([[Say("Well"), Pause(60.0)]]))
    id = await served.conversation()
    response = await served.http.post(
        f"/api/conversations/{id}/turns?wait=0.01", json={"text": "Hi"}
    )
    found = await response.json()
    assert response.status == 202
    await served.http.post(f"/api/turns/{found['turn']}/cancel")


async def test_streamed_when_asked_by_header(serving: Serving) -> None:
    """`Accept: text/event-stream` gives the events as `stream` does."""
    served = await serving(ScriptedModel(["Hello."]))
    id = await served.conversation()
    response = await served.http.post(
        f"/api/conversations/{id}/turns",
        json={"text": "Hi"},
        headers={"accept": "text/event-stream"},
    )
    assert (response.status, response.content_type) == (200, "text/event-stream")
    assert "event: turn.completed" in await response.text()


async def test_same_key_same_turn(serving: Serving) -> None:
    """The same message with the same key is accepted once, by header or by field; another message
    with that key is refused."""
    served = await serving(ScriptedModel(["Hello."]))
    id = await served.conversation()
    one = await started(served, id, text="Hi", idempotency_key="k1")
    await (await served.http.get(one["events"])).text()
    place = f"/api/conversations/{id}/turns"
    headers = {"idempotency-key": "k1"}
    again = await served.http.post(place, json={"text": "Hi"}, headers=headers)
    assert (await again.json())["turn"] == one["turn"]
    other = await served.http.post(place, json={"text": "Ho"}, headers=headers)
    assert (other.status, (await other.json())["code"]) == (409, "idempotency_mismatch")
    two = await served.http.post(
        place, json={"text": "Hi", "idempotency_key": "k2"}, headers=headers
    )
    assert two.status == 422


async def test_busy(serving: Serving) -> None:
    """While a turn runs, another message is refused unless it says otherwise; cancelling ends the
    turn and keeps what came."""
    served = await serving(ScriptedModel([[Say("Well"), Pause(60.0)], "Yes."]))
    id = await served.conversation()
    first = await started(served, id, text="Hi")
    response = await served.http.post(f"/api/conversations/{id}/turns", json={"text": "Ho"})
    problem = await response.json()
    assert (response.status, problem["code"]) == (409, "conversation_busy")
    assert response.content_type == "application/problem+json"
    assert problem["retryable"]
    assert problem["request_id"] == response.headers["x-request-id"]
    await started(served, id, text="Ho", on_busy="interrupt")
    status = await (await served.http.get(f"/api/turns/{first['turn']}")).json()
    assert status["outcome"] == "cancelled"
    cancelled = await served.http.post(f"/api/turns/{first['turn']}/cancel")
    assert (await cancelled.json())["outcome"] == "cancelled"


async def test_in_a_shape(serving: Serving) -> None:
    """An answer can be asked for in a JSON Schema."""
    served = await serving(ScriptedModel(['{"n": 391}']))
    id = await served.conversation()
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    response = await served.http.post(
        f"/api/conversations/{id}/turns?wait=30",
        json={"text": "17 * 23?", "output": {"schema": schema}},
    )
    assert (await response.json())["output"] == {"n": 391}


async def test_decided(serving: Serving) -> None:
    """A call that asks is held; whoever may approve decides it, and the turn goes on."""
    ran: list[str] = []

    @tool(effect="effect")
    async def send(to: str) -> str:
        """Send a letter."""
        ran.append(to)
        return "sent"

    model = ScriptedModel([Call("send", {"to": "Ada"}), "Done."])
    served = await serving(model, tools=[send])
    id = await served.conversation()
    response = await served.http.post(
        f"/api/conversations/{id}/turns?wait=30", json={"text": "Write to Ada."}
    )
    answer = await response.json()
    assert answer["outcome"] is None
    (call,) = answer["waiting"]
    turn = answer["turn"]
    held = await (await served.http.get(f"/api/conversations/{id}")).json()
    assert (held["turn"]["held"], held["turn"]["waiting"][0]["id"]) == ("approval", call["id"])
    place = f"/api/turns/{turn}/decisions"
    unknown = await served.http.post(
        place, json={"decisions": [{"call": "nobody", "approve": True}]}
    )
    assert unknown.status == 409
    decided = await served.http.post(
        place, json={"decisions": [{"call": call["id"], "approve": True}]}
    )
    assert decided.status == 200
    await (await served.http.get(f"/api/turns/{turn}/events")).text()
    assert ran == ["Ada"]
    again = await served.http.post(
        place, json={"decisions": [{"call": call["id"], "approve": True}]}
    )
    assert again.status == 409


async def test_no_new_turns_while_it_ends(serving: Serving) -> None:
    """A server that ends takes no new turns, and says that it is worth to try again."""
    served = await serving(ScriptedModel(["Hello."]))
    id = await served.conversation()
    served.server.is_draining = True
    response = await served.http.post(f"/api/conversations/{id}/turns", json={"text": "Hi"})
    problem = await response.json()
    assert (response.status, problem["code"], problem["retryable"]) == (503, "draining", True)


async def test_answers_while_others_stream(serving: Serving) -> None:
    """Several turns of several conversations run beside each other."""
    model = ScriptedModel(["Hello."] * 5)
    served = await serving(model)
    ids = [await served.conversation() for _ in range(5)]
    answers = await asyncio.gather(
        *(
            served.http.post(f"/api/conversations/{id}/turns?wait=30", json={"text": "Hi"})
            for id in ids
        )
    )
    assert [(await each.json())["text"] for each in answers] == ["Hello."] * 5
