"""Limits of requests, tokens, turns and money: on every way in, and counted where it is stored."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from palaver import tool
from palaver.domain.access import KeyLimits, Permission
from palaver.domain.values import Usage
from palaver.server.limits import headers
from palaver.service.access import new_key
from palaver.service.quotas import QuotaState
from palaver.service.windows import Reading
from palaver.testing import Call, Pause, Say, ScriptedModel
from tests.server.conftest import Served, Serving

ALL: tuple[Permission, ...] = ("read", "write", "approve", "admin")


async def key(
    served: Served, *, tenant: str = "local", **limits: Any
) -> tuple[str, dict[str, str]]:
    """A key with limits: its id, and it as headers."""
    made = new_key("limited", tenant=tenant, scopes=ALL, limits=KeyLimits(**limits))
    await served.server.access.add_key(made.key, made.digest)
    return made.key.id, {"x-api-key": made.text}


async def say(served: Served, conversation: str, sent: dict[str, str], **more: Any) -> Any:
    """Say something and wait for the whole answer."""
    place = f"/api/conversations/{conversation}/turns?wait=30"
    return await served.http.post(place, json={"text": "Hi", **more}, headers=sent)


async def used(served: Served, id: str, *, tenant: str = "local") -> list[Any]:
    """What a key has used, once all of it is written."""
    await served.server.spending.settled()
    today = datetime.now(UTC).date()
    return list(await served.server.access.usage(tenant, since=today, until=today, key=id))


async def test_requests_per_minute(serving: Serving) -> None:
    """The request that is one too many is a 429 that says when to come again; what is left is in
    the head of each answer."""
    served = await serving()
    _, sent = await key(served, requests_per_minute=2)
    left = []
    for _ in range(2):
        response = await served.http.get("/api/conversations", headers=sent)
        assert response.status == 200
        assert response.headers["ratelimit-limit"] == "2"
        assert 0 < int(response.headers["ratelimit-reset"]) <= 60
        left.append(response.headers["ratelimit-remaining"])
    assert left == ["1", "0"]
    refused = await served.http.get("/api/conversations", headers=sent)
    problem = await refused.json()
    assert (refused.status, problem["code"]) == (429, "quota_exceeded")
    assert problem["retryable"]
    assert 0 < problem["retry_after_s"] <= 60
    assert 0 < int(refused.headers["retry-after"]) <= 60
    told = [refused.headers[f"ratelimit-{name}"] for name in ("limit", "remaining")]
    assert told == ["2", "0"]
    assert 0 < int(refused.headers["ratelimit-reset"]) <= 60


async def test_limits_of_everybody(serving: Serving) -> None:
    """A key without limits of its own has those of the settings; other keys are not touched."""
    from msgspec.structs import replace

    from palaver.settings import AccessSettings, Settings

    access = AccessSettings(limits=KeyLimits(requests_per_minute=1))
    served = await serving(settings=replace(Settings(), access=access))
    one, other = await served.key(), await served.key()
    for sent, status in ((one, 200), (one, 429), (other, 200), (other, 429)):
        assert (await served.http.get("/api/conversations", headers=sent)).status == status


async def test_turns_at_a_time(serving: Serving) -> None:
    """A turn takes its place for its own life: a reader who goes away gives none back, and the end
    of the turn does."""
    served = await serving(ScriptedModel([[Say("a"), Pause(60.0)], "b", "c"]))
    _, sent = await key(served, concurrent_turns=1)
    one, two = await served.conversation(), await served.conversation()
    place = f"/api/conversations/{one}/turns"
    streaming = await served.http.post(place, json={"text": "x", "stream": True}, headers=sent)
    turn = streaming.headers["location"].split("/")[3]
    streaming.close()
    refused = await say(served, two, sent)
    problem = await refused.json()
    assert (refused.status, problem["code"]) == (429, "quota_exceeded")
    assert "concurrent_turns" in problem["message"]
    await served.http.post(f"/api/turns/{turn}/cancel", headers=sent)
    assert (await say(served, two, sent)).status == 200
    assert (await say(served, two, sent)).status == 200


async def test_refused_turns_keep_no_place(serving: Serving) -> None:
    """What does not come to a turn takes no place: a busy conversation, a key that was used, a
    conversation that is not there."""
    served = await serving(ScriptedModel(["a", "b"]))
    _, sent = await key(served, concurrent_turns=1)
    one, two = await served.conversation(), await served.conversation()
    for _ in range(3):
        assert (await say(served, one, sent, idempotency_key="k")).status == 200
        assert (await say(served, "conv_none", sent)).status == 404
    assert (await say(served, two, sent)).status == 200


async def test_asking_again_is_no_new_turn(serving: Serving) -> None:
    """A message that is sent again under its key, because the answer got lost, leads to its turn
    even where the limits that it took up would let no other begin; another one is refused."""
    goes_on = asyncio.Event()
    model = ScriptedModel()
    model.when("", [Say("Wait."), Pause(until=goes_on)])
    served = await serving(model)
    _, sent = await key(served, concurrent_turns=1, tokens_per_minute=1)
    conversation = await served.conversation()
    place = f"/api/conversations/{conversation}/turns"

    async def ask(text: str = "Hi", key: str = "k") -> tuple[int, dict[str, Any]]:
        body = {"text": text, "idempotency_key": key}
        response = await served.http.post(place, json=body, headers=sent)
        return response.status, await response.json()

    first = await ask()
    assert first[0] == 202
    assert await ask() == first  # it runs, and has the only place
    assert (await ask(key="other"))[0] == 429
    goes_on.set()
    await (await served.http.get(first[1]["events"], headers=sent)).read()
    await served.server.spending.settled()
    assert await ask() == first  # it has used up the tokens
    assert (await ask(text="Something else"))[0] == 429


async def test_held_turns_keep_no_place(serving: Serving) -> None:
    """A turn that waits for a person is not one that runs."""

    @tool(effect="effect")
    def post(text: str) -> str:
        return "posted"

    script: list[Any] = [[Call("post", {"text": "x"})], "b", "done"]
    served = await serving(ScriptedModel(script), tools=[post])
    _, sent = await key(served, concurrent_turns=1)
    one, two = await served.conversation(), await served.conversation()
    held = await (await say(served, one, sent)).json()
    assert (await say(served, two, sent)).status == 200
    status = await (await served.http.get(f"/api/turns/{held['turn']}", headers=sent)).json()
    (call,) = status["waiting"]
    decided = {"decisions": [{"call": call["id"], "approve": True}]}
    place = f"/api/turns/{held['turn']}/decisions"
    approved = await served.http.post(place, json=decided, headers=sent)
    assert approved.status < 300, await approved.text()


async def test_tokens_per_minute(serving: Serving) -> None:
    """The turn that goes past it is the last one; reading goes on."""
    served = await serving(ScriptedModel(["a", "b"]))
    _, sent = await key(served, tokens_per_minute=1)
    one = await served.conversation()
    assert (await say(served, one, sent)).status == 200
    await used(served, "-")
    refused = await say(served, one, sent)
    assert refused.status == 429
    assert "tokens_per_minute" in (await refused.json())["message"]
    assert (await served.http.get(f"/api/conversations/{one}", headers=sent)).status == 200


async def test_money_per_day(serving: Serving) -> None:
    """Who has spent the day's money begins no turn before midnight (UTC), and reads on."""
    served = await serving(ScriptedModel(["a", "b"]))
    id, sent = await key(served, usd_per_day=0.5)
    one = await served.conversation()
    assert (await say(served, one, sent)).status == 200
    today = datetime.now(UTC).date()
    await served.server.access.add_spent("local", id, today, "m", usage=Usage(1, 1), cost=0.6)
    refused = await say(served, one, sent)
    problem = await refused.json()
    assert refused.status == 429
    assert "usd_per_day" in problem["message"]
    assert 0 < problem["retry_after_s"] <= 86_400
    for action in ("edit", "regenerate"):
        again = await served.http.post(f"/api/conversations/{one}/{action}", json={}, headers=sent)
        assert again.status in {404, 422, 429}
    assert (await served.http.get(f"/api/conversations/{one}", headers=sent)).status == 200


async def test_spend_is_counted(serving: Serving) -> None:
    """What each turn used is counted by tenant, key, day and model; also when nobody reads it."""
    served = await serving(ScriptedModel(["a", "b"]))
    mine, sent = await key(served)
    theirs, other = await key(served, tenant="other")
    one = await served.conversation()
    assert (await say(served, one, sent)).status == 200
    two = await served.conversation(tenant="other")
    assert (await say(served, two, other)).status == 200
    for id, tenant in ((mine, "local"), (theirs, "other")):
        (row,) = await used(served, id, tenant=tenant)
        assert (row.requests, row.key, row.model) == (1, id, "scripted:model")
        assert row.usage.total > 0
    assert await used(served, theirs) == []


async def test_turns_of_nobody_are_the_tenants(serving: Serving) -> None:
    """A turn that no caller began, as one that a dead process left, is counted to the tenant."""
    served = await serving(ScriptedModel(["a"]))
    session = await served.turn()
    await session.ended()
    (row,) = await used(served, "(tenant)")
    assert row.requests == 1


async def test_without_keys(serving: Serving) -> None:
    """Who needs no key is counted, too, under the name of the machine's own user."""
    served = await serving(ScriptedModel(["a"]))
    assert (await say(served, await served.conversation(), {})).status == 200
    (row,) = await used(served, "local")
    assert row.usage.total > 0


def test_headers_tell_of_the_nearest_limit() -> None:
    """One of several limits is told: the one with the smallest share left."""
    state = QuotaState(Reading(100, 50, 30.2), None, Reading(4, 1, 0.0), None)
    assert dict(headers(state, is_openai=False)) == {
        b"ratelimit-limit": b"4",
        b"ratelimit-remaining": b"1",
        b"ratelimit-reset": b"0",
    }
    assert headers(QuotaState(), is_openai=False) == []


def test_headers_for_clients_of_openai() -> None:
    """By the names that they know."""
    state = QuotaState(Reading(100, 50, 30.25), Reading(1000, 900, 6.0))
    told = dict(headers(state, is_openai=True))
    assert told[b"x-ratelimit-limit-requests"] == b"100"
    assert told[b"x-ratelimit-remaining-tokens"] == b"900"
    assert told[b"x-ratelimit-reset-requests"] == b"30.250s"


@pytest.mark.parametrize("path", ["/api/conversations", "/v1/models"])
async def test_every_protocol_counts(serving: Serving, path: str) -> None:
    """A minute's requests are those of all protocols together."""
    served = await serving()
    _, sent = await key(served, requests_per_minute=2)
    assert (await served.http.get("/api/conversations", headers=sent)).status == 200
    assert (await served.http.get(path, headers=sent)).status == 200
    assert (await served.http.get(path, headers=sent)).status == 429


CHAT = {"model": "default", "messages": [{"role": "user", "content": "Hi"}]}
SAID = [{"id": "1", "role": "user", "content": "Hi"}]
WAYS: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "chat": ("/v1/chat/completions", CHAT, {}),
    "kept chat": ("/v1/chat/completions", CHAT, {"x-palaver-conversation": "new"}),
    "streamed chat": ("/v1/chat/completions", {**CHAT, "stream": True}, {}),
    "response": ("/v1/responses", {"model": "default", "input": "Hi"}, {}),
    "forgotten response": (
        "/v1/responses",
        {"model": "default", "input": "Hi", "store": False},
        {},
    ),
    "run": ("/api/ag-ui", {"threadId": "t", "runId": "r", "messages": SAID}, {}),
}


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_to_have_a_model_answer(serving: Serving, way: str) -> None:
    """It is paid by its caller and held against the caller's limits, by whichever protocol."""
    model = ScriptedModel()
    model.when("", "a")
    served = await serving(model)
    id, sent = await key(served, usd_per_day=0.5)
    path, body, more = WAYS[way]
    async with served.http.post(path, json=body, headers={**sent, **more}) as response:
        assert response.status == 200, await response.text()
        await response.read()
    (row,) = await used(served, id)
    assert row.requests == 1
    today = datetime.now(UTC).date()
    await served.server.access.add_spent("local", id, today, "m", usage=Usage(1, 1), cost=0.6)
    async with served.http.post(path, json=body, headers={**sent, **more}) as refused:
        assert refused.status == 429, await refused.text()
        assert int(refused.headers["retry-after"]) > 0
    assert len(model.requests) == 1


async def test_a_socket_is_held_against_limits(serving: Serving) -> None:
    """Each command that begins a turn, and not the socket."""
    model = ScriptedModel()
    model.when("", "a")
    served = await serving(model)
    id, sent = await key(served, usd_per_day=0.5)
    start = {"type": "start", "conversation": await served.conversation(), "text": "Hi"}
    today = datetime.now(UTC).date()
    async with served.http.ws_connect("/api/ws", headers=sent) as socket:
        await socket.send_json({"id": "1", **start})
        begun = await socket.receive_json(timeout=60)
        async with served.http.get(
            f"/api/turns/{begun['ok']['turn']}/events", headers=sent
        ) as told:
            await told.read()
        (row,) = await used(served, id)
        assert row.requests == 1
        await served.server.access.add_spent("local", id, today, "m", usage=Usage(1, 1), cost=0.6)
        await socket.send_json({"id": "2", **start})
        while (answer := await socket.receive_json(timeout=60)).get("re") != "2":
            pass
        assert answer["error"]["code"] == "quota_exceeded"
    assert len(model.requests) == 1
