"""What the strict server refuses, and in which words."""

import base64
import copy
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from palaver.testing import Call, Line, ProviderServer, Say, Think

PNG = base64.b64encode(b"\x89PNG....").decode()
USER = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
Json = dict[str, Any]
HEADERS = {"x-api-key": "k", "authorization": "Bearer k", "anthropic-version": "2023-06-01"}


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with ProviderServer(window=30_000, max_body=200_000) as server:
        yield server


class Client:
    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http, self.url = http, url

    async def post(self, path: str, body: Json, headers: Json | None = None) -> tuple[int, Json]:
        headers = HEADERS if headers is None else headers
        async with self.http.post(self.url + path, json=body, headers=headers) as response:
            return response.status, await response.json()


@pytest.fixture
async def client(server: ProviderServer) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as http:
        yield Client(http, server.url)


def anthropic(**fields: Any) -> Json:
    base = {"model": "claude-haiku-4-5", "max_tokens": 10, "messages": [USER]}
    return {k: v for k, v in (base | fields).items() if v is not None}


def use(*ids: str, **extra: Any) -> Json:
    blocks = [{"type": "tool_use", "id": id, "name": "add", "input": {}} | extra for id in ids]
    return {"role": "assistant", "content": blocks}


def answer(*ids: str) -> Json:
    blocks = [{"type": "tool_result", "tool_use_id": id, "content": "3"} for id in ids]
    return {"role": "user", "content": blocks}


def block(**fields: Any) -> list[Json]:
    return [{"role": "user", "content": [fields]}]


def tool(**fields: Any) -> list[Json]:
    return [{"name": "add", "input_schema": SCHEMA} | fields]


def marked(count: int) -> list[Json]:
    mark = {"cache_control": {"type": "ephemeral"}}
    return [{"type": "text", "text": "x"} | mark for _ in range(count)]


ANTHROPIC: dict[str, tuple[Json, str]] = {
    "no max_tokens": (anthropic(max_tokens=None), "max_tokens: Field required"),
    "no messages": (anthropic(messages=[]), "at least one message"),
    "a field too many": (anthropic(stop=["x"]), "stop: Extra inputs"),
    "role system": (anthropic(messages=[{"role": "system", "content": "x"}]), "top-level `system`"),
    "role tool": (anthropic(messages=[{"role": "tool", "content": "x"}]), 'Unexpected role "tool"'),
    "assistant first": (anthropic(messages=[{"role": "assistant", "content": "x"}, USER]), "first"),
    "empty content": (anthropic(messages=[{"role": "user", "content": ""}]), "non-empty content"),
    "empty list": (anthropic(messages=[{"role": "user", "content": []}]), "non-empty content"),
    "empty text": (anthropic(messages=block(type="text", text="")), "must be non-empty"),
    "blank text": (anthropic(messages=block(type="text", text=" ")), "non-whitespace"),
    "unknown block": (anthropic(messages=block(type="song")), "Input tag 'song'"),
    "prefill": (anthropic(messages=[USER, {"role": "assistant", "content": "x"}]), "prefill"),
    "open call": (
        anthropic(messages=[USER, use("a"), USER]),
        "messages.1: `tool_use` ids were fou",
    ),
    "text before result": (
        anthropic(
            messages=[
                USER,
                use("a"),
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "x"}, *answer("a")["content"]],
                },
            ]
        ),
        "immediately after: a",
    ),
    "one of two": (anthropic(messages=[USER, use("a", "b"), answer("a")]), "after: b"),
    "a result alone": (anthropic(messages=[answer("a")]), "unexpected `tool_use_id`"),
    "two results": (anthropic(messages=[USER, use("a"), answer("a", "a")]), "single result"),
    "an id twice": (
        anthropic(messages=[USER, use("a"), answer("a"), use("a"), answer("a")]),
        "must be unique",
    ),
    "bad id": (anthropic(messages=[USER, use("a b"), answer("a b")]), "String should match"),
    "input as text": (
        anthropic(messages=[USER, use("a", input="{}"), answer("a")]),
        "Input should be a valid dictionary",
    ),
    "call of the user": (
        anthropic(messages=[{"role": "user", "content": use("a")["content"]}]),
        "can only be in `assistant`",
    ),
    "forged thinking": (
        anthropic(
            messages=[
                USER,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "x", "signature": "forged"},
                        {"type": "text", "text": "x"},
                    ],
                },
                USER,
            ]
        ),
        "messages.1.content.0: Invalid `signature` in `thinking` block",
    ),
    "image type": (
        anthropic(
            messages=block(
                type="image", source={"type": "base64", "media_type": "image/tiff", "data": PNG}
            )
        ),
        "media_type: Input should be 'image/jpeg'",
    ),
    "image data": (
        anthropic(
            messages=block(
                type="image", source={"type": "base64", "media_type": "image/png", "data": "%%"}
            )
        ),
        "Invalid base64",
    ),
    "tool name": (anthropic(tools=tool(name="a b")), "tools.0.custom.name: String should match"),
    "tool twice": (anthropic(tools=tool() * 2), "Tool names must be unique"),
    "tool schema type": (anthropic(tools=tool(input_schema={})), "input_schema.type: Field requir"),
    "tool schema": (
        anthropic(tools=tool(input_schema={"type": "object", "properties": 3})),
        "JSON schema is invalid",
    ),
    "choice without tools": (anthropic(tool_choice={"type": "any"}), "while providing tools"),
    "unknown choice": (
        anthropic(tools=tool(), tool_choice={"type": "tool", "name": "x"}),
        "Tool 'x' not found",
    ),
    "temperature": (anthropic(temperature=1.5), "temperature: range: 0..1"),
    "temperature and thinking": (
        anthropic(
            max_tokens=3000,
            temperature=0.5,
            thinking={"type": "enabled", "budget_tokens": 2000},
        ),
        "`temperature` may only be set to 1",
    ),
    "small budget": (
        anthropic(max_tokens=3000, thinking={"type": "enabled", "budget_tokens": 10}),
        "greater than or equal to 1024",
    ),
    "large budget": (
        anthropic(max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 2000}),
        "`max_tokens` must be greater",
    ),
    "five cache marks": (anthropic(system=marked(5)), "Found 5."),
    "too long": (
        anthropic(messages=[{"role": "user", "content": "x " * 70_000}]),
        "prompt is too l",
    ),
    "too long with output": (anthropic(max_tokens=30_000), "exceed context limit"),
    "open format": (
        anthropic(output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}}),
        "'additionalProperties' must be",
    ),
}


def chat(**fields: Any) -> Json:
    base = {"model": "gpt-4o-mini", "messages": [USER]}
    return {k: v for k, v in (base | fields).items() if v is not None}


def calls(*ids: str, **extra: Any) -> Json:
    function = {"name": "add", "arguments": "{}"}
    made = [{"id": id, "type": "function", "function": function} | extra for id in ids]
    return {"role": "assistant", "content": None, "tool_calls": made}


def result(id: str) -> Json:
    return {"role": "tool", "tool_call_id": id, "content": "3"}


def function(**fields: Any) -> list[Json]:
    return [{"type": "function", "function": {"name": "add", "parameters": SCHEMA} | fields}]


def part(**fields: Any) -> Json:
    return chat(messages=[{"role": "user", "content": [fields]}])


CHAT: dict[str, tuple[Json, str]] = {
    "no messages": (chat(messages=None), "Missing required parameter: 'messages'"),
    "empty messages": (chat(messages=[]), "empty array"),
    "a field too many": (chat(system="x"), "Unrecognized request argument supplied: system"),
    "role": (chat(messages=[{"role": "bot", "content": "x"}]), "Invalid value: 'bot'"),
    "null content": (
        chat(messages=[{"role": "user", "content": None}]),
        "expected a string, got nu",
    ),
    "empty parts": (chat(messages=[{"role": "user", "content": []}]), "empty array"),
    "open call": (
        chat(messages=[USER, calls("a", "b"), result("a"), USER]),
        "The following tool_call_ids did not have response messages: b",
    ),
    "call at the end": (chat(messages=[USER, calls("a")]), "response messages: a"),
    "result alone": (chat(messages=[USER, result("a")]), "must be a response to a preceeding"),
    "result twice": (
        chat(messages=[USER, calls("a"), result("a"), result("a")]),
        "Duplicate value",
    ),
    "no calls": (chat(messages=[USER, calls()]), "empty array"),
    "arguments as object": (
        chat(
            messages=[
                USER,
                calls("a", function={"name": "add", "arguments": {}}),
                result("a"),
            ]
        ),
        "expected a string, but got an object",
    ),
    "long id": (chat(messages=[USER, calls("a" * 41), result("a" * 41)]), "string too long"),
    "tool name": (chat(tools=function(name="a b")), "does not match pattern"),
    "tool schema": (chat(tools=function(parameters={})), "schema must be a JSON Schema of 'type"),
    "strict tool": (chat(tools=function(strict=True)), "'additionalProperties' is required"),
    "choice without tools": (chat(tool_choice="auto"), "only allowed when 'tools'"),
    "stream options": (chat(stream_options={"include_usage": True}), "only allowed when 'stream'"),
    "temperature": (chat(temperature=3), "decimal above maximum value"),
    "max_tokens of a thinker": (chat(model="gpt-5-mini", max_tokens=5), "'max_completion_tokens'"),
    "temperature of a thinker": (chat(model="o4-mini", temperature=0.5), "Only the default (1)"),
    "effort of a plain one": (chat(reasoning_effort="low"), "reasoning_effort"),
    "picture": (
        part(type="image_url", image_url={"url": f"data:image/tiff;base64,{PNG}"}),
        "unsupported image",
    ),
    "picture data": (
        part(type="image_url", image_url={"url": "data:image/png;base64,%%"}),
        "Invalid base64",
    ),
    "format without schema": (
        chat(response_format={"type": "json_schema", "json_schema": {"name": "x"}}),
        "response_format.json_schema.schema",
    ),
    "json without the word": (chat(response_format={"type": "json_object"}), "word 'json'"),
    "too long": (
        chat(messages=[{"role": "user", "content": "x " * 70_000}]),
        "maximum context length is 30000 tokens",
    ),
}


def responses(*items: Json, **fields: Any) -> Json:
    base = {"model": "gpt-5-mini", "input": [USER, *items]}
    return {k: v for k, v in (base | fields).items() if v is not None}


def call(call_id: str, **extra: Any) -> Json:
    return {"type": "function_call", "call_id": call_id, "name": "add", "arguments": "{}"} | extra


def output(id: str) -> Json:
    return {"type": "function_call_output", "call_id": id, "output": "3"}


def thought(**extra: Any) -> Json:
    return {"type": "reasoning", "id": "rs_1", "summary": []} | extra


RESPONSES: dict[str, tuple[Json, str]] = {
    "no input": (responses(input=None), "Missing required parameter: 'input'"),
    "a field too many": (responses(stop=["x"]), "Unknown parameter: 'stop'"),
    "open call": (responses(call("a"), USER), "No tool output found for function call a"),
    "call at the end": (responses(call("a")), "No tool output found for function call a"),
    "result alone": (responses(output("a")), "No tool call found for function call output"),
    "item id": (responses(call("a", id="call_1"), output("a")), "begins with 'fc'"),
    "part of another role": (
        responses({"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}),
        "'output_text', and 'refusal'",
    ),
    "summary": (responses(thought(summary=None)), "input[1].summary"),
    "forged reasoning": (responses(thought(encrypted_content="gAAAAAx")), "could not be verified"),
    "unknown item": (responses(thought(), store=False), "Item with id 'rs_1' not found"),
    "little output": (responses(max_output_tokens=1), "Expected a value >= 16"),
    "temperature of a thinker": (responses(temperature=0.5), "'temperature' is not supported"),
    "effort of a plain one": (
        responses(model="gpt-4o-mini", reasoning={"effort": "low"}),
        "'reasoning.effort' is not supported",
    ),
    "nested tool": (responses(tools=function()), "Missing required parameter: 'tools[0].name'"),
    "previous": (responses(previous_response_id="resp_1"), "not found"),
    "include": (responses(include=["x"]), "Invalid value: 'x'"),
    "format": (
        responses(text={"format": {"type": "json_schema", "schema": {}}}),
        "text.format.name",
    ),
    "too long": (responses(input="x " * 70_000), "exceeds the context window"),
}
TABLES = {"/v1/messages": ANTHROPIC, "/v1/chat/completions": CHAT, "/v1/responses": RESPONSES}
CASES = [(path, name) for path, table in TABLES.items() for name in table]


@pytest.mark.parametrize("path,name", CASES)
async def test_refused(server: ProviderServer, client: Client, path: str, name: str) -> None:
    """A bad request is answered with 400 (404 for what is unknown) in the provider's format."""
    body, words = TABLES[path][name]
    status, reply = await client.post(path, body)
    assert status == (404 if name == "unknown item" else 400), reply
    assert words in reply["error"]["message"], reply
    assert reply["error"]["type"] == "invalid_request_error"
    if path == "/v1/messages":
        assert reply["type"] == "error"
        assert reply["request_id"].startswith("req_")
    else:
        assert set(reply["error"]) == {"message", "type", "param", "code"}
    assert words in server.journal[0].error


@pytest.mark.parametrize(
    "path,body",
    [
        ("/v1/messages", anthropic(messages=[USER, use("a", "b"), answer("a", "b")])),
        ("/v1/messages", anthropic(messages=[USER, USER], tools=tool(), system=marked(4))),
        (
            "/v1/messages",
            anthropic(
                messages=block(
                    type="image",
                    source={"type": "base64", "media_type": "image/png", "data": PNG},
                )
            ),
        ),
        ("/v1/chat/completions", chat(messages=[USER, calls("a", "b"), result("b"), result("a")])),
        ("/v1/chat/completions", chat(model="gpt-5-mini", max_completion_tokens=9)),
        (
            "/v1/chat/completions",
            part(type="image_url", image_url={"url": f"data:image/png;base64,{PNG}"}),
        ),
        ("/v1/responses", responses(call("a"), call("b"), output("a"), output("b"))),
        ("/v1/responses", responses(input="hi")),
    ],
)
async def test_accepted(client: Client, path: str, body: Json) -> None:
    """What the providers accept is accepted."""
    status, reply = await client.post(path, body)
    assert status == 200, reply


async def test_keys_models_and_size(client: Client, server: ProviderServer) -> None:
    """401 without key, 404 for a model nobody knows, 413 for a body that is too large."""
    version = {"anthropic-version": "2023-06-01"}
    for path, body in (
        ("/v1/messages", anthropic()),
        ("/v1/chat/completions", chat()),
        ("/v1/responses", responses()),
    ):
        assert (await client.post(path, body, version))[0] == 401
        assert (await client.post(path, body | {"model": "x-1"}))[0] == 404
        status, reply = await client.post(path, body | {"metadata": {"x": "y" * 300_000}})
        assert (status, "exceeds" in reply["error"]["message"]) == (413, True)
    status, reply = await client.post("/v1/messages", anthropic(), {"x-api-key": "k"})
    assert "anthropic-version" in reply["error"]["message"]
    async with ProviderServer(key="good") as guarded:
        other = Client(client.http, guarded.url)
        status, reply = await other.post("/v1/messages", anthropic())
        assert (status, reply["error"]["message"]) == (401, "invalid x-api-key")
        status, reply = await other.post("/v1/chat/completions", chat())
        assert (status, reply["error"]["code"]) == (401, "invalid_api_key")


THINKING = {"max_tokens": 3000, "thinking": {"type": "enabled", "budget_tokens": 2000}}
STEPS: list[Line] = [Think("first"), Say("ok"), Call("add", {"a": 1}, id="toolu_1")]


async def test_anthropic_thinking_comes_back_unchanged(
    client: Client, server: ProviderServer
) -> None:
    """Thinking is accepted as it was issued; changed or dropped it is refused."""
    server.script([STEPS])
    _, reply = await client.post("/v1/messages", anthropic(**THINKING))

    async def again(content: list[Json]) -> tuple[int, Json]:
        history = [USER, {"role": "assistant", "content": content}, answer("toolu_1")]
        return await client.post("/v1/messages", anthropic(messages=history, **THINKING))

    assert (await again(reply["content"]))[0] == 200
    changed = copy.deepcopy(reply["content"])
    changed[0]["thinking"] += "!"
    status, refusal = await again(changed)
    assert (status, "Invalid `signature`" in refusal["error"]["message"]) == (400, True)
    status, refusal = await again(reply["content"][1:])
    assert (status, "Expected `thinking`" in refusal["error"]["message"]) == (400, True)


async def test_responses_reasoning_comes_back_whole(client: Client, server: ProviderServer) -> None:
    """Reasoning is accepted before its item; without it, or it without the item, is refused."""
    server.script([[Think("first"), Call("add", {"a": 1}, id="call_1")]])
    sealed = {"include": ["reasoning.encrypted_content"], "store": False}
    _, reply = await client.post("/v1/responses", responses(**sealed))
    reasoning, made = reply["output"]
    assert (await client.post("/v1/responses", responses(*reply["output"], output("call_1"))))[
        0
    ] == 200
    forged = reasoning | {"encrypted_content": reasoning["encrypted_content"][:-8] + "AAAAAAA="}
    for items, words in (
        ([made, output("call_1")], "without its required 'reasoning' item"),
        ([reasoning], "without its required following item"),
        ([reasoning, USER], "without its required following item"),
        ([forged, made, output("call_1")], "could not be verified"),
    ):
        status, refusal = await client.post("/v1/responses", responses(*items))
        assert status == 400
        assert words in refusal["error"]["message"], refusal
