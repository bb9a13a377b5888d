"""The people of a simulated world: who talks, who reads along, who decides."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from palaver.domain.errors import PalaverError
from palaver.domain.messages import Role
from palaver.domain.stream import (
    AttemptStarted,
    MessageCompleted,
    RetryScheduled,
    StreamEvent,
    TextDelta,
    TurnFailed,
)
from palaver.service.conversation import Conversation
from palaver.service.manager import ConversationManager
from palaver.streams.cursor import unpack
from palaver.streams.session import Numbered, ResumeGap
from palaver.testing.simulation_process import Died

if TYPE_CHECKING:
    from palaver.testing.simulation import World


class Talker:
    """Somebody with a conversation: says things, cancels some, asks for compactions, reads all."""

    def __init__(self, world: "World", number: int) -> None:
        self._world, self._number = world, number
        self._name = ""

    async def talk(self, messages: int) -> None:
        """Say so much; each is accepted in the end, and its turn is read to its end."""
        world = self._world
        self._name = await world.persist(_create)
        for number in range(messages):
            order = f"order {self._number}-{number}"
            mode = world.chance.choice(["fail", "queue"])
            turn = await world.persist(lambda m, o=order, q=mode: self._say(m, o, q))
            world.accepted[order] = (self._name, turn)
            reading = asyncio.ensure_future(Reader(world, self._name, turn).read())
            if world.chance.random() < 0.2:
                await world.clock.sleep(world.chance.uniform(0, 3))
                world.figures.cancels += 1
                await world.persist(lambda m, t=turn: self._cancel(m, t))
            await reading
            if world.chance.random() < 0.3:
                await self._compact()

    async def _say(self, manager: ConversationManager, order: str, mode: Any) -> str:
        conversation = await manager.open(self._name)
        session = await conversation.start(
            order, idempotency_key=order, on_busy="queue", on_unreachable=mode
        )
        return session.turn

    async def _cancel(self, manager: ConversationManager, turn: str) -> None:
        conversation = await manager.open(self._name)
        if conversation.state.turn is not None and conversation.state.turn.id == turn:
            await conversation.cancel()

    async def _compact(self) -> None:
        """Ask for it once; there may be nothing to make smaller, or nobody who lives to do it."""
        process = await self._world.process()
        assert process.manager is not None
        with suppress(Died, PalaverError):
            await process.ask(_compacted(process.manager, self._name))


class Reader:
    """A client that follows one turn by its cursor, over as many processes as it takes.

    Its rule: an event with a known number and a higher epoch replaces everything from there on.
    """

    def __init__(self, world: "World", name: str, turn: str) -> None:
        self._world, self._name, self._turn = world, name, turn
        self._seen: list[Numbered] = []

    async def read(self) -> None:
        """Until the turn is closed and all of it is read; what is seen then is what is stored."""
        world = self._world
        while True:
            was_closed = self._turn in world.database.closed
            process = await world.process()
            assert process.manager is not None
            try:
                await process.ask(self._follow(process.manager))
            except ResumeGap:
                if was_closed:
                    return  # later turns have pruned its log
            except (Died, PalaverError):
                pass
            else:
                if was_closed:
                    break
            await world.clock.sleep(0.2)
        await self._compare()

    async def _follow(self, manager: ConversationManager) -> None:
        if self._seen and _is_unstored(self._seen[-1].event):
            self._seen.pop()  # whether it holds is not known where the store failed
        at = self._seen[-1].cursor if self._seen else 0
        async for numbered in manager.follow(self._turn, after=at):
            known = self._seen[numbered.number - 1 :]
            if numbered.number > len(self._seen) + 1:
                self._complain(f"event {numbered.number} was read behind {len(self._seen)}")
            if any(old.epoch >= numbered.epoch for old in known):
                self._complain(f"event {numbered.number} was read twice")
            self._seen[numbered.number - 1 :] = [numbered]

    async def _compare(self) -> None:
        world = self._world
        rows = await world.database.read_run(world.scope, self._turn)
        stored = [event for batch in unpack(rows, 0) for event in batch.events]
        if not stored:
            return  # pruned meanwhile
        world.figures.read += 1
        seen = [numbered.event for numbered in self._seen]
        if seen != stored:
            self._complain("a reader has seen something else than what is stored")
        self._check_text(stored)

    def _check_text(self, stored: list[Any]) -> None:
        """No character of an answer was shown twice, or never, however often it was continued."""
        text = ""
        for event in stored:
            match event:
                case AttemptStarted(continues=False) | RetryScheduled(continues=False):
                    text = ""
                case TextDelta(text=more):
                    text += more
                case MessageCompleted(message=message) if message.role is Role.ASSISTANT:
                    if text != message.text:
                        self._complain(f"{text!r} was shown, {message.text!r} stored")
                    text = ""
                case _:
                    pass

    def _complain(self, what: str) -> None:
        self._world.complain(f"{self._turn}: {what}")


def _is_unstored(event: StreamEvent) -> bool:
    return isinstance(event, TurnFailed) and event.error.code.startswith("stor")


async def decide(world: "World") -> None:
    """Somebody allows, or refuses, what waits, in any process."""
    while True:
        await world.clock.sleep(world.chance.uniform(0.2, 2.0))
        for name, state in list(world.database.states.items()):
            for call in state.turn.waiting if state.turn is not None else ():
                approve = world.chance.random() < 0.8
                process = await world.process()
                assert process.manager is not None
                with suppress(Died, PalaverError):
                    await process.ask(_decided(process.manager, name, call, approve))


async def _create(manager: ConversationManager) -> str:
    return (await manager.create()).id


async def _compacted(manager: ConversationManager, name: str) -> None:
    await (await manager.open(name)).compact(by_model=False)


async def _decided(manager: ConversationManager, name: str, call: str, approve: bool) -> None:
    conversation: Conversation = await manager.open(name)
    await conversation.decide(call, approve=approve)
