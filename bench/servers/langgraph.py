"""`langgraph dev`: LangGraph's own server, in memory, with one graph that streams a model's words.

Its packages want versions of their own, so they may live in an environment of their own: the
variable BENCH_LANGGRAPH names its `langgraph` program.
"""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

PROGRAM = os.environ.get("BENCH_LANGGRAPH") or shutil.which("langgraph")
_GRAPH = """
from langchain_anthropic import ChatAnthropic
from langgraph.graph import START, MessagesState, StateGraph

model = ChatAnthropic(
    model="claude-sonnet-4-5", api_key="sk-bench", base_url={url!r}, max_tokens=4096
)

async def answer(state: MessagesState):
    return {{"messages": [await model.ainvoke(state["messages"])]}}

graph = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer").compile()
"""
_CONFIG = '{"dependencies": ["."], "graphs": {"agent": "./graph.py:graph"}}'


@asynccontextmanager
async def serving(api: str, url: str, folder: Path) -> AsyncIterator[str]:
    """The address. The program is this process's child; its id follows the address."""
    assert PROGRAM is not None
    folder.mkdir(exist_ok=True)
    (folder / "graph.py").write_text(_GRAPH.format(url=url))
    (folder / "langgraph.json").write_text(_CONFIG)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "dev", "--no-browser", "--no-reload", "--port", str(port)),
        *("--n-jobs-per-worker", "10", "--server-log-level", "error"),
        cwd=folder,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await _up(port)
        yield f"http://127.0.0.1:{port} {process.pid}"
    finally:
        process.terminate()
        await process.wait()


async def _up(port: int) -> None:
    async with asyncio.timeout(120):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.2)
                continue
            writer.close()
            return
