"""A reply in a shape: give a type, get a value of it.

OPENAI_API_KEY=... python examples/structured.py openai:gpt-5-mini
python examples/structured.py                       # with a scripted model, without a key
"""

import asyncio
import sys
from dataclasses import dataclass

import palaver
from palaver import Model
from palaver.testing import ScriptedModel


@dataclass
class Weather:
    city: str
    celsius: float
    rain: bool


def chosen() -> str | Model:
    if len(sys.argv) > 1:
        return sys.argv[1]
    return ScriptedModel(['{"city": "Oslo", "celsius": 11, "rain": true}'])


async def main() -> None:
    async with palaver.open(":memory:", model=chosen()) as manager:
        conversation = await manager.create()
        reply = await conversation.say("Weather in Oslo today, as data.", output=Weather)
        print(reply.output)


if __name__ == "__main__":
    asyncio.run(main())
