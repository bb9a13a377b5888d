"""A program that runs a turn on and is killed before it is answered: `… resuming DATABASE`."""

import asyncio
import sys

import palaver
from palaver import AttemptStarted, Settings, TurnLimits
from palaver.testing import Pause, ScriptedModel


async def main(path: str) -> None:
    """Take the turn over, and wait for the end while its model says nothing."""
    model = ScriptedModel([[Pause(until=asyncio.Event())]])
    settings = Settings(turn=TurnLimits(on_restart="resume"))
    async with palaver.open(path, model=model, settings=settings) as manager:
        (found,) = manager.recovered
        async for numbered in manager.follow(found.turn):
            if numbered.epoch and isinstance(numbered.event, AttemptStarted):
                await asyncio.sleep(0.2)  # on disk within 50 ms
                print("ready", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
