"""The log: numbers, writers, reading, snapshots, deleting, tenants."""

import asyncio

from palaver.domain.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    StaleWriter,
    StoreError,
)
from palaver.domain.events import (
    ConversationCreated,
    PreferencesChanged,
)
from palaver.domain.ids import ConversationId, TurnId
from palaver.domain.messages import Message
from palaver.domain.snapshot import SNAPSHOT_VERSION, Snapshot
from palaver.domain.values import UserPreferences
from palaver.store.base import RunRow
from palaver.testing.store_contract.base import (
    CHAT,
    ME,
    STRANGER,
    Contract,
    HandClock,
    accept,
    begin,
    raises,
    said,
)


class LogContract(Contract):
    """The log: numbers, writers, reading, deleting, tenants."""

    async def test_numbers_have_no_gap(self) -> None:
        """Facts are numbered from 1 without a gap and read back as they were, with their time."""
        clock = HandClock()
        async with self.open_store(clock=clock) as store:
            first = await store.create(ME, CHAT, [ConversationCreated(), said("a")])
            clock.time += 5
            second = await store.append(ME, CHAT, [said("b"), said("c")], expected=2)
            records = await store.read(ME, CHAT)
            assert (first.first, first.last, second.first, second.last) == (1, 2, 3, 4)
            assert [r.seq for r in records] == [1, 2, 3, 4]
            assert [r.at for r in records] == [first.at, first.at, second.at, second.at]
            assert second.at - first.at == 5
            assert [type(r.event).__name__ for r in records][1:] == ["MessageAdded"] * 3

    async def test_time_never_runs_back(self) -> None:
        """A clock that is set back does not put a later fact before an earlier one."""
        clock = HandClock()
        async with self.open_store(clock=clock) as store:
            await begin(store)
            clock.time -= 3600
            later = await store.append(ME, CHAT, [said("b")], expected=1)
            assert later.at >= (await store.read(ME, CHAT))[0].at

    async def test_stale_writer_writes_nothing(self) -> None:
        """A wrong expected number raises StaleWriter, which knows the right one."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store, CHAT, said("a"))
            for expected in (0, 1, 3):
                with raises(StaleWriter) as caught:
                    await store.append(ME, CHAT, [said("b")], expected=expected)
                assert (caught[0].expected, caught[0].actual) == (expected, 2)
            assert len(await store.read(ME, CHAT)) == 2

    async def test_of_many_writers_one_wins(self) -> None:
        """Of twenty concurrent appends behind the same number exactly one is written."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            outcomes = await asyncio.gather(
                *(store.append(ME, CHAT, [said(str(i))], expected=1) for i in range(20)),
                return_exceptions=True,
            )
            assert sum(isinstance(o, StaleWriter) for o in outcomes) == 19
            assert len(await store.read(ME, CHAT)) == 2

    async def test_refused_append_leaves_nothing(self) -> None:
        """When any part of an append is refused, no fact, row or snapshot of it is there."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            await accept(store, "hi", turn="turn_1", expected=1)
            bad = [RunRow(1, 1, b"[]", epoch=7)]
            with raises(StaleWriter):
                await store.append(ME, CHAT, [said("x")], expected=3, run=(TurnId("turn_1"), bad))
            with raises(InvalidInput):
                ahead = Snapshot(9, SNAPSHOT_VERSION, b"{}")
                await store.append(ME, CHAT, [said("x")], expected=3, snapshot=ahead)
            with raises(InvalidInput):
                await store.append(ME, CHAT, [said("ok"), said("half \ud800")], expected=3)
            with raises(InvalidInput):
                await store.append(ME, CHAT, [], expected=3)
            assert len(await store.read(ME, CHAT)) == 3
            assert await store.search(ME, "x") == await store.search(ME, "ok") == ()
            assert await store.snapshot(ME, CHAT) is None

    async def test_creating_twice_conflicts(self) -> None:
        """An id is used once in a tenant; a log begins with ConversationCreated."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            with raises(Conflict):
                await begin(store)
            with raises(InvalidInput):
                await store.create(ME, ConversationId("conv_2"), [said("a")])
            with raises(InvalidInput):
                await store.create(ME, ConversationId("../x y"), [ConversationCreated()])
            await begin(store, CHAT, scope=STRANGER)

    async def test_reading_a_part(self) -> None:
        """`after`, `until`, `kinds` and `limit` narrow a reading, and order is kept."""
        async with self.open_store(clock=HandClock()) as store:
            preferences = PreferencesChanged(UserPreferences(model="offline"))
            await begin(store, CHAT, said("a"), preferences, said("b"), said("c"))

            async def numbers(**narrow: object) -> list[int]:
                return [r.seq for r in await store.read(ME, CHAT, **narrow)]  # type: ignore[arg-type]

            assert await numbers(after=3) == [4, 5]
            assert await numbers(after=1, until=4) == [2, 3, 4]
            assert await numbers(kinds=("message.added",)) == [2, 4, 5]
            assert await numbers(kinds=("message.added", "preferences.changed"), after=2) == [
                3,
                4,
                5,
            ]
            assert await numbers(kinds=("no.such",)) == await numbers(kinds=()) == []
            assert await numbers(limit=2) == [1, 2]
            assert await numbers(after=99) == await numbers(until=0) == []

    async def test_snapshots(self) -> None:
        """The newest snapshot of the present version is found; others are as if absent."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            one, two = (Snapshot(n, SNAPSHOT_VERSION, b"{%d}" % n) for n in (2, 3))
            await store.append(ME, CHAT, [said("a")], expected=1, snapshot=one)
            assert await store.snapshot(ME, CHAT) == one
            await store.append(ME, CHAT, [said("b")], expected=2, snapshot=two)
            assert await store.snapshot(ME, CHAT) == two
            await begin(store, "conv_2")
            foreign = Snapshot(2, SNAPSHOT_VERSION + 1, b"new")
            other = ConversationId("conv_2")
            await store.append(ME, other, [said("a")], expected=1, snapshot=foreign)
            assert await store.snapshot(ME, other) is None

    async def test_deleting_erases_all(self) -> None:
        """After deletion nothing is found by any way, and the id may be used anew."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            await accept(store, "walrus", turn="turn_1", expected=1, key="k")
            await store.append_run(ME, TurnId("turn_1"), [RunRow(1, 1, b"[]")])
            await begin(store, "conv_2", said("walrus too"))
            await store.delete(ME, CHAT)
            for call in (store.read(ME, CHAT), store.snapshot(ME, CHAT), store.delete(ME, CHAT)):
                with raises(NotFound):
                    await call
            with raises(NotFound):
                await store.turn(ME, TurnId("turn_1"))
            assert [h.conversation for h in await store.search(ME, "walrus")] == ["conv_2"]
            assert len((await store.list_conversations(ME)).items) == 1
            await begin(store)
            again = await accept(store, "other", turn="turn_1", expected=1, key="k")
            assert not again.replayed
            assert await store.read_run(ME, TurnId("turn_1")) == []

    async def test_tenants_do_not_see_each_other(self) -> None:
        """For another tenant nothing exists, whatever method asks."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store, CHAT, said("secret"))
            turn = TurnId("turn_1")
            await accept(store, "hush", turn=turn, expected=2)
            hello = Message.user("hello", id="m")
            for call in (
                store.read(STRANGER, CHAT),
                store.snapshot(STRANGER, CHAT),
                store.delete(STRANGER, CHAT),
                store.append(STRANGER, CHAT, [said("x")], expected=4),
                store.accept(STRANGER, CHAT, hello, turn=TurnId("t"), expected=4),
                store.turn(STRANGER, turn),
                store.append_run(STRANGER, turn, [RunRow(1, 1, b"[]")]),
                store.read_run(STRANGER, turn),
                store.search(STRANGER, "secret", conversation=CHAT),
            ):
                with raises(NotFound):
                    await call
            assert (await store.list_conversations(STRANGER)).items == ()
            assert await store.search(STRANGER, "secret") == ()
            assert len(await store.read(ME, CHAT)) == 4

    async def test_odd_names_are_not_found(self) -> None:
        """Any text may be asked for; what cannot be an id is just not there."""
        async with self.open_store(clock=HandClock()) as store:
            for name in ("", "a b", "\x00", "\ud800", "x" * 1000, "../..", "'; --"):
                with raises(NotFound):
                    await store.read(ME, ConversationId(name))
                with raises(NotFound):
                    await store.turn(ME, TurnId(name))

    async def test_closed_store_says_so(self) -> None:
        """After `close` every call raises StoreError; closing again is harmless."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            await store.close()
            await store.close()
            with raises(StoreError):
                await store.read(ME, CHAT)
            with raises(StoreError):
                await store.append(ME, CHAT, [said("a")], expected=1)
            with raises(StoreError):
                await store.blob_references(ME)
