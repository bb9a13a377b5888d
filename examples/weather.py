"""The ten lines: a streamed answer with a tool, then a second question.

ANTHROPIC_API_KEY=... python examples/weather.py
python examples/weather.py                          # offline: shows the tool, says what it is
"""

import asyncio

import palaver
from palaver import TextDelta, tool

REPORTS = {"Oslo": "rain, 11 degrees", "Rome": "sun, 24 degrees"}


@tool(effect="read")
async def weather(city: str) -> str:
    """Current weather in a city."""
    return f"{city}: {REPORTS.get(city, 'no report')}"


async def main() -> None:
    async with palaver.open(":memory:", tools=[weather]) as manager:
        conversation = await manager.create()
        question = "use weather with Oslo and use weather with Rome"
        async for event in conversation.stream(question):
            if isinstance(event, TextDelta):
                print(event.text, end="", flush=True)
        reply = await conversation.say("And what was the question?")
        print(f"\n\n{reply.text}\n\n{reply.usage.total} tokens, cost {reply.cost} USD")


if __name__ == "__main__":
    asyncio.run(main())
