"""The floor of a server: the raw reader behind a Starlette stream. Nothing is kept, nobody can
come back, and one reader is all that there is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from bench.contestants.raw import Raw


@asynccontextmanager
async def serving(api: str, url: str, folder: Path) -> AsyncIterator[str]:
    """The address."""
    first = Raw()
    await first.begin(api, url, folder, tools="/many-" in url)

    async def stream(request: Request) -> StreamingResponse:
        said = orjson.loads(await request.body())["text"]
        return StreamingResponse(_events(await first.another(), said), media_type=_EVENTS)

    app = Starlette(routes=[Route("/stream", stream, methods=["POST"])])
    config = uvicorn.Config(
        app, port=0, http="httptools", log_config=None, access_log=False, lifespan="off"
    )
    server = uvicorn.Server(config)
    running = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
        await first.aclose()


_EVENTS = "text/event-stream"


async def _events(conversation: Raw, said: str) -> AsyncIterator[bytes]:
    heard: list[str] = []
    news = asyncio.Event()

    def hear(piece: str) -> None:
        heard.append(piece)
        news.set()

    speaking = asyncio.ensure_future(conversation.say(said, hear))
    speaking.add_done_callback(lambda _: news.set())
    while True:
        await news.wait()
        news.clear()
        if heard:
            pieces = heard.copy()
            heard.clear()
            yield b"".join(b"data: %b\n\n" % orjson.dumps({"text": piece}) for piece in pieces)
        if speaking.done() and not heard:
            speaking.result()
            return
