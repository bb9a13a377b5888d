"""The audit log and keys over HTTP: who did what, and who was refused."""

from typing import Any

import pytest

from palaver import tool
from palaver.domain.access import KeyLimits
from palaver.server.audit import EACH, Auditor, action_of
from palaver.service.access import new_key
from palaver.store.memory import MemoryStore
from palaver.testing import Call, ScriptedModel, ToldClock
from tests.server.conftest import Served, Serving

Told = dict[str, Any]


async def entries(served: Served, admin: dict[str, str]) -> list[Told]:
    """The audit log of a tenant."""
    response = await served.http.get("/api/audit?limit=1000", headers=admin)
    assert response.status == 200, await response.text()
    found: list[Told] = (await response.json())["entries"]
    return found


async def actions(served: Served, admin: dict[str, str]) -> list[str]:
    return [entry["action"] for entry in await entries(served, admin)]


async def made(served: Served, admin: dict[str, str], **wanted: Any) -> Told:
    """A key that was made over HTTP."""
    body = {"name": "phone", **wanted}
    response = await served.http.post("/api/keys", json=body, headers=admin)
    assert response.status == 201, await response.text()
    found: Told = await response.json()
    return found


async def test_key_made_used_and_revoked(serving: Serving) -> None:
    """The secret is told once; the key opens what it was made for, and nothing when revoked."""
    served = await serving()
    admin = await served.key()
    phone = await made(served, admin, scopes=["read"], expires_in_s=3600)
    sent = {"x-api-key": phone["secret"]}
    assert (await served.http.get("/api/conversations", headers=sent)).status == 200
    assert (await served.http.post("/api/conversations", json={}, headers=sent)).status == 403
    listed = await (await served.http.get("/api/keys", headers=admin)).text()
    assert phone["key"]["id"] in listed
    assert phone["secret"] not in listed
    assert phone["secret"].rpartition("_")[2] not in listed
    place = f"/api/keys/{phone['key']['id']}"
    assert (await served.http.delete(place, headers=admin)).status == 200
    assert (await served.http.get("/api/conversations", headers=sent)).status == 401
    told = await entries(served, admin)
    wanted = ["key.created", "access.refused", "key.revoked", "access.refused"]
    assert [e["action"] for e in told] == wanted
    assert all(phone["secret"] not in str(entry) for entry in told)


async def test_first_key_closes_the_door(serving: Serving) -> None:
    """A server without keys lets its own machine make the first one; from then on it needs one."""
    served = await serving()
    first = await made(served, {}, scopes=["read", "admin"])
    assert (await served.http.get("/api/conversations")).status == 401
    sent = {"x-api-key": first["secret"]}
    assert (await served.http.get("/api/conversations", headers=sent)).status == 200


async def test_nobody_gives_what_they_do_not_have(serving: Serving) -> None:
    """A key that may only `admin` makes no key that may more."""
    served = await serving()
    admin = await served.key("admin", "read")
    wanted = {"name": "x", "scopes": ["read", "write"]}
    response = await served.http.post("/api/keys", json=wanted, headers=admin)
    assert response.status == 403
    assert (await made(served, admin, scopes=["read"]))["key"]["scopes"] == ["read"]


async def test_keys_inherit_limits_and_end(serving: Serving) -> None:
    """A limited key's keys are limited as it is, and do not outlive it."""
    served = await serving()
    ends = served.server.parts.clock.now() + 1000
    maker = new_key(
        "m", scopes=("read", "admin"), expires_at=ends, limits=KeyLimits(usd_per_day=5.0)
    )
    await served.server.access.add_key(maker.key, maker.digest)
    admin = {"x-api-key": maker.text}
    one = await made(served, admin, scopes=["read"])
    assert one["key"]["limits"] == {"usd_per_day": 5.0}
    assert one["key"]["expires_at"] == pytest.approx(ends, abs=0.01)
    less = await made(
        served, admin, scopes=["read"], expires_in_s=10, limits={"requests_per_minute": 7}
    )
    assert less["key"]["limits"] == {"requests_per_minute": 7, "usd_per_day": 5.0}
    assert less["key"]["expires_at"] < ends
    more = {"name": "x", "scopes": ["read"], "limits": {"usd_per_day": 6.0}}
    assert (await served.http.post("/api/keys", json=more, headers=admin)).status == 422


async def test_keys_of_other_tenants(serving: Serving) -> None:
    """They are not listed, not revoked, and not in the log."""
    served = await serving()
    admin, other = await served.key(), await served.key(tenant="other")
    phone = await made(served, admin)
    place = f"/api/keys/{phone['key']['id']}"
    assert (await served.http.delete(place, headers=other)).status == 404
    listed = await (await served.http.get("/api/keys", headers=other)).json()
    assert {key["tenant"] for key in listed["keys"]} == {"other"}
    assert await entries(served, other) == []
    sent = {"x-api-key": phone["secret"]}
    assert (await served.http.get("/api/conversations", headers=sent)).status == 200


async def test_erasing_and_taking_out(serving: Serving) -> None:
    """Who exports, erases or deletes is written down, with what it was."""
    served = await serving(ScriptedModel(["a"]))
    admin = await served.key()
    id = await served.conversation()
    said = await served.http.post(
        f"/api/conversations/{id}/turns?wait=30", json={"text": "Hi"}, headers=admin
    )
    assert said.status == 200
    page = await served.http.get(f"/api/conversations/{id}/messages", headers=admin)
    message = (await page.json())["items"][0]["id"]
    base = f"/api/conversations/{id}"
    assert (await served.http.get(f"{base}/export", headers=admin)).status == 200
    redacted = await served.http.post(f"{base}/messages/{message}/redact", json={}, headers=admin)
    assert redacted.status < 300, await redacted.text()
    assert (await served.http.delete(base, headers=admin)).status < 300
    told = await entries(served, admin)
    assert [(e["action"], e["target"]) for e in told] == [
        ("conversation.exported", id),
        ("message.redacted", f"{id}/{message}"),
        ("conversation.deleted", id),
    ]
    key = admin["authorization"].split("_")[1]
    assert all(e["actor"] == key for e in told)
    assert all(e["request_id"].startswith("req_") for e in told)
    assert all(e["address"] == "127.0.0.1" for e in told)


async def test_what_failed_is_not_told(serving: Serving) -> None:
    """A delete of what is not there deleted nothing."""
    served = await serving()
    admin = await served.key()
    assert (await served.http.delete("/api/conversations/conv_x", headers=admin)).status == 404
    assert await actions(served, admin) == []


@pytest.mark.parametrize("approve", [True, False])
async def test_approvals(serving: Serving, approve: bool) -> None:
    """Who let a tool run, and who did not, is written down."""

    @tool(effect="effect")
    def post(text: str) -> str:
        return "posted"

    served = await serving(ScriptedModel([[Call("post", {"text": "x"})], "done"]), tools=[post])
    admin = await served.key()
    id = await served.conversation()
    said = await served.http.post(
        f"/api/conversations/{id}/turns?wait=30", json={"text": "Hi"}, headers=admin
    )
    turn = (await said.json())["turn"]
    status = await (await served.http.get(f"/api/turns/{turn}", headers=admin)).json()
    (call,) = status["waiting"]
    decided = await served.http.post(
        f"/api/turns/{turn}/decisions",
        json={"decisions": [{"call": call["id"], "approve": approve, "note": "because"}]},
        headers=admin,
    )
    assert decided.status < 300, await decided.text()
    (told,) = await entries(served, admin)
    assert told["action"] == ("call.approved" if approve else "call.denied")
    assert told["target"] == f"{id}/{call['id']}"
    assert told["detail"] == "because"


async def test_refusals(serving: Serving) -> None:
    """Whose key does not allow it is told in their tenant's log, who has none in the operator's."""
    served = await serving()
    admin = await served.key()
    other = await served.key("read", "admin", tenant="other")
    assert (await served.http.post("/api/conversations", json={}, headers=other)).status == 403
    assert (await served.http.get("/api/conversations")).status == 401
    (theirs,) = await entries(served, other)
    assert (theirs["action"], theirs["outcome"]) == ("access.refused", "refused")
    assert theirs["detail"] == "403 POST /api/conversations"
    (ours,) = await entries(served, admin)
    assert (ours["actor"], ours["detail"]) == ("(nobody)", "401 GET /api/conversations")


async def test_refusals_are_bounded(serving: Serving) -> None:
    """Nobody fills the disk by being refused."""
    clock = ToldClock()
    access = MemoryStore(clock=clock).access
    auditor = Auditor(access, clock=clock)
    scope = {"type": "http", "method": "GET", "client": ("192.0.2.1", 1)}
    for _ in range(50):
        await auditor.refused(scope, "401")
    clock_moved = {**scope, "client": ("192.0.2.2", 1)}
    await auditor.refused(clock_moved, "401")
    told = await access.audit_entries("local")
    assert len(told) == EACH + 1
    assert "40 more" in told[-1].detail
    await clock.advance(60)
    await auditor.refused(scope, "401")
    assert len(await access.audit_entries("local")) == EACH + 2


async def test_pages(serving: Serving) -> None:
    """A page's cursor leads to the next one, and later to what is new."""
    served = await serving()
    admin = await served.key()
    for _ in range(5):
        await made(served, admin)
    seen, after, more = [], 0, True
    while more:
        page = await (
            await served.http.get(f"/api/audit?limit=2&after={after}", headers=admin)
        ).json()
        seen += [e["number"] for e in page["entries"]]
        after, more = page["cursor"], page["has_more"]
    assert seen == sorted(set(seen))
    assert len(seen) == 5
    empty = await (await served.http.get(f"/api/audit?after={after}", headers=admin)).json()
    assert (empty["entries"], empty["cursor"]) == ([], after)


async def test_only_admins(serving: Serving) -> None:
    """The log and the keys are for those who may `admin`."""
    served = await serving()
    sent = await served.key("read", "write", "approve")
    for method, path in (
        ("GET", "/audit"),
        ("GET", "/keys"),
        ("POST", "/keys"),
        ("DELETE", "/keys/x"),
    ):
        response = await served.http.request(method, f"/api{path}", headers=sent)
        assert response.status == 403


@pytest.mark.parametrize(
    "method, template, action",
    [
        ("DELETE", "/api/conversations/{conversation}", "conversation.deleted"),
        ("GET", "/api/conversations/{conversation}/export", "conversation.exported"),
        ("DELETE", "/v1/responses/{response}", "response.deleted"),
        ("DELETE", "/api/conversations/{c}/outbox/{prompt}", "outbox.deleted"),
        ("GET", "/api/conversations/{conversation}", ""),
        ("DELETE", "/api/keys/{key}", ""),
        ("DELETE", "", "thing.deleted"),
    ],
)
def test_actions_of_routes(method: str, template: str, action: str) -> None:
    """What a route does is told by its method and path, so new ones are written down, too."""
    assert action_of(method, template) == action
