"""Servers that end: by a signal, by two, or by a kill, with clients in the middle of it."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.exceptions import WebSocketException

from palaver.testing import Pause, Say, ScriptedModel
from tests.server.conftest import Served, Serving
from tests.server.serving_program import ANSWER
from tests.server.streaming import Whole, sent
from tests.server.test_drops import over_sse, over_ws

ROOT = Path(__file__).parents[2]
LOST = (OSError, aiohttp.ClientError, WebSocketException, TimeoutError)
"""What a client sees of a server that is not there, or was a moment ago."""


async def test_a_server_that_ends_takes_no_new_turns(serving: Serving) -> None:
    """It is not ready, refuses new turns with the time to come again, and lets running ones end:
    their readers see the end."""
    go_on = asyncio.Event()
    served = await serving(ScriptedModel([[Say("Half"), Pause(until=go_on), "."]]), drain_s=60.0)
    session = await served.turn()
    async with served.http.get(f"/api/turns/{session.turn}/events") as answer:
        ending = asyncio.ensure_future(served.server.drain())
        await asyncio.sleep(0)
        async with served.http.get("/api/health/ready") as ready:
            assert ready.status == 503
        conversation = await served.conversation()
        for way in ("turns", "turns?wait=1"):
            place = f"/api/conversations/{conversation}/{way}"
            async with served.http.post(place, json={"text": "hello"}) as refused:
                assert (refused.status, refused.headers["retry-after"]) == (503, "1")
                assert (await refused.json(content_type=None))["code"] == "draining"
        asked = {"model": "scripted:model", "messages": [{"role": "user", "content": "hello"}]}
        async with served.http.post("/v1/chat/completions", json=asked) as refused:
            assert refused.status == 503
        go_on.set()
        assert [event.kind async for event in sent(answer)][-1] == "turn.completed"
    await ending


async def test_who_reads_on_comes_back(serving: Serving) -> None:
    """A stream of a turn that is left open says that the server ends, and no stream is opened."""
    never = asyncio.Event()
    served = await serving(ScriptedModel([[Say("Half"), Pause(until=never)]]))
    session = await served.turn()
    place = f"/api/turns/{session.turn}/events"
    async with served.http.get(place) as answer:
        coming = sent(answer)
        while (await anext(coming)).kind != "text.delta":
            pass
        await served.server.drain()
        assert [event.kind async for event in coming] == ["server.draining"]
    async with served.http.get(place) as late:
        assert (late.status, late.headers["retry-after"]) == (503, "1")


# Processes.


class Program:
    """A server of its own, and a port that stays the same from one start to the next."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def running(
        self, *, drain_s: float = 0.2, model: str = "slowly"
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """The process, once clients can connect; killed at the end, if it has not ended."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.server.serving_program"),
            *(str(self._path), str(self.port), str(drain_s), model),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(60):
                assert (await process.stdout.readline()).decode().strip() == self.address
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


class Client:
    """Says something and follows the answer, however often it has to come back."""

    def __init__(self, served: Any, read: Callable[..., Any], number: int) -> None:
        self._served, self._read, self._key = served, read, f"key-{number}"
        self.turn, self.whole = "", Whole()
        self.has_begun = asyncio.Event()

    async def run(self, conversation: str) -> None:
        """Until the end of the answer."""
        async with asyncio.timeout(120):
            while not self.turn:
                await self._say(conversation)
            while not self.whole.is_done:
                with suppress(*LOST):
                    await self._read(self._served, self.turn, self, drop=lambda: 0)
                await asyncio.sleep(0.02)

    async def _say(self, conversation: str) -> None:
        # Said again with its key it is the same turn, whether or not the first answer came.
        said = {"text": "How heavy are they?", "idempotency_key": self._key}
        try:
            place = f"/api/conversations/{conversation}/turns"
            async with self._served.http.post(place, json=said) as answer:
                if answer.status == 202:
                    self.turn = (await answer.json())["turn"]
                    return
                assert answer.status == 503, await answer.text()
        except LOST:
            pass
        await asyncio.sleep(0.05)

    # As the Whole that readers give events to.

    def take(self, event: Any) -> None:
        """Add an event."""
        self.whole.take(event)
        if event.kind == "text.delta" and len(self.whole.text) > 20:
            self.has_begun.set()

    @property
    def cursor(self) -> str:
        """Where it is."""
        return self.whole.cursor

    @property
    def is_done(self) -> bool:
        """Whether it has seen the end."""
        return self.whole.is_done


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
async def test_clients_outlive_a_server(tmp_path: Path, end: signal.Signals) -> None:
    """Answers are under way, over streams and sockets, when the server is asked to end, or killed.
    The next one on the same file goes on with them: every client comes to its whole, which is what
    a reader of the whole turn gets, byte for byte, and nothing is said twice or left out."""
    program = Program(tmp_path / "chat.db")
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession(program.address))
        served = Served.__new__(Served)
        served.address, served.http = program.address, http
        clients = [Client(served, (over_sse, over_ws)[n % 2], n) for n in range(10)]
        async with asyncio.TaskGroup() as group:
            async with program.running(model="halfway") as process:
                for client in clients:
                    async with http.post("/api/conversations", json={}) as made:
                        conversation = (await made.json())["id"]
                    group.create_task(client.run(conversation))
                await asyncio.gather(*(client.has_begun.wait() for client in clients))
                process.send_signal(end)
                assert await process.wait() == (0 if end == signal.SIGTERM else -end)
            await stack.enter_async_context(program.running())
        for client in clients:
            whole = Whole()
            await over_sse(served, client.turn, whole, drop=lambda: 0)
            assert client.whole.bytes == whole.bytes
            assert whole.text == "I weigh. " + ANSWER
            assert [kind for kind, _ in whole.events.values()][-1] == "turn.completed"
        assert "0" not in {client.cursor.partition(":")[0] for client in clients}


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """The first one waits for a turn that never ends, and says so; the second one does not."""
    program = Program(tmp_path / "chat.db")
    async with (
        program.running(drain_s=600.0, model="never") as process,
        aiohttp.ClientSession(program.address) as http,
    ):
        async with http.post("/api/conversations", json={}) as made:
            place = f"/api/conversations/{(await made.json())['id']}/turns"
        async with http.post(place, json={"text": "hello", "stream": True}) as answer:
            coming = sent(answer)
            while (await anext(coming)).kind != "text.delta":
                pass
            process.send_signal(signal.SIGTERM)
            while await _status(http, "/api/health/ready") != 503:  # noqa: ASYNC110 - by HTTP
                await asyncio.sleep(0.01)
            assert process.stdout is not None
            async with asyncio.timeout(60):
                assert await process.stdout.readline() == b"waits 600 s\n"
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                assert await process.wait() == 0


async def _status(http: aiohttp.ClientSession, place: str) -> int:
    async with http.get(place) as answer:
        return answer.status
