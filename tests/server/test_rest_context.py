"""The window over HTTP: read, previewed, made smaller, taken back; pins stay."""

from palaver.testing import ScriptedModel
from tests.server.conftest import Served, Serving
from tests.server.rest_calls import call, say


async def long_one(serving: Serving) -> tuple[Served, str]:
    said = " ".join(f"Fact {n} is that house {n} has {n * 7} windows." for n in range(120))
    served = await serving(ScriptedModel([said] * 6))
    id = await served.conversation()
    for n in range(6):
        await say(served, id, f"Tell me about street {n}.")
    return served, id


async def test_read(serving: Serving) -> None:
    """The reading says how full the window is and by what."""
    served, id = await long_one(serving)
    context = await call(served, "GET", f"/conversations/{id}/context")
    assert context["model"] == "scripted:model"
    assert sum(context["by_category"].values()) > 0
    assert 0 < context["share"] < 1
    assert context["outlook"]["tokens_after"] < context["outlook"]["tokens_before"]
    plan = await call(served, "GET", f"/conversations/{id}/compaction")
    assert plan["outlook"] == context["outlook"]


async def test_previewed_applied_undone(serving: Serving) -> None:
    """A preview changes nothing; applied it does what it showed; undone the window is whole."""
    served, id = await long_one(serving)
    place = f"/conversations/{id}/compaction"
    preview = await call(served, "POST", f"{place}/preview", json={"by_model": False})
    assert preview["goes"]
    assert (await call(served, "GET", f"/conversations/{id}/context"))["compaction"] is None
    done = await call(served, "POST", place, json={"preview": preview["preview"]})
    assert done["compaction"] == preview["compaction"]
    context = await call(served, "GET", f"/conversations/{id}/context")
    assert context["compaction"]["id"] == done["compaction"]["id"]
    await call(served, "POST", place, json={"preview": "another"}, status=404)
    undone = await call(served, "POST", f"{place}/undo")
    assert undone["id"] == done["compaction"]["id"]
    await call(served, "POST", f"{place}/undo", status=409)


async def test_a_preview_is_of_its_own_conversation(serving: Serving) -> None:
    """The preview of one conversation does nothing to another one, nor in another tenant."""
    served, id = await long_one(serving)
    preview = await call(
        served, "POST", f"/conversations/{id}/compaction/preview", json={"by_model": False}
    )
    other = await served.conversation()
    body = {"preview": preview["preview"]}
    await call(served, "POST", f"/conversations/{other}/compaction", json=body, status=404)
    headers = await served.key(tenant="elsewhere")
    path = f"/conversations/{id}/compaction"
    await call(served, "POST", path, json=body, headers=headers, status=404)


async def test_pinned(serving: Serving) -> None:
    """A message is pinned and let go of by its id, as often as one likes."""
    served = await serving(ScriptedModel(["Yes."]))
    id = await served.conversation()
    message = (await say(served, id, "Never forget."))["message"]["parent"]
    place = f"/conversations/{id}/pins"
    for _ in range(2):
        await call(served, "PUT", f"{place}/{message}", status=204)
    assert (await call(served, "GET", place))["items"] == [message]
    for _ in range(2):
        await call(served, "DELETE", f"{place}/{message}", status=204)
    assert (await call(served, "GET", place))["items"] == []
    await call(served, "PUT", f"{place}/nobody", status=404)
