"""A tool with an effect asks before it runs; the answer may come much later, from anywhere.

python examples/approval.py
"""

import asyncio
import tempfile
from pathlib import Path

import palaver
from palaver import tool


@tool(effect="effect")
async def send_letter(to: str, text: str) -> str:
    """Send a letter."""
    return f"The letter to {to} is in the post: {text}"


async def ask(database: Path) -> str:
    async with palaver.open(database, tools=[send_letter]) as manager:
        conversation = await manager.create()
        reply = await conversation.say('use send_letter with {"to": "Ada", "text": "Come to tea"}')
        for call in reply.waiting:
            print(f"waits for a decision: {call.name} {call.arguments}")
        return conversation.id


async def answer(database: Path, conversation_id: str) -> None:
    """Runs in another process, a day later, for all that Palaver cares."""
    async with palaver.open(database, tools=[send_letter]) as manager:
        conversation = await manager.open(conversation_id)
        turn = conversation.state.turn
        assert turn is not None
        reply = await conversation.resume(dict.fromkeys(turn.waiting, True))
        print(reply.text)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "letters.db"
        conversation_id = asyncio.run(ask(database))
        asyncio.run(answer(database, conversation_id))


if __name__ == "__main__":
    main()
