"""Stores that outlive their process, and that several processes open at a time."""

import asyncio
from contextlib import AbstractAsyncContextManager

from palaver.domain.clock import Clock
from palaver.domain.errors import StaleWriter
from palaver.domain.ids import TurnId
from palaver.store.base import ConversationStore, RunRow
from palaver.testing.store_contract.base import (
    CHAT,
    ME,
    Contract,
    HandClock,
    accept,
    begin,
    closed,
    raises,
    said,
)


class DurableContract(Contract):
    """Reopening, sharing, and adopting the turns of the dead."""

    def open_again(self, *, clock: Clock) -> AbstractAsyncContextManager[ConversationStore]:
        """One more store on what `open_store` opened last. To be overridden."""
        raise NotImplementedError

    async def test_everything_survives(self) -> None:
        """What was acknowledged is there when the store is opened again, numbers going on."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store, CHAT, said("walrus"), title="T")
            await accept(store, "hi", turn="turn_1", expected=2, key="k")
            await store.append_run(ME, TurnId("turn_1"), [RunRow(1, 2, b"[]")])
            before = await store.read(ME, CHAT)
        async with self.open_again(clock=HandClock()) as store:
            assert await store.read(ME, CHAT) == before
            assert await store.read_run(ME, TurnId("turn_1")) == [RunRow(1, 2, b"[]")]
            assert (await accept(store, "hi", turn="t2", expected=0, key="k")).replayed
            (line,) = (await store.list_conversations(ME)).items
            assert (line.messages, line.metadata.title) == (2, "T")
            assert len(await store.search(ME, "walrus")) == 1
            assert (await store.append(ME, CHAT, [said("b")], expected=4)).first == 5

    async def test_two_stores_share_one_log(self) -> None:
        """Each sees what the other wrote; of both writing behind the same number one wins."""
        async with (
            self.open_store(clock=HandClock()) as one,
            self.open_again(clock=HandClock()) as two,
        ):
            await begin(one)
            for number in range(1, 9):
                outcomes = await asyncio.gather(
                    one.append(ME, CHAT, [said("a")], expected=number),
                    two.append(ME, CHAT, [said("b")], expected=number),
                    return_exceptions=True,
                )
                assert sum(isinstance(o, StaleWriter) for o in outcomes) == 1
            assert await one.read(ME, CHAT) == await two.read(ME, CHAT)

    async def test_turns_of_the_living_are_left_alone(self) -> None:
        """Nobody adopts a turn whose owner lives, nor one's own, nor a closed one."""
        async with (
            self.open_store(clock=HandClock()) as one,
            self.open_again(clock=HandClock()) as two,
        ):
            await begin(one)
            await accept(one, "hi", turn="turn_1", expected=1)
            assert one.owner != two.owner
            assert await two.adopt_orphans() == await one.adopt_orphans() == ()
            await one.append(ME, CHAT, [closed(TurnId("turn_1"))], expected=3)
        async with self.open_again(clock=HandClock()) as three:
            assert await three.adopt_orphans() == ()

    async def test_orphans_go_to_one(self) -> None:
        """Of several that ask, exactly one gets each orphan, with the next epoch; old rows are
        refused from then on."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            await accept(store, "hi", turn="turn_1", expected=1)
            await store.append_run(ME, TurnId("turn_1"), [RunRow(1, 2, b"[]")])
        async with (
            self.open_again(clock=HandClock()) as one,
            self.open_again(clock=HandClock()) as two,
        ):
            first, second = await asyncio.gather(one.adopt_orphans(), two.adopt_orphans())
            (turn,) = first + second
            heir = one if first else two
            assert (turn.id, turn.owner, turn.epoch, turn.open) == ("turn_1", heir.owner, 1, True)
            assert turn.scope == ME
            assert await heir.turn(ME, turn.id) == turn
            with raises(StaleWriter):
                await one.append_run(ME, turn.id, [RunRow(3, 3, b"[]", epoch=0)])
            await heir.append_run(ME, turn.id, [RunRow(3, 3, b"[]", epoch=1)])
            assert await one.adopt_orphans() == await two.adopt_orphans() == ()
