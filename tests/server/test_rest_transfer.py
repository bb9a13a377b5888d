"""Conversations in and out over HTTP; the catalogue; usage; the outbox; tools of the caller's."""

from datetime import UTC, date, datetime

import pytest

from palaver import tool
from palaver.domain.errors import ConnectionFailed
from palaver.domain.values import Usage
from palaver.settings import OutboxSettings, RetrySettings, Settings
from palaver.testing import Call, Fail, ScriptedModel
from tests.server.conftest import Serving
from tests.server.rest_calls import call, say

AWAY = Fail(ConnectionFailed("refused"))
KEEPING = Settings(
    retry=RetrySettings(network_attempts=1),
    outbox=OutboxSettings(on_unreachable="queue", automatic=False),
)


@pytest.mark.parametrize(
    "format,kind",
    [
        ("markdown", "text/markdown"),
        ("jsonl", "application/x-ndjson"),
        ("openai", "application/json"),
        ("html", "text/html"),
    ],
)
async def test_exported(serving: Serving, format: str, kind: str) -> None:
    """Each format is a download of its own type, and holds what was said."""
    served = await serving(ScriptedModel(["Fjords."]))
    id = await served.conversation()
    await say(served, id, "What is there?")
    response = await served.http.get(f"/api/conversations/{id}/export", params={"format": format})
    assert response.status == 200
    assert response.content_type == kind
    assert response.headers["content-disposition"].startswith("attachment;")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "Fjords." in await response.text()


async def test_there_and_back(serving: Serving) -> None:
    """What was exported without loss comes back as the same conversation."""
    served = await serving(ScriptedModel(["Fjords."]))
    id = await served.conversation()
    await say(served, id, "What is there?")
    response = await served.http.get(f"/api/conversations/{id}/export?format=jsonl")
    (report,) = (await call(served, "POST", "/import", data=await response.read(), status=201))[
        "items"
    ]
    assert report["messages"] == 2
    one = await call(served, "GET", f"/conversations/{id}/messages")
    two = await call(served, "GET", f"/conversations/{report['conversation']}/messages")
    assert one["items"] == two["items"]


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b"{}", b"[" * 60])
async def test_not_imported(serving: Serving, data: bytes) -> None:
    """A file that nothing can read is refused, and nothing is stored."""
    served = await serving()
    await call(served, "POST", "/import", data=data, status=422)
    assert (await call(served, "GET", "/conversations"))["items"] == []


async def test_tools_and_models(serving: Serving) -> None:
    """The catalogue names the server's tools and the models that can be chosen, its own first."""

    @tool(effect="effect")
    async def send(to: str) -> str:
        """Send a letter."""
        return to

    served = await serving(ScriptedModel(), tools=[send])
    tools = (await call(served, "GET", "/tools"))["items"]
    by_name = {each["name"]: each for each in tools}
    assert by_name["send"]["asks"]
    assert by_name["send"]["effect"] == "effect"
    models = (await call(served, "GET", "/models"))["items"]
    assert models[0]["name"] == "scripted:model"
    assert models[0]["is_default"]
    found = await call(served, "GET", "/models?q=claude-sonnet-4-5&usable=false&limit=1")
    assert not found["items"][0]["usable"]


async def test_usage(serving: Serving) -> None:
    """Usage is told apart by what is asked for, of one's own tenant alone."""
    served = await serving()
    access, day = served.server.access, datetime.now(UTC).date()
    for key, model, tokens in (("k1", "a:x", 10), ("k1", "a:y", 20), ("k2", "a:x", 30)):
        await access.add_spent("local", key, day, model, usage=Usage(input=tokens), cost=0.5)
    await access.add_spent("other", "k9", day, "a:x", usage=Usage(input=999), cost=9.0)
    whole = await call(served, "GET", "/usage")
    assert len(whole["items"]) == 3
    assert (whole["total"]["cost"], whole["total"]["usage"]["input"]) == (1.5, 60)
    by_model = await call(served, "GET", "/usage?by=model")
    assert [(r["model"], r["usage"]["input"]) for r in by_model["items"]] == [
        ("a:x", 40),
        ("a:y", 20),
    ]
    one = await call(served, "GET", "/usage?by=key&key=k2")
    assert [(r["key"], r["requests"]) for r in one["items"]] == [("k2", 1)]
    await call(served, "GET", "/usage?since=2026-01-02&until=2026-01-01", status=422)
    await call(served, "GET", f"/usage?since={date.min}&until={date.max}", status=422)
    assert (await call(served, "GET", f"/usage?until={date.min}"))["items"] == []


async def test_outbox(serving: Serving) -> None:
    """What cannot be sent is kept, shown, changed, taken back, and sent once it can be."""
    served = await serving(ScriptedModel([AWAY, "Hello."]), settings=KEEPING)
    id = await served.conversation()
    first = await say(served, id, "hi")
    assert first["outcome"] == "failed"
    path = f"/conversations/{id}/turns"
    kept = await call(served, "POST", path, json={"text": "second"}, status=202)
    assert (kept["code"], bool(kept["prompt_id"])) == ("prompt_kept", True)
    place = f"/conversations/{id}/outbox"
    changed = await call(served, "PATCH", f"{place}/{kept['prompt_id']}", json={"text": "2nd"})
    assert changed["message"]["content"][0]["text"] == "2nd"
    waiting = (await call(served, "GET", "/outbox"))["items"]
    assert [w["message"]["content"][0]["text"] for w in waiting] == ["hi", "2nd"]
    await call(served, "DELETE", f"{place}/{kept['prompt_id']}", status=204)
    await call(served, "DELETE", f"{place}/{kept['prompt_id']}", status=404)
    sent = await call(served, "POST", f"/conversations/{id}/send-outbox", status=202)
    await (await served.http.get(sent["events"])).text()
    assert (await call(served, "GET", place))["items"] == []


async def test_tools_of_the_caller(serving: Serving) -> None:
    """A call of a tool of the caller's is held until its result is given, which may be repeated."""
    served = await serving(ScriptedModel([Call("look", {"at": "sky"}, id="c1"), "Blue."]))
    id = await served.conversation()
    held = await say(served, id, "Look.", client_tools=[{"name": "look"}])
    assert [each["id"] for each in held["waiting"]] == ["c1"]
    place = f"/turns/{held['turn']}/results"
    await call(served, "POST", place, json={"results": [{"call": "c9", "text": "?"}]}, status=409)
    body = {"results": [{"call": "c1", "text": "It is blue."}]}
    await call(served, "POST", place, json=body)
    await (await served.http.get(f"/api/turns/{held['turn']}/events")).text()
    await call(served, "POST", place, json=body)
    other = {"results": [{"call": "c1", "text": "It is red."}]}
    assert (await call(served, "POST", place, json=other, status=409))["code"] == "already_answered"
