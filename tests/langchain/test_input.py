import base64

import pytest

import palaver
from palaver.testing import ScriptedModel

messages = pytest.importorskip("langchain_core.messages")


async def test_a_langchain_message_may_be_said() -> None:
    """Its words arrive, and its picture is in the blob store."""
    png = bytes.fromhex("89504e470d0a1a0a") + bytes(30)
    content = [
        {"type": "text", "text": "What is it?"},
        {"type": "image", "base64": base64.b64encode(png).decode(), "mime_type": "image/png"},
    ]
    async with palaver.open(":memory:", model=ScriptedModel(["A dot."])) as manager:
        conversation = await manager.create()
        reply = await conversation.say(messages.HumanMessage(content))
        assert reply.text == "A dot."
        said, picture = conversation.messages[0].content
        assert isinstance(said, palaver.Text)
        assert said.text == "What is it?"
        assert isinstance(picture, palaver.Image)
        assert await manager.read_blob(picture.blob or "") == png


async def test_only_a_person_s_message_may_be_said() -> None:
    """An AIMessage is refused with a reason."""
    async with palaver.open(":memory:", model=ScriptedModel()) as manager:
        conversation = await manager.create()
        with pytest.raises(palaver.InvalidInput):
            await conversation.say(messages.AIMessage("I said"))
