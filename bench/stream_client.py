"""Clients of a server's streams, in a process whose CPU counts for nobody."""

import asyncio
import time
from typing import Any

import aiohttp
import orjson

from bench.crowd import Delays
from bench.scenario import QUESTION
from bench.wire import WARM_UP

_LIMIT = aiohttp.ClientTimeout(total=None, sock_read=120)


class StreamClient:
    """Carries out orders; every method takes and gives plain JSON."""

    def __init__(self) -> None:
        self._http: aiohttp.ClientSession | None = None
        self._place = ""

    async def warm(self, server: str, address: str) -> dict[str, Any]:
        """Connect, have a word answered, and be ready for a turn of a new conversation."""
        await self.aclose()
        self._http = _session(address)
        await _read(self._http, server, WARM_UP)
        self._place = await _place(self._http, server)
        return {}

    async def turn(self, server: str) -> dict[str, Any]:
        """One turn on a warm connection: characters, and seconds to the first text."""
        assert self._http is not None
        began = time.perf_counter()
        first, chars = 0.0, 0
        async for text in _texts(self._http, server, self._place, QUESTION):
            first = first or time.perf_counter() - began
            chars += len(text)
        return {"chars": chars, "first_s": first, "wall_s": time.perf_counter() - began}

    async def crowd(
        self, server: str, address: str, number: int, deltas: int, over_s: float
    ) -> dict[str, Any]:
        """So many clients at once, each with a turn of its own, begun over so many seconds."""
        heard = Delays(number * deltas)

        async def one(http: aiohttp.ClientSession, at: int) -> bool:
            await asyncio.sleep(over_s * at / number)
            place = await _place(http, server)
            before = heard.count
            async for text in _texts(http, server, place, QUESTION):
                heard(text)
            return heard.count > before

        async with _session(address) as http:
            began = time.perf_counter()
            done = await asyncio.gather(
                *(one(http, at) for at in range(number)), return_exceptions=True
            )
        complete = sum(d is True for d in done)
        failed = next((repr(d) for d in done if isinstance(d, BaseException)), "")
        wall_s = time.perf_counter() - began
        told = {"complete": complete, "failure": failed, "deltas": heard.count, "wall_s": wall_s}
        return {**told, **heard.spread()}

    async def subscribers(self, address: str, number: int) -> dict[str, Any]:
        """So many readers of one turn of Palaver's."""
        async with _session(address) as http:
            place = await _place(http, "palaver")
            async with http.post(place, json={"text": QUESTION}) as begun:
                events = (await begun.json())["events"]

            async def read() -> int:
                chars = 0
                async with http.get(events) as answer:
                    async for text in _palaver(answer):
                        chars += len(text)
                return chars

            chars = await asyncio.gather(*(read() for _ in range(number)))
        return {"chars": min(chars), "complete": sum(c == max(chars) for c in chars)}

    async def aclose(self) -> None:
        """Let go of the connection."""
        if self._http is not None:
            await self._http.close()


def _session(address: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        address, connector=aiohttp.TCPConnector(limit=0), read_bufsize=256 * 1024, timeout=_LIMIT
    )


async def _place(http: aiohttp.ClientSession, server: str) -> str:
    """Where the next turn is asked for."""
    if server != "palaver":
        return {"starlette": "/stream", "langgraph": "/runs/stream"}[server]
    async with http.post("/api/conversations", json={}) as made:
        return f"/api/conversations/{(await made.json())['id']}/turns"


async def _read(http: aiohttp.ClientSession, server: str, said: str) -> None:
    async for _ in _texts(http, server, await _place(http, server), said):
        pass


async def _texts(http: aiohttp.ClientSession, server: str, place: str, said: str) -> Any:
    body: dict[str, Any] = {"text": said}
    if server == "palaver":
        body["stream"] = True
    elif server == "langgraph":
        messages = [{"role": "user", "content": said}]
        body = {"assistant_id": "agent", "input": {"messages": messages}}
        body["stream_mode"] = ["messages-tuple"]
    async with http.post(place, json=body) as answer:
        if answer.status >= 300:
            raise RuntimeError(f"{answer.status}: {(await answer.text())[:200]}")
        parts = {"palaver": _palaver, "starlette": _starlette, "langgraph": _langgraph}[server]
        async for text in parts(answer):
            yield text


async def _palaver(answer: aiohttp.ClientResponse) -> Any:
    last = b""
    async for block in _blocks(answer):
        if b"\nevent: text.delta\n" in block:
            yield orjson.loads(block[block.index(b"\ndata: ") + 7 :])["text"]
        last = block
    if b"event: turn.completed" not in last:
        raise RuntimeError(f"the turn ended with {last[:300]!r}")


async def _starlette(answer: aiohttp.ClientResponse) -> Any:
    async for block in _blocks(answer):
        yield orjson.loads(block[6:])["text"]


async def _langgraph(answer: aiohttp.ClientResponse) -> Any:
    async for block in _blocks(answer):
        if not block.replace(b"\r", b"").startswith(b"event: messages"):
            continue
        chunk, _ = orjson.loads(block[block.index(b"data: ") + 6 :])
        if chunk.get("type") == "AIMessageChunk":
            content = chunk["content"]
            yield (
                content if isinstance(content, str) else "".join(c.get("text", "") for c in content)
            )


async def _blocks(answer: aiohttp.ClientResponse) -> Any:
    rest = b""
    async for data in answer.content.iter_any():
        *blocks, rest = (rest + data).replace(b"\r\n", b"\n").split(b"\n\n")
        for block in blocks:
            yield block
