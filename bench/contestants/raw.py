"""The floor: aiohttp, orjson and a list. No disk, no recovery, tools after the stream."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from bench.contestants.base import DESCRIPTIONS, KEY, MODELS, TOOL_SCHEMA, TOOLS, Heard, lived
from bench.wire import PATHS, Api


class Raw:
    """Reads a stream and answers calls, by hand."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._messages: list[dict[str, Any]] = []
        self._api: Api = "anthropic"
        self._url = ""
        self._tools: list[dict[str, Any]] = []

    async def begin(self, api: Api, url: str, folder: Path, *, tools: bool) -> None:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector, read_bufsize=256 * 1024)
        self._messages, self._api, self._url = [], api, url + PATHS[api]
        self._tools = [tool_definition(api, name) for name in TOOLS] if tools else []

    async def another(self) -> "Raw":
        made = Raw()
        made._session, made._api, made._url = self._session, self._api, self._url
        made._tools = self._tools
        return made

    async def say(self, text: str, heard: Heard) -> None:
        self._messages.append({"role": "user", "content": text})
        while calls := await self._read(heard):
            results = await asyncio.gather(*(self._run(call) for call in calls))
            if self._api == "anthropic":
                self._messages.append({"role": "user", "content": list(results)})
            else:
                self._messages.extend(results)

    async def fill(self, turns: int) -> None:
        for turn in range(turns):
            self._messages += lived(turn, self._api)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _run(self, call: dict[str, str]) -> dict[str, Any]:
        output = await TOOLS[call["name"]](**orjson.loads(call["arguments"]))
        if self._api == "anthropic":
            return {"type": "tool_result", "tool_use_id": call["id"], "content": output}
        if self._api == "responses":
            return {"type": "function_call_output", "call_id": call["id"], "output": output}
        return {"role": "tool", "tool_call_id": call["id"], "content": output}

    def _read(self, heard: Heard) -> Awaitable[list[dict[str, str]]]:
        if self._api == "anthropic":
            return self._read_anthropic(heard)
        return self._read_chat(heard) if self._api == "openai" else self._read_responses(heard)

    def _post(self) -> Any:
        assert self._session is not None
        history = "input" if self._api == "responses" else "messages"
        body: dict[str, Any] = {"model": MODELS[self._api], "stream": True, history: self._messages}
        if self._api == "anthropic":
            body["max_tokens"] = 4096
        elif self._api == "openai":
            body["stream_options"] = {"include_usage": True}
        else:
            body["store"] = False
        if self._tools:
            body["tools"] = self._tools
        headers = {
            "content-type": "application/json",
            "x-api-key": KEY,
            "authorization": f"Bearer {KEY}",
        }
        return self._session.post(self._url, data=orjson.dumps(body), headers=headers)

    async def _read_anthropic(self, heard: Heard) -> list[dict[str, str]]:
        text: list[str] = []
        calls: list[dict[str, str]] = []
        pieces: list[str] = []
        async with self._post() as response:
            rest = b""
            async for data in response.content.iter_any():
                *events, rest = (rest + data).split(b"\n\n")
                for raw in events:
                    at = raw.find(b"data: ")
                    event = orjson.loads(raw[at + 6 :])
                    kind = event["type"]
                    if kind == "content_block_delta":
                        delta = event["delta"]
                        if delta["type"] == "text_delta":
                            piece = delta["text"]
                            text.append(piece)
                            heard(piece)
                        else:
                            pieces.append(delta["partial_json"])
                    elif kind == "content_block_start":
                        block = event["content_block"]
                        if block["type"] == "tool_use":
                            calls.append({"id": block["id"], "name": block["name"]})
                    elif kind == "content_block_stop" and pieces:
                        calls[-1]["arguments"] = "".join(pieces)
                        pieces.clear()
        content: list[dict[str, Any]] = [{"type": "text", "text": "".join(text)}] if text else []
        for call in calls:
            given = orjson.loads(call["arguments"])
            content.append(
                {"type": "tool_use", "id": call["id"], "name": call["name"], "input": given}
            )
        self._messages.append({"role": "assistant", "content": content})
        return calls

    async def _read_chat(self, heard: Heard) -> list[dict[str, str]]:
        text: list[str] = []
        calls: list[dict[str, str]] = []
        async with self._post() as response:
            rest = b""
            async for data in response.content.iter_any():
                *events, rest = (rest + data).split(b"\n\n")
                for raw in events:
                    if raw == b"data: [DONE]":
                        continue
                    choices = orjson.loads(raw[6:])["choices"]
                    if not choices:
                        continue
                    delta = choices[0]["delta"]
                    if piece := delta.get("content"):
                        text.append(piece)
                        heard(piece)
                    for part in delta.get("tool_calls", ()):
                        if part["index"] == len(calls):
                            name = part["function"]["name"]
                            calls.append({"id": part["id"], "name": name, "arguments": ""})
                        calls[part["index"]]["arguments"] += part["function"]["arguments"]
        message: dict[str, Any] = {"role": "assistant", "content": "".join(text) or None}
        if calls:
            message["tool_calls"] = [_call(call) for call in calls]
        self._messages.append(message)
        return calls

    async def _read_responses(self, heard: Heard) -> list[dict[str, str]]:
        calls: list[dict[str, str]] = []
        async with self._post() as response:
            rest = b""
            async for data in response.content.iter_any():
                *events, rest = (rest + data).split(b"\n\n")
                for raw in events:
                    at = raw.find(b"data: ")
                    event = orjson.loads(raw[at + 6 :])
                    kind = event["type"]
                    if kind == "response.output_text.delta":
                        heard(event["delta"])
                    elif kind == "response.output_item.done":
                        item = event["item"]
                        self._messages.append(item)
                        if item["type"] == "function_call":
                            given = item["arguments"]
                            call = {"id": item["call_id"], "name": item["name"]}
                            calls.append({**call, "arguments": given})
        return calls


def _call(call: dict[str, str]) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": call["arguments"]}
    return {"id": call["id"], "type": "function", "function": function}


def tool_definition(api: Api, name: str) -> dict[str, Any]:
    if api == "anthropic":
        return {
            "name": name,
            "description": DESCRIPTIONS[name],
            "input_schema": TOOL_SCHEMA,
        }
    function = {
        "name": name,
        "description": DESCRIPTIONS[name],
        "parameters": TOOL_SCHEMA,
    }
    if api == "responses":
        return {"type": "function", **function}
    return {"type": "function", "function": function}
