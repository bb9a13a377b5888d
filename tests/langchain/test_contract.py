"""The provider contract over LangChain's adapters: the very tests of `tests/contract`.

What an adapter of LangChain's loses is expected here to fail, strictly; the pages name each loss
and `test_deviations` shows it.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

import palaver
from palaver import Conversation, tool
from palaver.domain.messages import Flag
from palaver.settings import Clocks
from palaver.store.blobs import MemoryBlobStore
from palaver.store.memory import MemoryStore
from palaver.testing import Call, Line, Say, Think
from palaver.testing.provider_server import ProviderServer
from tests.contract import test_wires as native
from tests.contract.test_wires import (
    test_a_clean_end_without_end_marker,
    test_a_cut_at_the_very_end,
    test_a_picture,
    test_a_schema,
    test_abort_in_mid_text,
    test_abort_in_mid_tool,
    test_clocks,
    test_errors_before_the_stream,
    test_reasoning_returns_unchanged,
    test_text,
    test_three_parallel_calls,
    test_what_breaks_in_mid_stream,
    test_what_must_not_matter,
)
from tests.langchain.conftest import WIRES, model_of

LOST = {("test_reasoning_returns_unchanged", "langchain-chat"): "chat-thinking"}
"""Case and wire → the deviation that makes it fail."""

__all__ = [
    "test_a_clean_end_without_end_marker",
    "test_a_cut_at_the_very_end",
    "test_a_picture",
    "test_a_schema",
    "test_abort_in_mid_text",
    "test_abort_in_mid_tool",
    "test_clocks",
    "test_errors_before_the_stream",
    "test_reasoning_returns_unchanged",
    "test_text",
    "test_three_parallel_calls",
    "test_what_breaks_in_mid_stream",
    "test_what_must_not_matter",
]


@pytest.fixture(params=WIRES)
async def talk(request: Any, server: ProviderServer) -> AsyncIterator[Any]:
    """As in the native contract, over LangChain."""
    loss = LOST.get((request.function.__name__, request.param))
    if loss is not None:
        request.applymarker(pytest.mark.xfail(strict=True, reason=loss))
    async with AsyncExitStack() as stack:

        async def begin(*, clocks: Clocks | None = None, **options: Any) -> Conversation:
            model = model_of(request.param, server, clocks)
            stack.push_async_callback(model.aclose)
            options.setdefault("settings", native.ONCE)
            door = palaver.open(":memory:", model=model, **options)
            manager = await stack.enter_async_context(door)
            begin.manager = manager  # type: ignore[attr-defined]
            return await manager.create(reasoning="medium")

        yield begin


def test_every_case_runs_here_too() -> None:
    """A case that joins the native contract joins this one, or is written for LangChain below."""
    ours = {name for name in globals() if name.startswith("test_")}
    assert {name for name in vars(native) if name.startswith("test_")} <= ours


@tool(effect="read")
async def weather(city: str) -> str:
    """Weather in a city."""
    return f"sunny in {city}"


async def test_a_conversation_moves_from_wire_to_wire(server: ProviderServer) -> None:
    """From native to LangChain and back over every wire: what one made, the next one takes."""
    path = [way for wire in native.WIRES for way in (wire, f"langchain-{wire}", wire)]
    look: list[Line] = [Think("hm"), Say("Look."), Call("weather", {"city": "Rome"})]
    server.script([look, "Done."] * len(path))
    store, blobs, identity = MemoryStore(), MemoryBlobStore(), ""
    async with AsyncExitStack() as stack:
        for way in path:
            make = model_of if way in WIRES else native.model_of
            model = make(way, server, Clocks())
            stack.push_async_callback(model.aclose)
            door = palaver.open(model=model, tools=[weather], store=store, blobs=blobs)
            manager = await stack.enter_async_context(door)
            conversation = await (manager.open(identity) if identity else manager.create())
            identity = conversation.id
            assert (await conversation.say(f"over {way}")).text == "Look.Done."
    assert {r.error for r in server.journal} == {""}


@pytest.mark.parametrize("wire", WIRES)
async def test_unstorable_text_of_a_model_is_flagged(server: ProviderServer, wire: str) -> None:
    """A NUL in an answer becomes U+FFFD, and the message says so."""
    server.script(["a\x00b"])
    model = model_of(wire, server)
    async with palaver.open(":memory:", model=model) as manager:
        conversation = await manager.create()
        assert (await conversation.say("?")).text == "a\ufffdb"
    assert conversation.messages[-1].flags == (Flag.SANITISED,)
    await model.aclose()
