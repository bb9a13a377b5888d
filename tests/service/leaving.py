"""A program that leaves many open turns behind: `… tests.service.leaving DATABASE N [TAKEN]`."""

import asyncio
import os
import sys

from palaver.domain.events import ConversationCreated
from palaver.domain.ids import ConversationId, MessageId, TurnId
from palaver.domain.messages import Message, Role, Text
from palaver.domain.values import Scope
from palaver.store.sqlite import SqliteStore
from palaver.system import new_id


async def main(path: str, turns: int, taken: int = 0) -> None:
    """Accept that many messages in as many conversations, and end without a word. `taken`: how
    often each turn has changed hands."""
    store = await SqliteStore.open(path)

    async def accept(number: int) -> None:
        conversation = ConversationId(new_id("conv"))
        await store.create(Scope(), conversation, (ConversationCreated(),))
        message = Message(Role.USER, (Text(f"question {number}"),), MessageId(new_id("msg")))
        turn = TurnId(new_id("turn"))
        await store.accept(Scope(), conversation, message, turn=turn, expected=1)
        for _ in range(taken):
            await store.take_turn(Scope(), turn)

    for first in range(0, turns, 200):
        await asyncio.gather(*map(accept, range(first, min(first + 200, turns))))
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
