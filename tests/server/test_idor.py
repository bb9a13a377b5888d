"""Nobody gets in where they don't belong: every route of the app, whoever wrote it, for everybody
who may not use it.

A route that is added without a caller's key, or that finds what belongs to somebody else, fails
here without anybody having to think of it.
"""

import json
from typing import Any, get_args

import aiohttp
import msgspec
import msgspec.inspect
import pytest
from msgspec.structs import replace

from palaver.domain.access import PERMISSIONS
from palaver.domain.errors import ConnectionFailed
from palaver.server.ws_frames import Authenticate, Command, Ping, Unsubscribe
from palaver.settings import Settings
from palaver.testing import Fail, ScriptedModel
from tests.server.conftest import Served, Serving
from tests.server.routes import Way, sent, sockets, ways

MARK = "xyzzy-of-the-first-tenant"
UNREACHABLE = "into the outbox"
SHARED = {"model"}
"""Names in paths that are nobody's own: the same for all tenants."""
READS_BY_POST: set[tuple[str, str]] = set()
"""Posts that change nothing, so that `read` is enough."""
FOR_EVERY_KEY = {("POST", "/api/ws-ticket")}
"""What gives a key nothing that it has not: a ticket is the same key once more."""
Headers = dict[str, str]


async def asked(served: Served, way: Way, path: str, who: Headers) -> tuple[int, str]:
    """Status and text of what a request gets; of a stream its beginning."""
    more = sent(way)
    headers = {**more.pop("headers", {}), **who}
    async with served.http.request(way.method, path, headers=headers, **more) as response:
        if response.content_type == "text/event-stream":
            return response.status, (await response.content.read(2_000)).decode()
        return response.status, await response.text()


def modest(way: Way) -> Way:
    """The way, with a body that asks for nothing that a key of one permission cannot give."""
    if way.path != "/api/keys" or way.method != "POST":
        return way
    return msgspec.structs.replace(way, body={"name": "x", "scopes": ["admin"]})


def anywhere(way: Way) -> str:
    """A path with ids that nothing has."""
    return searched(way, way.at({name: f"{name}_of_nobody" for name in way.names}))


def searched(way: Way, path: str) -> str:
    """The path, with words to look for where the route wants some."""
    return f"{path}?q={MARK}" if "q" in way.query else path


def without_id(text: str) -> Any:
    """A problem, apart from the request that it was about."""
    told = json.loads(text)
    told.pop("request_id", None)
    return told


async def test_all_routes_are_described(serving: Serving) -> None:
    """What is not in the OpenAPI document is not there, so that the document tells all ways in."""
    served = await serving()
    assert [str(way) for way in ways(served.server) if not way.is_documented] == []
    assert len(ways(served.server)) > 40


async def test_keys_that_open_nothing(serving: Serving) -> None:
    """No key, a wrong one, a revoked one and an expired one: 401 on every route, in every header,
    with the same words, and before anything is looked up."""
    served = await serving()
    revoked = await served.key()
    now = served.server.parts.clock.now()
    expired = await served.key(expires_at=now - 1)
    id = revoked["authorization"].split("_")[1]
    await served.server.authenticator.keys.revoke(id)
    unknown = {"authorization": f"Bearer pal_{'0' * 10}_{'A' * 43}"}
    bad = [unknown, revoked, expired, {"authorization": "Bearer x"}]
    bad += [{h: who["authorization"][7:]} for who in bad for h in ("x-api-key", "api-key")]
    for way in ways(served.server):
        told = set()
        for who in bad:
            status, text = await asked(served, way, anywhere(way), who)
            assert status == 401, f"{way} answered {status}"
            told.add(json.dumps(without_id(text)))
        assert len(told) == 1, f"{way} tells keys apart"
        assert (await asked(served, way, anywhere(way), {}))[0] == 401, way


async def test_narrower_keys(serving: Serving) -> None:
    """Each route asks for one permission: a key without it gets a 403 whatever it sends, by
    whichever header; to read is enough for what changes nothing only."""
    served = await serving()
    keys = {scope: await served.key(scope) for scope in PERMISSIONS}
    everything_but = {
        scope: await served.key(*(s for s in PERMISSIONS if s != scope)) for scope in PERMISSIONS
    }
    for way in map(modest, ways(served.server)):
        passed = set()
        for scope, who in keys.items():
            for name in ("authorization", "x-api-key", "api-key"):
                value = who["authorization"]
                sending = {name: value if name == "authorization" else value[7:]}
                status, _ = await asked(served, way, anywhere(way), sending)
                assert status != 401, way
                if status != 403:
                    passed.add((scope, name))
        scopes = {scope for scope, _ in passed}
        if (way.method, way.path) in FOR_EVERY_KEY:
            assert len(passed) == 12, way
            continue
        assert len(scopes) == 1, f"{way} is open to {sorted(scopes)}"
        assert len(passed) == 3, f"{way} takes headers for different ones"
        (needed,) = scopes
        assert (await asked(served, way, anywhere(way), everything_but[needed]))[0] == 403, way
        if way.method != "GET" and (way.method, way.path) not in READS_BY_POST:
            assert needed != "read", f"{way} changes something for a key that may only read"


class Owned:
    """What the first tenant has: an id for each name that a path may have."""

    def __init__(self, served: Served, who: Headers) -> None:
        self.served, self.who = served, who
        self.ids: dict[str, str] = {}
        self.waiting = ""
        """The conversation with a prompt in its outbox."""

    async def call(self, method: str, path: str, **more: Any) -> Any:
        """What the first tenant gets for a request."""
        headers = {**more.pop("headers", {}), **self.who}
        async with self.served.http.request(method, path, headers=headers, **more) as response:
            assert response.status < 300, await response.text()
            return None if response.status == 204 else await response.json()

    async def fill(self) -> None:
        """Make one of everything."""
        text = {"content-type": "text/plain"}
        file = await self.call("POST", "/api/files", data=MARK.encode(), headers=text)
        id = (await self.call("POST", "/api/conversations", json={"title": MARK}))["id"]
        place = f"/api/conversations/{id}/turns?wait=30"
        said = await self.call("POST", place, json={"text": MARK})
        page = await self.call("GET", f"/api/conversations/{id}/messages")
        key = await self.call("POST", "/api/keys", json={"name": MARK, "scopes": ["read"]})
        message = page["items"][0]["id"]
        asking = {"model": "default", "input": MARK}
        await self.call("PUT", f"/api/conversations/{id}/pins/{message}")
        self.ids = {
            "conversation": id,
            "turn": said["turn"],
            "message": message,
            "file": file["id"],
            "key": key["key"]["id"],
            "prompt": await self._prompt(),
            "item": message,
            "response": (await self.call("POST", "/v1/responses", json=asking))["id"],
        }

    async def _prompt(self) -> str:
        self.waiting = (await self.call("POST", "/api/conversations", json={"title": MARK}))["id"]
        kept = {"text": f"{UNREACHABLE} {MARK}", "on_unreachable": "queue"}
        await self.call("POST", f"/api/conversations/{self.waiting}/turns?wait=30", json=kept)
        *_, prompt = (await self.call("GET", "/api/outbox"))["items"]
        return str(prompt["id"])

    def path(self, way: Way) -> str:
        """A path with what the first tenant has."""
        ids = dict(self.ids)
        if "prompt" in way.names or way.path.endswith("/send-outbox"):
            ids["conversation"] = self.waiting
        unknown = set(way.names) - ids.keys()
        assert not unknown, f"{way}: say in `Owned.fill` what the first tenant has as {unknown}"
        return searched(way, way.at(ids))

    def body(self, way: Way) -> Way:
        """The way, with what the first tenant has in the example of its body."""
        if not isinstance(way.body, dict):
            return way
        named = dict.fromkeys(("at", "message"), self.ids["message"])
        return msgspec.structs.replace(way, body={k: named.get(k, v) for k, v in way.body.items()})


@pytest.fixture
async def served(serving: Serving) -> Served:
    model = ScriptedModel()
    model.when(UNREACHABLE, Fail(ConnectionFailed("nobody there")))
    model.when("", "a")
    once = replace(Settings().retry, network_attempts=1)
    outbox = replace(Settings().outbox, automatic=False)
    return await serving(model, settings=replace(Settings(), retry=once, outbox=outbox))


@pytest.fixture
async def first(served: Served) -> Owned:
    """The first tenant, with one of everything."""
    made = Owned(served, await served.key(tenant="first"))
    await made.fill()
    return made


ORDER = {"GET": 0, "PUT": 1, "PATCH": 2, "POST": 3, "DELETE": 4}


def owned_ways(served: Served) -> list[Way]:
    """Those that lead to what is somebody's, the ones that destroy last."""
    found = [w for w in ways(served.server) if set(w.names) - SHARED]
    return sorted(found, key=lambda w: (ORDER[w.method], -len(w.path)))


async def test_ids_of_another_tenant(served: Served, first: Owned) -> None:
    """Whoever has all permissions, and the ids of another tenant, finds nothing: 404 on every
    route, as for ids that nothing has; and nothing of the other one is changed."""
    second = await served.key(tenant="second")
    before = await contents(first)
    for way in owned_ways(served):
        told = first.body(way)
        status, text = await asked(served, told, first.path(way), second)
        assert status == 404, f"{way} answered {status}: {text}"
        nowhere, _ = await asked(served, told, anywhere(way), second)
        assert nowhere == 404, f"{way} tells ids of others from ids of nobody"
    assert await contents(first) == before


async def test_the_ids_are_good(served: Served, first: Owned) -> None:
    """The same requests find what they are about when the owner sends them."""
    for way in owned_ways(served):
        if way.method == "DELETE":
            await first.fill()
        status, text = await asked(served, first.body(way), first.path(way), first.who)
        assert status not in {401, 403, 404, 405, 500}, f"{way} answered {status}: {text}"


async def contents(first: Owned) -> Any:
    """All that the first tenant has."""
    id = first.ids["conversation"]
    paths = ("", "/messages", "/branches", "/pins", "/compaction", "/export?format=jsonl")
    found = []
    for path in paths:
        url = f"/api/conversations/{id}{path}"
        async with first.served.http.get(url, headers=first.who) as response:
            assert response.status == 200, url
            found.append(await response.text())
    lists = ("/api/outbox", "/api/conversations", "/api/usage")
    return found + [json.dumps(await first.call("GET", path)) for path in lists]


async def test_lists_of_another_tenant(served: Served, first: Owned) -> None:
    """No list, search or figure has anything of another tenant in it, and no cursor of theirs opens
    one."""
    second = await served.key(tenant="second")
    secrets = {MARK, *first.ids.values(), first.waiting}
    for way in ways(served.server):
        if way.method != "GET" or set(way.names) - SHARED or way.path == "/metrics":
            continue
        queries = ["", f"?q={MARK}", f"?key={first.ids['key']}"]
        if "cursor" in way.query:
            async with served.http.get(f"{way.path}?limit=1", headers=first.who) as page:
                queries.append(f"?cursor={(await page.json()).get('cursor')}")
        for query in queries:
            status, text = await asked(served, way, way.at({"model": "x"}) + query, second)
            assert status < 500, f"{way}{query}"
            told = text.replace(query.partition("=")[2] or "-", "")
            assert not [secret for secret in secrets if secret in told], f"{way}{query}"


async def test_files_of_another_tenant_in_a_message(served: Served, first: Owned) -> None:
    """The id of a file is told by its content, so anybody may know it; it opens one's own only."""
    second = await served.key(tenant="second")
    id = await served.conversation(tenant="second")
    content = [{"type": "file", "blob": first.ids["file"], "media_type": "text/plain"}]
    place = f"/api/conversations/{id}/turns?wait=30"
    async with served.http.post(place, json={"content": content}, headers=second) as response:
        assert response.status in {404, 422}
        assert MARK not in await response.text()
    text = {"content-type": "text/plain", **second}
    async with served.http.post("/api/files", data=MARK.encode(), headers=text) as response:
        assert (await response.json())["id"] == first.ids["file"]
    async with served.http.get(f"/api/files/{first.ids['file']}", headers=second) as response:
        assert response.status == 200


async def test_messages_of_another_tenant(served: Served, first: Owned) -> None:
    """A message's id is looked for in one's own conversation, wherever it is named."""
    second = await served.key(tenant="second")
    id = await served.conversation(tenant="second")
    message = first.ids["message"]
    for path, body in (
        ("fork", {"at": message}),
        ("switch", {"message": message}),
        ("regenerate", {"message": message}),
        (f"messages/{message}/edit", {"text": "x"}),
        (f"messages/{message}/redact", {}),
    ):
        place = f"/api/conversations/{id}/{path}"
        async with served.http.post(place, json=body, headers=second) as response:
            assert response.status in {404, 422}, path
            assert MARK not in await response.text()


async def test_threads_of_another_tenant(served: Served, first: Owned) -> None:
    """AG-UI: a thread is a name within one tenant. The same name is another thread elsewhere, and
    another one's conversation is not found by it."""
    second = await served.key(tenant="second")
    body: dict[str, Any] = {
        "threadId": "thread-1",
        "runId": "run-1",
        "messages": [{"id": "1", "role": "user", "content": MARK}],
    }
    for who in (first.who, second):
        async with served.http.post("/api/ag-ui", json=body, headers=who) as response:
            assert response.status == 200, await response.text()
            assert "RUN_FINISHED" in await response.text()
    body |= {"threadId": first.ids["conversation"]}
    before = await contents(first)
    async with served.http.post("/api/ag-ui", json=body, headers=second) as response:
        assert response.status == 404
    assert await contents(first) == before


async def test_socket_without_a_key(serving: Serving) -> None:
    """No WebSocket is one for somebody whose key opens nothing: the handshake is refused, or the
    socket is closed without a word of anything."""
    served = await serving()
    revoked = await served.key()
    id = revoked["authorization"].split("_")[1]
    await served.server.authenticator.keys.revoke(id)
    now = served.server.parts.clock.now()
    expired = await served.key(expires_at=now - 1)
    for path in sockets(served.server):
        for who in (revoked, expired, {"authorization": "Bearer x"}):
            assert await refusal(served, path, who) in {401, 403, 1008, 4401}, path


COMMANDS = [c for c in get_args(Command) if c not in {Authenticate, Ping, Unsubscribe}]
"""Those that reach something; the others are about the socket alone."""


def framed(command: type, ids: dict[str, str]) -> dict[str, Any]:
    """A command about these ids."""
    told: dict[str, Any] = {
        "turn": ids["turn"],
        "conversation": ids["conversation"],
        "call": "call_1",
        "text": MARK,
        "results": [{"call": "call_1", "text": "x"}],
    }
    fields = msgspec.inspect.type_info(command)
    assert isinstance(fields, msgspec.inspect.StructType)
    needed = {f.name for f in fields.fields if f.required or f.name == "text"} - {"id"}
    assert needed <= told.keys(), f"{command}: say here what its fields are"
    return {"id": "1", "type": fields.tag} | {name: told[name] for name in needed}


async def over_a_socket(served: Served, who: Headers, frame: dict[str, Any]) -> dict[str, Any]:
    """The answer to a command."""
    async with served.http.ws_connect("/api/ws", headers=who) as socket:
        await socket.send_json(frame)
        answer: dict[str, Any] = await socket.receive_json(timeout=60)
        return answer


async def test_sockets_of_another_tenant(served: Served, first: Owned) -> None:
    """No command on a socket finds what is another tenant's, and none says that it is there."""
    second = await served.key(tenant="second")
    nobody = {"turn": "turn_nobody", "conversation": "conv_nobody"}
    before = await contents(first)
    assert sockets(served.server) == ["/api/ws"]
    for command in COMMANDS:
        for ids in (first.ids, nobody):
            answer = await over_a_socket(served, second, framed(command, ids))
            assert answer.get("error", {}).get("status") == 404, f"{command}: {answer}"
    assert await contents(first) == before


async def test_narrower_keys_on_sockets(served: Served, first: Owned) -> None:
    """Each command asks for one permission."""
    for command in COMMANDS:
        passed = []
        for scope in PERMISSIONS:
            who = await served.key(scope, tenant="second")
            answer = await over_a_socket(served, who, framed(command, first.ids))
            if answer["error"]["status"] != 403:
                passed.append(scope)
        assert len(passed) == 1, f"{command} is open to {passed}"


async def refusal(served: Served, path: str, who: Headers) -> int | None:
    """The status of a refused handshake, or the code with which the socket is closed at once."""
    try:
        async with served.http.ws_connect(path, headers=who) as socket:
            message = await socket.receive(timeout=60)
            return message.data if message.type is aiohttp.WSMsgType.CLOSE else None
    except aiohttp.WSServerHandshakeError as error:
        return error.status
