"""A program that runs a turn on and is killed before it is answered: `… resuming DATABASE`."""

import asyncio
import sys

import palaver
from palaver import AttemptStarted, Settings, TurnLimits
from palaver.testing import Pause, ScriptedModel
from tests.service.crashing import written


async def main(path: str) -> None:
    """Take the turn over, and wait for the end while its model says nothing."""
    model = ScriptedModel([[Pause(until=asyncio.Event())]])
    settings = Settings(turn=TurnLimits(on_restart="resume"))
    async with palaver.open(path, model=model, settings=settings) as manager:
        (found,) = manager.recovered
        async for numbered in manager.follow(found.turn):
            if numbered.epoch and isinstance(numbered.event, AttemptStarted):
                await written(manager, found.turn, numbered.number)
                print("ready", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
