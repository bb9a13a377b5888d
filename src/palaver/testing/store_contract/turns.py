"""Accepting messages, the turn directory, and run logs."""

import asyncio

from palaver.domain.errors import (
    Conflict,
    IdempotencyMismatch,
    InvalidInput,
    NotFound,
    StaleWriter,
)
from palaver.domain.events import (
    MessageAdded,
    PromptQueued,
    TurnOpened,
)
from palaver.domain.ids import ConversationId, TurnId
from palaver.domain.messages import Message
from palaver.domain.outbox import QueuedPrompt
from palaver.domain.values import ClientTool, OutputSchema, Scope
from palaver.store.base import Accepted, RunRow
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


class TurnContract(Contract):
    """Accepting messages, the turn directory, and run logs."""

    async def test_accepting_is_one_step(self) -> None:
        """Accepting writes TurnOpened, the message, and an open turn owned by this process."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            accepted = await accept(store, "hi", turn="turn_1", expected=1)
            opened, message = (r.event for r in await store.read(ME, CHAT, after=1))
            assert opened == TurnOpened(TurnId("turn_1"))
            assert isinstance(message, MessageAdded)
            assert (message.turn, message.message.text) == ("turn_1", "hi")
            assert accepted.appended is not None
            assert (accepted.turn, accepted.message) == ("turn_1", "msg_turn_1")
            assert (accepted.appended.first, accepted.appended.last) == (2, 3)
            row = await store.turn(ME, TurnId("turn_1"))
            assert (row.conversation, row.owner, row.open, row.epoch) == (
                CHAT,
                store.owner,
                True,
                0,
            )
            assert (row.scope, row.started_at) == (ME, accepted.appended.at)

    async def test_closing_a_turn(self) -> None:
        """TurnClosed closes the turn's row; closing another turn's leaves it open."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            await accept(store, "hi", turn="turn_1", expected=1)
            await begin(store, "conv_2", closed(TurnId("turn_1")))
            assert (await store.turn(ME, TurnId("turn_1"))).open
            await store.append(ME, CHAT, [closed(TurnId("turn_1"))], expected=3)
            assert not (await store.turn(ME, TurnId("turn_1"))).open

    async def test_taking_a_turn_over(self) -> None:
        """The epoch rises, rows of the owner before are refused, and an ended turn is not taken."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            await accept(store, "hi", turn="turn_1", expected=1)
            turn = TurnId("turn_1")
            taken = await store.take_turn(ME, turn)
            assert (taken.owner, taken.epoch, taken.open) == (store.owner, 1, True)
            with raises(StaleWriter):
                await store.append_run(ME, turn, (RunRow(1, 1, b"[1]", 0),))
            await store.append_run(ME, turn, (RunRow(1, 1, b"[1]", 1),))
            await store.append(ME, CHAT, (closed(turn),), expected=3)
            assert (await store.take_turn(ME, turn)).epoch == 1
            with raises(NotFound):
                await store.take_turn(Scope("elsewhere"), turn)

    async def test_a_shape_that_was_asked_for_is_kept(self) -> None:
        """The schema of a reply is in TurnOpened, so that another process can go on with it."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            shape = OutputSchema("place", {"type": "object"})
            message = Message.user("hi", id="msg_1")
            await store.accept(ME, CHAT, message, turn=TurnId("turn_1"), expected=1, output=shape)
            (opened, _) = (r.event for r in await store.read(ME, CHAT, after=1))
            assert opened == TurnOpened(TurnId("turn_1"), shape)

    async def test_a_clients_tools_are_kept(self) -> None:
        """They are in TurnOpened, too: another process offers the model the same ones."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            tools = (ClientTool("read_file", "Read.", {"type": "object"}),)
            await store.accept(
                ME,
                CHAT,
                Message.user("hi", id="msg_1"),
                turn=TurnId("turn_1"),
                expected=1,
                tools=tools,
                own_tools=False,
            )
            (opened, _) = (r.event for r in await store.read(ME, CHAT, after=1))
            assert opened == TurnOpened(TurnId("turn_1"), None, tools, False)

    async def test_refused_message_leaves_nothing(self) -> None:
        """A stale, repeated or unencodable acceptance writes neither fact nor turn."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            with raises(StaleWriter):
                await accept(store, "hi", turn="turn_1", expected=0)
            with raises(InvalidInput):
                await accept(store, "half \udfff", turn="turn_1", expected=1)
            with raises(InvalidInput):
                await accept(store, "hi", turn="turn_1", expected=1, key="")
            with raises(NotFound):
                await store.turn(ME, TurnId("turn_1"))
            await accept(store, "hi", turn="turn_1", expected=1)
            with raises(Conflict):
                await accept(store, "hi", turn="turn_1", expected=3)
            assert len(await store.read(ME, CHAT)) == 3

    async def test_repeated_key_replays(self) -> None:
        """A known key with the same content gives the first turn, whatever is expected by then."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            await accept(store, "hi", turn="turn_1", expected=1, key="k")
            again = await accept(store, "hi", turn="turn_2", expected=1, key="k")
            assert again == Accepted(TurnId("turn_1"), again.message, None, replayed=True)
            assert again.message == "msg_turn_1"
            with raises(IdempotencyMismatch):
                await accept(store, "bye", turn="turn_3", expected=3, key="k")
            await begin(store, "conv_2")
            elsewhere = await store.accept(
                ME,
                ConversationId("conv_2"),
                Message.user("bye", id="m"),
                turn=TurnId("turn_4"),
                expected=1,
                idempotency_key="k",
            )
            assert not elsewhere.replayed
            assert len(await store.read(ME, CHAT)) == 3

    async def test_same_message_twice_at_once(self) -> None:
        """Ten identical requests at the same time make one turn; all are told which."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            outcomes = await asyncio.gather(
                *(accept(store, "hi", turn=f"t{i}", expected=1, key="k") for i in range(10))
            )
            assert len({o.turn for o in outcomes}) == 1
            assert sum(not o.replayed for o in outcomes) == 1
            assert len(await store.read(ME, CHAT)) == 3

    async def test_run_log_is_read_from_any_place(self) -> None:
        """Rows come back in order, from the one that holds the first wanted number."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            turn = TurnId("turn_1")
            await accept(store, "hi", turn=turn, expected=1)
            rows = [RunRow(1, 3, b"[1,2,3]"), RunRow(4, 4, b"[4]"), RunRow(5, 9, b"[5]")]
            await store.append_run(ME, turn, rows[:2])
            await store.append(ME, CHAT, [said("x")], expected=3, run=(turn, rows[2:]))
            for after, kept in ((0, 3), (2, 3), (3, 2), (4, 1), (8, 1), (9, 0), (99, 0)):
                assert await store.read_run(ME, turn, after=after) == rows[3 - kept :]

    async def test_tenants_with_something_to_do(self) -> None:
        """Tenants are named who have an open turn or a prompt that waits, each once."""
        async with self.open_store(clock=HandClock()) as store:
            assert await store.tenants() == ()
            for tenant in ("idle", "waits", "asks"):
                await begin(store, scope=Scope(tenant))
            await begin(store, "conv_2", scope=Scope("waits"))
            for name in (CHAT, ConversationId("conv_2")):
                prompt = QueuedPrompt(Message.user("later", id=f"msg_{name}"))
                await store.append(Scope("waits"), name, [PromptQueued(prompt)], expected=1)
            turn, message = TurnId("turn_1"), Message.user("hi", id="msg_1")
            await store.accept(Scope("asks"), CHAT, message, turn=turn, expected=1)
            assert await store.tenants() == ("asks", "waits")
            await store.append(Scope("asks"), CHAT, [closed(turn)], expected=3)
            assert await store.tenants() == ("waits",)

    async def test_run_rows_do_not_overlap(self) -> None:
        """Rows of another epoch, or that begin within what is there, are refused whole."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            turn = TurnId("turn_1")
            await accept(store, "hi", turn=turn, expected=1)
            await store.append_run(ME, turn, [RunRow(1, 3, b"[]")])
            for rows in (
                [RunRow(3, 4, b"[]")],
                [RunRow(4, 4, b"[]"), RunRow(4, 5, b"[]")],
                [RunRow(4, 4, b"[]", epoch=1)],
            ):
                with raises(StaleWriter):
                    await store.append_run(ME, turn, rows)
            assert await store.read_run(ME, turn) == [RunRow(1, 3, b"[]")]
            with raises(NotFound):
                await store.append_run(ME, TurnId("turn_9"), [])

    async def test_old_run_logs_are_pruned(self) -> None:
        """After a turn has ended, rows of the newest two turns are kept; facts always."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            for i in range(4):
                turn = TurnId(f"turn_{i}")
                await accept(store, "hi", turn=turn, expected=1 + 3 * i)
                await store.append_run(ME, turn, [RunRow(1, 1, b"[]")])
                await store.append(ME, CHAT, [closed(turn)], expected=3 + 3 * i)
            left = [len(await store.read_run(ME, TurnId(f"turn_{i}"))) for i in range(4)]
            assert left == [0, 0, 1, 1]
            assert len(await store.read(ME, CHAT)) == 13
