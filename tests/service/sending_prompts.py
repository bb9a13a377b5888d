"""A program that keeps three prompts, sends them, and is killed at a named point while it does:
`python -m tests.service.sending_prompts DATABASE POINT:NTH`."""

import asyncio
import sys
from pathlib import Path

import palaver
from palaver import PromptKept, Settings
from palaver.domain.errors import ConnectionFailed
from palaver.settings import BreakerSettings, OutboxSettings, RetrySettings
from palaver.store.sqlite import SqliteStore
from palaver.testing import Fail, Fault, Faults, Kill, ScriptedModel, ToldClock

SETTINGS = Settings(
    retry=RetrySettings(network_attempts=1),
    breaker=BreakerSettings(failures=1),
    outbox=OutboxSettings(on_unreachable="queue", automatic=False),
)


async def main(path: str, point: str) -> None:
    """Keep the prompts; then the plan of faults begins, and they are sent."""
    name, nth = point.split(":")
    clock, faults = ToldClock(), Faults()
    store = await SqliteStore.open(Path(path))
    model = ScriptedModel([Fail(ConnectionFailed("refused")), "Answer to a.", "Answer to b."])
    faulty = faults.store(store)
    async with palaver.open(
        store=faulty, model=faults.model(model), clock=clock, settings=SETTINGS
    ) as manager:
        conversation = await manager.create()
        for said in "abc":
            try:
                await conversation.say(said)
            except PromptKept:
                continue
        faults.passed.clear()
        faults.plan[name] = Fault(Kill(), int(nth))
        await clock.advance(3600)
        await manager.send_outbox()
        raise AssertionError(f"{point} was not passed")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
