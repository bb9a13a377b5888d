from contextlib import AsyncExitStack

import palaver
from palaver.settings import Clocks
from palaver.store.blobs import MemoryBlobStore
from palaver.store.memory import MemoryStore
from palaver.testing import Say, Think
from palaver.testing.provider_server import ProviderServer
from tests.contract.test_wires import events_of, model_of


async def test_what_the_next_provider_is_not_sent_is_said() -> None:
    """Reasoning is for its maker only; who moves on is told how much stays behind, once."""
    server = ProviderServer([[Think("hm"), Say("One.")], "Two.", "Three."])
    store, blobs, identity = MemoryStore(), MemoryBlobStore(), ""
    told: list[palaver.HistoryAdapted] = []
    async with server, AsyncExitStack() as stack:
        for wire in ("messages", "responses"):
            model = model_of(wire, server, Clocks())
            stack.push_async_callback(model.aclose)
            door = palaver.open(model=model, store=store, blobs=blobs)
            manager = await stack.enter_async_context(door)
            conversation = await (
                manager.open(identity) if identity else manager.create(reasoning="medium")
            )
            identity = conversation.id
            for text in ("a", "b")[: 1 if wire == "messages" else 2]:
                events = await events_of(conversation, text)
                told += [e for e in events if isinstance(e, palaver.HistoryAdapted)]
    assert told == [palaver.HistoryAdapted("openai:gpt-5-mini", reasoning=1)]
