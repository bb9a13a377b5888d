"""The providers' own SDKs with the smallest loop around them; no disk."""

import asyncio
import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from bench.contestants.base import KEY, MODELS, TOOLS, Heard, lived
from bench.contestants.raw import tool_definition
from bench.wire import Api


class Sdk:
    """`anthropic` or `openai`, raw event streams, retries off."""

    def __init__(self) -> None:
        self._client: Any = None
        self._messages: list[dict[str, Any]] = []
        self._api: Api = "anthropic"
        self._more: dict[str, Any] = {}

    async def begin(self, api: Api, url: str, folder: Path, *, tools: bool) -> None:
        await self.aclose()
        self._messages, self._api = [], api
        self._more = {"tools": [tool_definition(api, name) for name in TOOLS]} if tools else {}
        if api == "anthropic":
            from anthropic import AsyncAnthropic

            self._client = AsyncAnthropic(base_url=url, api_key=KEY, max_retries=0)
        else:
            from openai import AsyncOpenAI

            self._client = AsyncOpenAI(base_url=url + "/v1", api_key=KEY, max_retries=0)

    async def another(self) -> "Sdk":
        made = Sdk()
        made._client, made._api, made._more = self._client, self._api, self._more
        return made

    async def say(self, text: str, heard: Heard) -> None:
        self._messages.append({"role": "user", "content": text})
        while calls := await self._read(heard):
            outputs = await asyncio.gather(
                *(TOOLS[name](**json.loads(given)) for _, name, given in calls)
            )
            results = [
                _result(self._api, call_id, output)
                for (call_id, _, _), output in zip(calls, outputs, strict=True)
            ]
            if self._api == "anthropic":
                self._messages.append({"role": "user", "content": results})
            else:
                self._messages.extend(results)

    async def fill(self, turns: int) -> None:
        for turn in range(turns):
            self._messages += lived(turn, self._api)

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _read(self, heard: Heard) -> Awaitable[list[tuple[str, str, str]]]:
        if self._api == "anthropic":
            return self._read_anthropic(heard)
        return self._read_chat(heard) if self._api == "openai" else self._read_responses(heard)

    async def _read_anthropic(self, heard: Heard) -> list[tuple[str, str, str]]:
        text: list[str] = []
        calls: list[tuple[str, str]] = []
        given: list[str] = []
        stream = await self._client.messages.create(
            model=MODELS["anthropic"],
            max_tokens=4096,
            messages=self._messages,
            stream=True,
            **self._more,
        )
        async for event in stream:
            if event.type == "content_block_delta":
                if event.delta.type == "text_delta":
                    text.append(event.delta.text)
                    heard(event.delta.text)
                else:
                    given[-1] += event.delta.partial_json
            elif event.type == "content_block_start" and event.content_block.type == "tool_use":
                calls.append((event.content_block.id, event.content_block.name))
                given.append("")
        content: list[dict[str, Any]] = [{"type": "text", "text": "".join(text)}] if text else []
        for (call_id, name), arguments in zip(calls, given, strict=True):
            block = {"type": "tool_use", "id": call_id, "name": name}
            content.append({**block, "input": json.loads(arguments)})
        self._messages.append({"role": "assistant", "content": content})
        return [(i, name, args) for (i, name), args in zip(calls, given, strict=True)]

    async def _read_chat(self, heard: Heard) -> list[tuple[str, str, str]]:
        text: list[str] = []
        calls: list[list[str]] = []
        stream = await self._client.chat.completions.create(
            model=MODELS["openai"],
            messages=self._messages,
            stream=True,
            stream_options={"include_usage": True},
            **self._more,
        )
        async for chunk in stream:
            if not chunk.choices:
                continue
            delta = chunk.choices[0].delta
            if delta.content:
                text.append(delta.content)
                heard(delta.content)
            for part in delta.tool_calls or ():
                if part.index == len(calls):
                    calls.append([part.id, part.function.name, ""])
                calls[part.index][2] += part.function.arguments or ""
        message: dict[str, Any] = {"role": "assistant", "content": "".join(text) or None}
        if calls:
            message["tool_calls"] = [
                {"id": i, "type": "function", "function": {"name": name, "arguments": given}}
                for i, name, given in calls
            ]
        self._messages.append(message)
        return [(i, name, given) for i, name, given in calls]

    async def _read_responses(self, heard: Heard) -> list[tuple[str, str, str]]:
        calls: list[tuple[str, str, str]] = []
        stream = await self._client.responses.create(
            model=MODELS["responses"],
            input=self._messages,
            stream=True,
            store=False,
            **self._more,
        )
        async for event in stream:
            if event.type == "response.output_text.delta":
                heard(event.delta)
            elif event.type == "response.output_item.done":
                item = event.item
                self._messages.append(item.model_dump(exclude_none=True))
                if item.type == "function_call":
                    calls.append((item.call_id, item.name, item.arguments))
        return calls


def _result(api: Api, call_id: str, output: str) -> dict[str, Any]:
    if api == "anthropic":
        return {"type": "tool_result", "tool_use_id": call_id, "content": output}
    if api == "responses":
        return {"type": "function_call_output", "call_id": call_id, "output": output}
    return {"role": "tool", "tool_call_id": call_id, "content": output}
