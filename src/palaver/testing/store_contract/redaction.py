"""Rewriting facts, and turns that answer an older message again."""

from palaver.domain.errors import Conflict, InvalidInput, NotFound, StaleWriter
from palaver.domain.events import (
    Event,
    MessageAdded,
    MessageRedacted,
    MetadataChanged,
    TurnOpened,
)
from palaver.domain.ids import MessageId, TurnId
from palaver.domain.messages import Message
from palaver.domain.redaction import redacted
from palaver.domain.snapshot import SNAPSHOT_VERSION, Snapshot
from palaver.domain.values import SessionMetadata
from palaver.store.base import Appended, ConversationStore, RunRow
from palaver.testing.store_contract.base import (
    CHAT,
    ME,
    STRANGER,
    Contract,
    HandClock,
    accept,
    begin,
    closed,
    raises,
    said,
)
from palaver.testing.store_contract.forks import FORK, LATER, fork, texts


def erased(text: str, *, id: str) -> MessageAdded:
    """The message that was said, redacted."""
    return MessageAdded(redacted(Message.user(text, id=id)))


async def redact(
    store: ConversationStore, number: int, *, expected: int, id: str = "m", **more: object
) -> Appended:
    """The message at `number` of `CHAT` redacted."""
    return await store.rewrite(
        ME,
        CHAT,
        [(number, erased("secret", id=id))],
        [MessageRedacted(MessageId(id))],
        expected=expected,
        **more,  # type: ignore[arg-type]
    )


class RedactionContract(Contract):
    """Rewriting facts, and turns that answer an older message again."""

    async def test_who_shares_a_fact(self) -> None:
        """A fact is shared with the forks behind it, theirs, and what it was forked from."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            await store.append(ME, CHAT, [said("one"), said("two", id="n")], expected=1)
            await fork(store, at=2)
            await store.append(ME, FORK, [said("other", id="o")], expected=3)
            await fork(store, source=FORK, name=LATER, at=4)
            assert set(await store.sharing(ME, CHAT, 2)) == {FORK, LATER}
            assert set(await store.sharing(ME, LATER, 2)) == {CHAT, FORK}
            assert await store.sharing(ME, CHAT, 3) == ()
            assert await store.sharing(ME, FORK, 4) == (LATER,)
            with raises(NotFound):
                await store.sharing(STRANGER, CHAT, 2)
            with raises(InvalidInput):
                await store.sharing(ME, CHAT, 9)

    async def test_redacted_everywhere(self) -> None:
        """A rewritten fact keeps number and time; its old text is in no reading, search, listing,
        snapshot or run log."""
        clock = HandClock()
        async with self.open_store(clock=clock) as store:
            await begin(store)
            await accept(store, "secret walrus", turn="turn_1", expected=1)
            turn = TurnId("turn_1")
            await store.append_run(ME, turn, [RunRow(1, 2, b"secret")])
            kept = Snapshot(3, SNAPSHOT_VERSION, b"secret")
            before, after = said("before"), said("after")
            await store.append(ME, CHAT, [closed(turn)], expected=3, snapshot=kept)
            old = await store.read(ME, CHAT)
            clock.time += 5
            appended = await redact(store, 3, expected=4, id="msg_turn_1", runs=[turn])
            assert (appended.first, appended.last, appended.at) == (5, 5, clock.now())
            new = await store.read(ME, CHAT)
            assert [(r.seq, r.at) for r in new[:4]] == [(r.seq, r.at) for r in old]
            assert new[2].event == erased("secret walrus", id="msg_turn_1")
            assert new[4].event == MessageRedacted(MessageId("msg_turn_1"))
            assert await store.search(ME, "walrus") == ()
            assert len(await store.search(ME, "redacted")) == 1
            (line,) = (await store.list_conversations(ME)).items
            assert (line.preview, line.messages) == ("[redacted]", 1)
            assert await store.snapshot(ME, CHAT) is None
            assert await store.read_run(ME, turn) == []
            await store.append(ME, CHAT, [before, after], expected=5)

    async def test_repeating_a_redacted_message(self) -> None:
        """A repeated request whose message has been redacted since is answered as before."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            await accept(store, "secret", turn="turn_1", expected=1, key="k")
            await redact(store, 3, expected=3, id="msg_turn_1")
            again = await accept(store, "secret", turn="turn_2", expected=3, key="k")
            assert (again.replayed, again.turn) == (True, "turn_1")

    async def test_listing_falls_back(self) -> None:
        """Only the newest user message is previewed, redacted or not; titles may be rewritten."""
        async with self.open_store(clock=HandClock()) as store:
            titled: list[Event] = [MetadataChanged(SessionMetadata(title="secret"))]
            await begin(store, CHAT, said("secret", id="m"), *titled, said("newest"))
            untitled = MetadataChanged(SessionMetadata(title="", archived=True))
            replaced: list[tuple[int, Event]] = [(2, erased("secret", id="m")), (3, untitled)]
            await store.rewrite(ME, CHAT, replaced, [MessageRedacted(MessageId("m"))], expected=4)
            (line,) = (await store.list_conversations(ME, archived=True)).items
            assert (line.preview, line.metadata.title, line.messages) == ("newest", "", 2)

    async def test_forks_see_the_redaction(self) -> None:
        """Shared facts are rewritten for all who share them, through whichever it is done."""
        async with self.open_store(clock=HandClock()) as store:
            many = [MessageAdded(Message.assistant(f"a{i}", id=f"a{i}")) for i in range(300)]
            await begin(store, CHAT, said("first"), said("secret", id="m"), *many)
            await fork(store, 200)
            await fork(store, 150, source=FORK, name=LATER)
            own = Snapshot(202, SNAPSHOT_VERSION, b"secret")
            answer = MessageAdded(Message.assistant("x", id="x"))
            await store.append(ME, FORK, [answer], expected=201, snapshot=own)
            done = await store.rewrite(
                ME, LATER, [(3, erased("secret", id="m"))],
                [MessageRedacted(MessageId("m"))], expected=151,
            )  # fmt: skip
            assert (done.first, done.last) == (152, 152)
            for name in (CHAT, FORK, LATER):
                assert (await texts(store, name))[:3] == ["first", "[redacted]", "a0"]
                assert await store.snapshot(ME, name) is None
                assert await store.search(ME, "secret", conversation=name) == ()
            assert [r.event for r in await store.read(ME, CHAT, after=303)] == []
            lines = (await store.list_conversations(ME)).items
            assert {line.preview for line in lines} == {"[redacted]"}
            again = CHAT + "_again"
            for at, preview in ((2, "first"), (250, "[redacted]")):
                name = type(CHAT)(f"{again}_{at}")
                await fork(store, at, name=name)
                lines = (await store.list_conversations(ME)).items
                assert next(line.preview for line in lines if line.id == name) == preview

    async def test_own_facts_of_a_fork(self) -> None:
        """Rewriting a fork's own fact changes nothing in its origin."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store, CHAT, said("a"), said("b", id="m"))
            kept = Snapshot(3, SNAPSHOT_VERSION, b"{}")
            await store.append(ME, CHAT, [said("c")], expected=3, snapshot=kept)
            await fork(store, 3, said("secret", id="m2"))
            await store.rewrite(
                ME, FORK, [(5, erased("secret", id="m2"))],
                [MessageRedacted(MessageId("m2"))], expected=5,
            )  # fmt: skip
            assert await texts(store, CHAT) == ["a", "b", "c"]
            assert await texts(store, FORK) == ["a", "b", "[redacted]"]
            assert await store.snapshot(ME, CHAT) == await store.snapshot(ME, FORK) == kept

    async def test_refused_rewriting_leaves_all(self) -> None:
        """What does not fit is refused, and then nothing of it is written."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store, CHAT, said("secret", id="m"), said("b"))
            good, noted = (2, erased("secret", id="m")), [MessageRedacted(MessageId("m"))]
            other = MetadataChanged(SessionMetadata())
            bad: list[tuple[int, Event]] = [(0, good[1]), (4, good[1]), (3, other)]
            for replaced in ([good, unfit] for unfit in bad):
                with raises(InvalidInput):
                    await store.rewrite(ME, CHAT, replaced, noted, expected=3)
            with raises(InvalidInput):
                await store.rewrite(ME, CHAT, [good, (3, said("half \ud800"))], noted, expected=3)
            with raises(InvalidInput):
                await store.rewrite(ME, CHAT, [good], [], expected=3)
            with raises(StaleWriter):
                await redact(store, 2, expected=2)
            for scope, name in ((STRANGER, CHAT), (ME, FORK)):
                with raises(NotFound):
                    await store.rewrite(scope, name, [good], noted, expected=3)
            assert await texts(store, CHAT) == ["secret", "b"]
            assert len(await store.search(ME, "secret")) == 1
            await redact(store, 2, expected=3, runs=[TurnId("turn_unknown")])
            assert await texts(store, CHAT) == ["[redacted]", "b"]

    async def test_runs_of_strangers_stay(self) -> None:
        """The run log of another tenant's turn of the same name is left alone."""
        async with self.open_store(clock=HandClock()) as store:
            turn = TurnId("turn_1")
            await begin(store, CHAT, said("secret", id="m"))
            await begin(store, CHAT, scope=STRANGER)
            hello = Message.user("hello", id="m")
            await store.accept(STRANGER, CHAT, hello, turn=turn, expected=1)
            await store.append_run(STRANGER, turn, [RunRow(1, 1, b"[]")])
            await redact(store, 2, expected=2, runs=[turn])
            assert await store.read_run(STRANGER, turn) == [RunRow(1, 1, b"[]")]

    async def test_turn_without_a_new_message(self) -> None:
        """`opens` makes an open turn of this process beside the facts; TurnOpened alone none."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store, CHAT, said("a"))
            turn, copied = TurnId("turn_1"), TurnId("turn_2")
            rows = [RunRow(1, 1, b"[]")]
            done = await store.append(
                ME, CHAT, [TurnOpened(turn)], expected=2, opens=turn, run=(turn, rows)
            )
            row = await store.turn(ME, turn)
            assert (row.conversation, row.owner, row.open, row.epoch) == (
                CHAT,
                store.owner,
                True,
                0,
            )
            assert (row.scope, row.started_at) == (ME, done.at)
            assert await store.read_run(ME, turn) == rows
            await store.append(ME, CHAT, [closed(turn)], expected=3)
            assert not (await store.turn(ME, turn)).open
            await store.append(ME, CHAT, [TurnOpened(copied)], expected=4)
            with raises(NotFound):
                await store.turn(ME, copied)
            with raises(Conflict):
                await store.append(ME, CHAT, [TurnOpened(turn)], expected=5, opens=turn)
            with raises(InvalidInput):
                odd = TurnId("no id")
                await store.append(ME, CHAT, [TurnOpened(odd)], expected=5, opens=odd)
            with raises(StaleWriter):
                await store.append(ME, CHAT, [TurnOpened(copied)], expected=4, opens=copied)
            assert len(await store.read(ME, CHAT)) == 5
