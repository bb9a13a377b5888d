"""What no decent client sends: each is refused with a reason, nothing breaks, and what can be kept
is kept."""

import io
import json
import re
from typing import Any

from yarl import URL

from palaver.providers.offline import OfflineModel
from palaver.testing import ScriptedModel
from tests.server.conftest import Served, Serving
from tests.server.rest_calls import call, say
from tests.server.test_openapi import operations

IDS = [
    "nobody",
    "%00",
    "..%2F..%2Fetc%2Fpasswd",
    "conv_%0d%0aX-Injected:%201",
    "%27%3B%20DROP%20TABLE%20events%3B--",
    "%ED%A0%80",
    "%F0%9F%92%A9",
    "a" * 3000,
    "sha256:" + "0" * 64,
    "sha256:..%2F..%2F" + "0" * 60,
]


async def raw(served: Served, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
    headers = {"content-type": "application/json"}
    url = f"{served.address}/api{path}"
    sent = io.BytesIO(body)
    async with served.http.request(method, url, data=sent, headers=headers) as response:
        assert response.content_type.endswith("json"), await response.text()
        return response.status, await response.json()


async def test_ids_of_nobody(serving: Serving) -> None:
    """In every path an id that is nobody's leads to 404, whatever it is made of."""
    served = await serving(OfflineModel())
    document = await (await served.http.get("/api/openapi.json")).json()
    for place, operation in operations(document):
        method, _, path = place.partition(" ")
        content = operation.get("requestBody", {}).get("content", {})
        example = content.get("application/json", {}).get("example")
        data = None if example is None else json.dumps(example).encode()
        for id in IDS if "{" in path else []:
            filled = re.sub("{[a-z]+}", lambda _, id=id: id, path)  # type: ignore[misc]
            url = URL(f"{served.address}{filled}?q=x", encoded=True)
            headers = {"content-type": "application/json"}
            async with served.http.request(method, url, data=data, headers=headers) as response:
                assert response.status == 404, (place, id[:40], await response.text())
                assert "x-injected" not in response.headers


DEEP = 10_000
NOT_JSON = {
    "nothing": b"",
    "words": b"hello",
    "half of it": b'{"text": "hi"',
    "two": b'{"text": "hi"} {"text": "ho"}',
    "bytes that are no UTF-8": b'{"text": "\xff\xfe"}',
    "a surrogate in UTF-8": b'{"text": "\xed\xa0\x80"}',
    "half a surrogate": b'{"text": "\\ud800"}',
    "a name twice": b'{"text": "hi", "text": "ho"}',
    "a name twice, once escaped": b'{"text": "hi", "t\\u0065xt": "ho"}',
    "NaN": b'{"text": "hi", "output": {"schema": {"type": "object", "x": NaN}}}',
    "a BOM": b'\xef\xbb\xbf{"text": "hi"}',
    "deep lists": b'{"text": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep and open": b"[" * DEEP,
    "deep in a schema": b'{"text": "hi", "output": {"schema": '
    + b'{"a":' * DEEP
    + b"1"
    + b"}" * DEEP,
}


async def test_no_json(serving: Serving) -> None:
    """A body that is no JSON, or may be read in two ways, or is too deep, is refused."""
    served = await serving(ScriptedModel())
    id = await served.conversation()
    for name, body in NOT_JSON.items():
        status, problem = await raw(served, "POST", f"/conversations/{id}/turns", body)
        assert status in (400, 413, 422), name
        assert problem["status"] == status, name
        assert problem["code"], name
    assert (await call(served, "GET", f"/conversations/{id}"))["messages"] == 0


WRONG = {
    "a list": [],
    "a text": "hi",
    "no words": {},
    "words as a number": {"text": 5},
    "words as null": {"text": None},
    "blank words": {"text": " \n "},
    "words and content": {"text": "hi", "content": [{"type": "text", "text": "ho"}]},
    "no content": {"content": []},
    "content of no kind": {"content": [{"text": "hi"}]},
    "content of a model's kind": {"content": [{"type": "tool_call", "id": "c", "name": "x"}]},
    "an unknown field": {"text": "hi", "admin": True},
    "an unknown choice": {"text": "hi", "on_busy": "ask nicely"},
    "a picture of nothing": {"content": [{"type": "image"}]},
    "a picture twice": {"content": [{"type": "image", "blob": "x", "url": "http://x"}]},
    "a picture of this disk": {"content": [{"type": "image", "url": "file:///etc/passwd"}]},
    "a size that no number holds": {
        "content": [{"type": "file", "url": "http://x", "size": 10**400}]
    },
    "a negative size": {"content": [{"type": "file", "url": "http://x", "size": -1}]},
    "a key of nothing": {"text": "hi", "idempotency_key": ""},
    "a long key": {"text": "hi", "idempotency_key": "k" * 256},
    "a shape that is no object": {"text": "hi", "output": {"schema": {"type": "array"}}},
    "a shape that is no schema": {"text": "hi", "output": {"schema": {"type": 7}}},
    "a tool without a name": {"text": "hi", "client_tools": [{"name": "a b"}]},
    "one tool twice": {"text": "hi", "client_tools": [{"name": "a"}, {"name": "a"}]},
}


async def test_wrong_values(serving: Serving) -> None:
    """A value that is wrong is refused with its place, and nothing was said."""
    served = await serving(ScriptedModel())
    id = await served.conversation()
    for name, body in WRONG.items():
        path = f"/conversations/{id}/turns"
        status, problem = await raw(served, "POST", path, json.dumps(body).encode())
        assert (status, problem["code"]) == (422, "invalid_input"), name
    assert (await call(served, "GET", f"/conversations/{id}"))["messages"] == 0


PREFERENCES: list[dict[str, Any]] = [
    {"max_tokens": 10**30},
    {"max_tokens": 0},
    {"seed": -1},
    {"temperature": 1e400},
    {"temperature": -0.1},
    {"stop": ["x"] * 17},
    {"approvals": "always"},
    {"model": "nobody:knows"},
    {"model": 5},
]


async def test_wrong_preferences(serving: Serving) -> None:
    """A conversation keeps what it had where a preference is impossible."""
    served = await serving()
    path = f"/conversations/{await served.conversation()}"
    before = await call(served, "GET", path)
    for preferences in PREFERENCES:
        written = json.dumps({"preferences": preferences, "title": "x"})
        body = written.replace("Infinity", "1e400").encode()
        status, _ = await raw(served, "PATCH", path, body)
        assert status in (400, 422), preferences
    assert await call(served, "GET", path) == before


async def test_what_cannot_be_stored(serving: Serving) -> None:
    """NUL becomes U+FFFD, in words and in names, and is looked for without harm."""
    served = await serving(ScriptedModel(["Yes."]))
    body = {"title": "a\x00b", "tags": ["c\x00d"], "custom": {"k\x00": "v\x00"}}
    made = await call(served, "POST", "/conversations", json=body, status=201)
    assert (made["title"], made["tags"]) == ("a\ufffdb", ["c\ufffdd"])
    await say(served, made["id"], "before\x00after")
    messages = await call(served, "GET", f"/conversations/{made['id']}/messages")
    assert messages["items"][0]["content"][0]["text"] == "before\ufffdafter"
    for query in ("a%00b", "%00", "%ED%A0%80", "%FF", '"', "*", "NEAR(", "a OR", "'" * 50):
        found = await served.http.get(f"{served.address}/api/search?q={query}")
        assert found.status == 200, query


def deep(levels: int) -> bytes:
    """A message whose shape has values within so many others; quoted brackets do not count."""
    value: Any = 'a "string" with [[[[ and {{{{ and a backslash \\'
    for level in range(levels - 3):
        value = [value] if level % 2 else {"k": value}
    schema = {"type": "object", "x": value}
    return json.dumps({"text": "hi", "output": {"schema": schema}}).encode()


async def test_as_deep_as_the_settings_say(serving: Serving) -> None:
    """JSON as deep as `json_depth` is read, and one level deeper it is not."""
    served = await serving(ScriptedModel(["{}"]), json_depth=20)
    path = f"/conversations/{await served.conversation()}/turns?wait=30"
    status, problem = await raw(served, "POST", path, deep(21))
    assert (status, problem["code"]) == (400, "bad_json")
    assert "deeper" in problem["message"]
    assert (await raw(served, "POST", path, deep(20)))[0] == 200


async def test_one_byte_too_many(serving: Serving) -> None:
    """A body of ten mebibytes is read; one byte more is not, and nothing else is harmed."""
    served = await serving(ScriptedModel(["Yes."]))
    id = await served.conversation()
    path = f"/conversations/{id}/turns"
    frame = len(b'{"text": ""}')
    limit = served.server.settings.body_bytes
    status, problem = await raw(
        served, "POST", path, b'{"text": "%b"}' % (b"a" * (limit + 1 - frame))
    )
    assert (status, problem["code"]) == (413, "body_too_large")
    status, _ = await raw(served, "POST", path, b'{"text": "%b"}' % (b"a" * (limit - frame)))
    assert status == 422  # more than a message may have, and read as far as that
    assert (await say(served, id, "hi"))["text"] == "Yes."


async def test_a_provider_s_words_stay_inside(serving: Serving) -> None:
    """What is raised inside by chance leaves as one sentence and an id, without a trace of it."""

    class Broken(ScriptedModel):
        def stream(self, request: Any) -> Any:
            raise RuntimeError("secret words of the inside")

    served = await serving(Broken(["x"]))
    id = await served.conversation()
    path = f"/conversations/{id}/turns?wait=30"
    async with served.http.post(f"/api{path}", json={"text": "hi"}) as response:
        assert "secret words" not in await response.text()
