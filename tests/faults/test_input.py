"""Input that must change nothing: too large, or about somebody else's conversations."""

import pytest

import palaver
from palaver import InvalidInput, NotFound, Scope, Settings
from palaver.store.blobs import MemoryBlobStore
from palaver.store.memory import MemoryStore
from palaver.testing import ScriptedModel


async def test_a_message_beyond_the_limit() -> None:
    """It is refused, nothing is stored, and one that just fits is answered."""
    settings = Settings(message_bytes=1_000_000)
    async with palaver.open(
        ":memory:", model=ScriptedModel(["Long."]), settings=settings
    ) as manager:
        conversation = await manager.create()
        with pytest.raises(InvalidInput):
            await conversation.say("x" * 1_000_001)
        assert not conversation.messages
        assert (await conversation.say("x" * 900_000)).text == "Long."


async def test_ids_of_others_are_unknown() -> None:
    """Who knows an id of another tenant learns no more than who guesses one."""
    store, blobs = MemoryStore(), MemoryBlobStore()
    model = ScriptedModel(["Secret."])
    async with palaver.open(store=store, blobs=blobs, model=model) as mine:
        conversation = await mine.create()
        turn = (await conversation.say("?")).turn
        kept = await blobs.put(Scope(), b"mine")
        theirs_is = Scope("other", "you")
        async with palaver.open(
            store=store, blobs=blobs, model=ScriptedModel(), scope=theirs_is
        ) as theirs:
            for ask in (theirs.open, theirs.delete, theirs.export, theirs.fork):
                with pytest.raises(NotFound):
                    await ask(conversation.id)
            own = await theirs.create()
            with pytest.raises(NotFound):
                [event async for event in own.follow(turn)]
            with pytest.raises(NotFound):
                await theirs.read_blob(kept)
            assert (await theirs.search("secret")) == ()
            assert [item.id for item in (await theirs.list()).items] == [own.id]
        assert conversation.messages[-1].text == "Secret."
