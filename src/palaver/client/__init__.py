"""A client of `palaver serve`: the same vocabulary, over HTTP.

from palaver import client, TextDelta

async with client.connect("http://127.0.0.1:8642", key="pal_…") as palaver:
    conversation = await palaver.create()
    async for event in conversation.stream("What is 17 * 23?"):
        ...

A stream that breaks is taken up where it broke; a message that may or may not have arrived is sent
again under its idempotency key. `client.sync` is the same without `async`.
"""

from palaver.client.conversations import Client, Conversation, connect
from palaver.client.following import Replaced
from palaver.client.transport import RemoteError

__all__ = ["Client", "Conversation", "RemoteError", "Replaced", "connect"]
