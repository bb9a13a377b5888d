"""Branches over HTTP: nothing that was said is lost by going elsewhere."""

from palaver.testing import ScriptedModel
from tests.server.conftest import Serving
from tests.server.rest_calls import call, say


async def test_back_and_forth(serving: Serving) -> None:
    """Undo goes back before the last question and names it; redo takes that back; where there is
    nothing to undo or redo, that is said."""
    served = await serving(ScriptedModel(["One.", "Two."]))
    place = f"/conversations/{await served.conversation()}"
    await call(served, "POST", f"{place}/undo", status=409)
    await say(served, place.rpartition("/")[2], "1")
    end = (await say(served, place.rpartition("/")[2], "2"))["message"]["id"]
    moved = await call(served, "POST", f"{place}/undo")
    assert moved["undone"]["content"][0]["text"] == "2"
    assert moved["messages"] == 2
    assert (await call(served, "POST", f"{place}/redo"))["head"] == end
    await call(served, "POST", f"{place}/redo", status=409)


async def test_said_otherwise(serving: Serving) -> None:
    """An edited question and a regenerated answer are branches beside the old ones, which can be
    gone back to and read."""
    served = await serving(ScriptedModel(["Old.", "New.", "Newer."]))
    id = await served.conversation()
    place = f"/conversations/{id}"
    old = (await say(served, id, "What?"))["message"]
    question = old["parent"]
    edited = await call(
        served, "POST", f"{place}/messages/{question}/edit?wait=30", json={"text": "Who?"}
    )
    assert edited["text"] == "New."
    again = await call(served, "POST", f"{place}/regenerate?wait=30")
    assert again["text"] == "Newer."
    branches = (await call(served, "GET", f"{place}/branches"))["items"]
    assert [branch["preview"] for branch in branches] == ["Who?", "What?", "Who?"]
    aside = await call(served, "GET", f"{place}/messages?branch={old['id']}")
    assert [m["content"][0]["text"] for m in aside["items"]] == ["What?", "Old."]
    moved = await call(served, "POST", f"{place}/switch", json={"message": old["id"]})
    assert moved["head"] == old["id"]
    await call(served, "POST", f"{place}/switch", json={"message": "nobody"}, status=404)
    await call(served, "GET", f"{place}/messages?branch=nobody", status=404)


async def test_forked(serving: Serving) -> None:
    """A fork shares the history up to a message and goes on by itself."""
    served = await serving(ScriptedModel(["One.", "Two."]))
    id = await served.conversation()
    first = (await say(served, id, "1"))["message"]["id"]
    await say(served, id, "2")
    fork = await call(served, "POST", f"/conversations/{id}/fork", json={"at": first}, status=201)
    assert (fork["messages"], fork["forked_from"]["conversation"]) == (2, id)
    path = f"/conversations/{id}/fork"
    await call(served, "POST", path, json={"at": "nobody"}, status=404)


async def test_redacted(serving: Serving) -> None:
    """What was redacted is nowhere any more: not in the messages, not in search, not in exports."""
    served = await serving(ScriptedModel(["I will not tell."]))
    id = await served.conversation()
    question = (await say(served, id, "My word is xyzzy."))["message"]["parent"]
    path = f"/conversations/{id}/messages/{question}/redact"
    receipt = await call(served, "POST", path, json={"note": "asked for"})
    assert receipt["message"] == question
    assert (await call(served, "GET", "/search?q=xyzzy"))["items"] == []
    for where in ("messages", "export?format=jsonl"):
        response = await served.http.get(f"/api/conversations/{id}/{where}")
        assert "xyzzy" not in await response.text()
