"""Whatever comes, the server answers in a provider's terms."""

import asyncio
import copy
import json
from typing import Any

import aiohttp
from hypothesis import given, settings, strategies as st

from palaver.testing import ProviderServer

HEADERS = {"x-api-key": "k", "authorization": "Bearer k", "anthropic-version": "2023-06-01"}
TOOL = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
CALL = {"id": "a", "type": "function", "function": {"name": "add", "arguments": "{}"}}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/messages": {
        "model": "claude-haiku-4-5",
        "max_tokens": 9,
        "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "x"}]},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "a", "name": "add", "input": {}}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]},
        ],
        "tools": [{"name": "add", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto"},
    },
    "/v1/chat/completions": {
        "model": "gpt-4o-mini",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "x"}]},
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "a", "content": "3"},
        ],
        "tools": [{"type": "function", "function": TOOL}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
    },
    "/v1/responses": {
        "model": "gpt-5-mini",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
            {"type": "function_call", "call_id": "a", "name": "add", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "3"},
        ],
        "tools": [{"type": "function", **TOOL}],
        "text": {"format": {"type": "text"}},
        "reasoning": {"effort": "low"},
    },
}
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, -1, 1.5, "", "x", [], {}, [None], [[]], {"type": None}, ["x"]]
)


def spots(value: Any) -> list[tuple[Any, Any]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    found = [(value, key) for key in keys]
    for key in list(keys):
        if isinstance(value[key], dict | list):
            found += spots(value[key])
    return found


@settings(max_examples=60, deadline=None)
@given(path=st.sampled_from(sorted(BODIES)), data=st.data())
def test_one_odd_value_is_answered_properly(path: str, data: st.DataObject) -> None:
    """A valid request with one odd value is accepted or refused with an error body, never a 500."""
    body = copy.deepcopy(BODIES[path])
    holder, key = data.draw(st.sampled_from(spots(body)), label="spot")
    holder[key] = data.draw(ODD, label="value")
    status, reply = asyncio.run(_post(path, body))
    assert status in (200, 400, 404), reply
    assert status == 200 or json.loads(reply)["error"]["message"]


async def _post(path: str, body: dict[str, Any]) -> tuple[int, str]:
    async with (
        ProviderServer() as server,
        aiohttp.ClientSession(headers=HEADERS) as http,
        http.post(server.url + path, json=body) as response,
    ):
        return response.status, await response.text()
