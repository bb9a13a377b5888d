"""One life of a program that talks, uses tools of every class, and is killed: run in a process.

What it did in the world stands in files of its own, each line synced, so that the checks do not
have to believe what the conversation says about it.
"""

import asyncio
import os
import sys
import traceback
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

import palaver
from palaver import Conversation, ConversationManager, ExecutionContext, Model, Settings, Tool, tool
from palaver.providers import catalogue
from palaver.providers.anthropic import AnthropicManager
from palaver.providers.openai import OpenAIManager
from palaver.settings import Clocks, TurnLimits
from palaver.store.blobs import FileBlobStore
from palaver.store.sqlite import SqliteStore
from palaver.testing.faults import Faults

TALKERS = 2
WIRES = ("messages", "chat", "responses")


class Life(msgspec.Struct, frozen=True):
    """What a life is to be."""

    folder: Path
    url: str
    wire: str
    on_restart: str
    fault: str = ""
    messages: int = 3
    """Of each talker; 0: only what was left open is finished."""


def live(life: Life) -> None:
    """Live it; the process ends with it."""
    try:
        asyncio.run(_live(life))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


async def _live(life: Life) -> None:
    faults = Faults.parse(life.fault)
    async with AsyncExitStack() as stack:
        store = faults.store(await SqliteStore.open(life.folder / "chat.db"))
        stack.push_async_callback(store.close)
        model = model_of(life)
        stack.push_async_callback(model.aclose)
        manager = await stack.enter_async_context(
            palaver.open(
                store=store,
                blobs=faults.blobs(FileBlobStore(life.folder / "blobs")),
                model=faults.model(model),
                tools=faults.tools(tools(life.folder)),
                approvals="allow",
                settings=Settings(turn=TurnLimits(on_restart=life.on_restart)),  # type: ignore[arg-type]
            )
        )
        talks = [_talk(manager, life, talker) for talker in range(TALKERS)]
        await asyncio.gather(*talks)


def model_of(life: Life) -> Model:
    """An adapter for the wire."""
    if life.wire == "messages":
        name = "claude-sonnet-4-5"
        info = catalogue.info(f"anthropic:{name}")
        return AnthropicManager(model=name, api_key="k", info=info, base_url=life.url)
    name = "gpt-5-mini"
    info = catalogue.info(f"openai:{name}")
    api: Any = life.wire
    return OpenAIManager(
        model=name, api_key="k", info=info, clocks=Clocks(), base_url=f"{life.url}/v1", api=api
    )


def tools(folder: Path) -> list[Tool]:
    """One of each class. Every run of `book` and `pay` leaves a line: its key and its number."""

    @tool(effect="read")
    async def look(n: int) -> str:
        """Look at order n."""
        await asyncio.sleep(0.001)
        return f"order {n} waits"

    @tool(effect="idempotent")
    async def book(n: int, context: ExecutionContext) -> str:
        """Book order n, once for each key."""
        await asyncio.sleep(0.001)
        note(folder / "booked", f"{context.idempotency_key} {n}")
        await asyncio.sleep(0.001)
        return f"booked {n}"

    @tool(effect="effect", needs_approval=False)
    async def pay(n: int, context: ExecutionContext) -> str:
        """Pay for order n."""
        await asyncio.sleep(0.001)
        note(folder / "paid", f"{context.idempotency_key} {n}")
        await asyncio.sleep(0.001)
        return f"paid {n}"

    return [look, book, pay]


def note(file: Path, line: str) -> None:
    """Add a line durably, in one piece."""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.fsync(descriptor)
    os.close(descriptor)


def noted(file: Path) -> list[str]:
    """The lines of such a file."""
    return file.read_text().split("\n")[:-1] if file.exists() else []


async def _talk(manager: ConversationManager, life: Life, talker: int) -> None:
    """Say messages behind the last acknowledged one, each under its key, as a client does that
    repeats what it got no acknowledgement for."""
    conversation = await _conversation(manager, talker)
    turn = conversation.state.turn
    if turn is not None:
        await manager.streams.settled(turn.id)
    accepted = life.folder / f"accepted-{talker}"
    done = len(noted(accepted))
    for number in range(done, done + life.messages):
        n = number * TALKERS + talker
        session = await conversation.start(f"order {n}", idempotency_key=f"k{n}", on_busy="queue")
        note(accepted, f"{n}")
        async for _ in session.events():
            pass


async def _conversation(manager: ConversationManager, talker: int) -> Conversation:
    page = await manager.list()
    found = (item.id for item in page.items if item.metadata.title == f"talker {talker}")
    known = next(found, None)
    if known is None:
        return await manager.create(title=f"talker {talker}")
    return await manager.open(known)
