"""Conversations over HTTP: made, listed, found, changed, read in pages, erased."""

from typing import Any

import pytest

from palaver.testing import ScriptedModel
from tests.server.conftest import Serving


async def made(served: Any, **body: Any) -> dict[str, Any]:
    response = await served.http.post("/api/conversations", json=body)
    assert response.status == 201, await response.text()
    found: dict[str, Any] = await response.json()
    assert response.headers["location"] == f"/api/conversations/{found['id']}"
    return found


async def said(served: Any, conversation: str, text: str) -> dict[str, Any]:
    response = await served.http.post(
        f"/api/conversations/{conversation}/turns?wait=30", json={"text": text}
    )
    assert response.status == 200, await response.text()
    answer: dict[str, Any] = await response.json()
    return answer


async def test_made_with_everything(serving: Serving) -> None:
    """A conversation has what it was made with, and is where `Location` says."""
    served = await serving()
    wanted = {
        "title": "Trip to Oslo",
        "tags": ["travel", "2026"],
        "custom": {"customer": "42"},
        "preferences": {"system": "Be brief.", "temperature": 0.5, "approvals": "deny"},
    }
    found = await made(served, **wanted)
    assert found["title"] == "Trip to Oslo"
    assert found["tags"] == ["travel", "2026"]
    assert found["custom"] == {"customer": "42"}
    assert found["preferences"]["system"] == "Be brief."
    assert found["preferences"]["generation"] == {"temperature": 0.5}
    read = await served.http.get(f"/api/conversations/{found['id']}")
    assert await read.json() == found


async def test_made_of_nothing(serving: Serving) -> None:
    """No body is needed."""
    served = await serving()
    response = await served.http.post("/api/conversations")
    assert response.status == 201


async def test_made_with_a_history(serving: Serving) -> None:
    """A conversation may begin with what was said elsewhere, and goes on from there."""
    model = ScriptedModel(["Ada."])
    served = await serving(model)
    history = [
        {"role": "user", "text": "I am Ada."},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello Ada."}]},
    ]
    id = (await made(served, messages=history))["id"]
    await said(served, id, "Who am I?")
    assert [m.text for m in model.requests[0].messages] == ["I am Ada.", "Hello Ada.", "Who am I?"]


async def test_changed(serving: Serving) -> None:
    """A change leaves what it does not name; `null` gives a preference back to the model."""
    served = await serving()
    found = await made(
        served, title="One", tags=["a"], preferences={"temperature": 0.5, "system": "S"}
    )
    change = {"tags": ["b", "c"], "archived": True, "preferences": {"temperature": None}}
    response = await served.http.patch(f"/api/conversations/{found['id']}", json=change)
    after = await response.json()
    assert (after["title"], after["tags"], after["archived"]) == ("One", ["b", "c"], True)
    assert after["preferences"] == {"system": "S", "generation": {}}


async def test_listed_in_pages(serving: Serving) -> None:
    """Pages give every conversation once, the newest change first."""
    served = await serving()
    ids = [(await made(served))["id"] for _ in range(7)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query = {"limit": "3"} | ({} if cursor is None else {"cursor": cursor})
        page = await (await served.http.get("/api/conversations", params=query)).json()
        seen += [each["id"] for each in page["items"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert seen == ids[::-1]


async def test_filtered(serving: Serving) -> None:
    """A list can be of a tag, of the archived, and of a stretch of time."""
    served = await serving()
    plain = await made(served, title="plain")
    tagged = await made(served, title="tagged", tags=["x"])
    archived = await made(served, title="archived", tags=["x"])
    await served.http.patch(f"/api/conversations/{archived['id']}", json={"archived": True})

    async def titles(**query: str) -> list[str]:
        response = await served.http.get("/api/conversations", params=query)
        return [each["title"] for each in (await response.json())["items"]]

    assert await titles(tag="x") == ["tagged"]
    assert await titles(tag="x", archived="true") == ["archived"]
    assert await titles(until=str(tagged["updated_at"] + 1e6)) == ["tagged", "plain"]
    assert await titles(until=str(plain["updated_at"] - 1)) == []
    assert await titles(since=str(tagged["updated_at"] + 1)) == []


async def test_messages_in_pages(serving: Serving) -> None:
    """Messages come in pages from either end, each once."""
    served = await serving(ScriptedModel(["one", "two", "three"]))
    id = (await made(served))["id"]
    for text in ("1", "2", "3"):
        await said(served, id, text)

    async def texts(order: str) -> list[str]:
        found: list[str] = []
        cursor: str | None = None
        while True:
            query = {"limit": "4", "order": order} | ({} if cursor is None else {"cursor": cursor})
            response = await served.http.get(f"/api/conversations/{id}/messages", params=query)
            page = await response.json()
            found += [each["content"][0]["text"] for each in page["items"]]
            cursor = page["cursor"]
            if cursor is None:
                return found

    assert await texts("oldest") == ["1", "one", "2", "two", "3", "three"]
    assert await texts("newest") == ["three", "3", "two", "2", "one", "1"]


async def test_found_by_words(serving: Serving) -> None:
    """Messages are found in all conversations, or in one."""
    served = await serving(ScriptedModel(["Fjords.", "Canals."]))
    oslo, venice = (await made(served))["id"], (await made(served))["id"]
    await said(served, oslo, "Where are boats?")
    await said(served, venice, "Where are boats?")
    every = await (await served.http.get("/api/search", params={"q": "boats"})).json()
    assert {hit["conversation"] for hit in every["items"]} == {oslo, venice}
    place = f"/api/conversations/{oslo}/search"
    one = await (await served.http.get(place, params={"q": "boats"})).json()
    assert [hit["conversation"] for hit in one["items"]] == [oslo]


async def test_erased(serving: Serving) -> None:
    """What was erased is not there any more."""
    served = await serving()
    id = (await made(served))["id"]
    assert (await served.http.delete(f"/api/conversations/{id}")).status == 204
    for method in ("GET", "DELETE"):
        response = await served.http.request(method, f"/api/conversations/{id}")
        assert response.status == 404
        assert (await response.json())["code"] == "not_found"


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "cursor=zzz", "since=nan", "until=inf", "limit=" + "9" * 400],
)
async def test_no_such_page(serving: Serving, query: str) -> None:
    """A page that cannot be is refused with a reason."""
    served = await serving()
    response = await served.http.get(f"/api/conversations?{query}")
    assert response.status == 422
    assert (await response.json())["code"] == "invalid_input"


async def test_another_method(serving: Serving) -> None:
    """405 names every method that the path has."""
    served = await serving()
    id = await served.conversation()
    for path, allowed in {
        f"/api/conversations/{id}": "DELETE, GET, PATCH",
        f"/api/conversations/{id}/pins/x": "DELETE, PUT",
        "/api/conversations": "GET, POST",
    }.items():
        response = await served.http.request("PROPFIND", path)
        assert (response.status, response.headers["allow"]) == (405, allowed)
