"""A program that is killed in the middle: `python -m tests.service.crashing DATABASE STAGE`."""

import asyncio
import sys

import palaver
from palaver import ExecutionContext, tool
from palaver.domain.ids import TurnId
from palaver.testing import Call, Cut, Line, Pause, Say, ScriptedModel, Think, ToldClock


@tool(effect="effect", needs_approval=False)
async def pay(context: ExecutionContext) -> str:
    """Pay, and never come back."""
    print("ready", flush=True)
    await asyncio.Event().wait()
    return "paid"


@tool(effect="idempotent")
async def book(context: ExecutionContext) -> str:
    """Book under the call's key, and never come back."""
    print(context.idempotency_key, flush=True)
    print("ready", flush=True)
    await asyncio.Event().wait()
    return "booked"


async def written(manager: palaver.ConversationManager, turn: TurnId, events: int) -> None:
    """Wait until so many events of a turn are on disk."""
    while not await manager.store.read_run(palaver.Scope(), turn, after=events - 1):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def main(path: str, stage: str) -> None:
    """Get to the stage, say so, and wait for the end."""
    never = asyncio.Event()
    scripts: dict[str, list[list[Line]]] = {
        "accepted": [[Pause(until=never)]],
        "speaking": [[Say("Half of an answer"), Pause(until=never)]],
        "thinking": [[Think("Hm."), Say("Half of an answer"), Think("Or?"), Pause(until=never)]],
        "thought": [[Think("Hm."), Say("Half of an answer"), Pause(until=never)]],
        "waiting": [[Say("Half of an answer"), Cut()]],
        "paying": [[Say("I pay."), Call("pay")]],
        "booking": [[Say("I book."), Call("book")]],
    }
    clock = ToldClock() if stage == "waiting" else None  # no wait is ever over
    async with palaver.open(
        path, model=ScriptedModel(scripts[stage]), tools=[pay, book], clock=clock
    ) as manager:
        conversation = await manager.create()
        session = await conversation.start("go on")
        said, events = "", 0
        async for event in session.events():
            events += 1
            said += event.text if isinstance(event, palaver.TextDelta) else ""
            is_half = said == "Half of an answer"
            ready = {
                "accepted": not said,
                "speaking": is_half,
                "thought": is_half,
                "thinking": is_half and isinstance(event, palaver.ReasoningDelta),
                "waiting": isinstance(event, palaver.RetryScheduled),
            }
            if ready.get(stage):
                await written(manager, session.turn, events)
                print("ready", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
