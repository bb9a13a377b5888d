"""What every `ConversationStore` must keep, as tests that any implementation can be run against.

    class TestMyStore(StoreContract):
        def open_store(self, *, clock):          # an async context manager
            return my_empty_store(clock=clock)

Run by pytest with pytest-asyncio in its `auto` mode. A store that survives its process subclasses
`palaver.testing.store_durable.DurableStoreContract` instead. Each test makes its own empty store.
"""

import asyncio
import random
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager

from palaver.domain.clock import Clock
from palaver.domain.errors import (
    Conflict,
    IdempotencyMismatch,
    InvalidInput,
    NotFound,
    PalaverError,
    StaleWriter,
    StoreError,
)
from palaver.domain.events import (
    ConversationCreated,
    Event,
    MessageAdded,
    MetadataChanged,
    PreferencesChanged,
    ToolResolved,
    TurnClosed,
    TurnOpened,
)
from palaver.domain.ids import ConversationId, TurnId
from palaver.domain.messages import Message, Text, ToolCall, ToolResult
from palaver.domain.snapshot import SNAPSHOT_VERSION, Snapshot
from palaver.domain.values import Scope, SessionMetadata, TurnOutcome, UserPreferences
from palaver.store.base import Accepted, ConversationStore, RunRow
from palaver.system import new_id
from palaver.testing.clock import ToldClock

ME = Scope("acme", "ann")
STRANGER = Scope("rival", "rob")
CHAT = ConversationId("conv_1")


@contextmanager
def raises(kind: type[PalaverError]) -> Iterator[None]:
    """The block must raise `kind`."""
    try:
        yield
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")


def said(text: str, *, id: str = "") -> MessageAdded:
    """A user's message as a fact outside of any turn."""
    return MessageAdded(Message.user(text, id=id or new_id("msg")))


def closed(turn: TurnId) -> TurnClosed:
    """The end of a turn."""
    return TurnClosed(turn, TurnOutcome.COMPLETED)


async def begin(
    store: ConversationStore, name: str = CHAT, *events: Event, scope: Scope = ME, title: str = ""
) -> ConversationId:
    """A new conversation with `events` in it."""
    created = ConversationCreated(metadata=SessionMetadata(title=title))
    await store.create(scope, ConversationId(name), [created, *events])
    return ConversationId(name)


async def accept(
    store: ConversationStore, text: str, *, turn: str, expected: int, key: str | None = None
) -> Accepted:
    """`text` accepted in the conversation `CHAT`."""
    message = Message.user(text, id=f"msg_{turn}")
    return await store.accept(
        ME, CHAT, message, turn=TurnId(turn), expected=expected, idempotency_key=key
    )


class _Contract:
    def open_store(self, *, clock: Clock) -> AbstractAsyncContextManager[ConversationStore]:
        """A new, empty store that is closed at the end of the block. To be overridden."""
        raise NotImplementedError


class LogContract(_Contract):
    """The log: numbers, writers, reading, deleting, tenants."""

    async def test_numbers_have_no_gap(self) -> None:
        """Facts are numbered from 1 without a gap and read back as they were, with their time."""
        clock = ToldClock()
        async with self.open_store(clock=clock) as store:
            first = await store.create(ME, CHAT, [ConversationCreated(), said("a")])
            clock.advance(5)
            second = await store.append(ME, CHAT, [said("b"), said("c")], expected=2)
            records = await store.read(ME, CHAT)
            assert (first.first, first.last, second.first, second.last) == (1, 2, 3, 4)
            assert [r.seq for r in records] == [1, 2, 3, 4]
            assert [r.at for r in records] == [first.at, first.at, second.at, second.at]
            assert second.at - first.at == 5
            assert [type(r.event).__name__ for r in records][1:] == ["MessageAdded"] * 3

    async def test_time_never_runs_back(self) -> None:
        """A clock that is set back does not put a later fact before an earlier one."""
        clock = ToldClock()
        async with self.open_store(clock=clock) as store:
            await begin(store)
            clock.set_back(3600)
            later = await store.append(ME, CHAT, [said("b")], expected=1)
            assert later.at >= (await store.read(ME, CHAT))[0].at

    async def test_stale_writer_writes_nothing(self) -> None:
        """A wrong expected number raises StaleWriter, which knows the right one."""
        async with self.open_store(clock=ToldClock()) as store:
            await begin(store, CHAT, said("a"))
            for expected in (0, 1, 3):
                try:
                    await store.append(ME, CHAT, [said("b")], expected=expected)
                except StaleWriter as error:
                    assert (error.expected, error.actual) == (expected, 2)
                else:
                    raise AssertionError("a stale writer wrote")
            assert len(await store.read(ME, CHAT)) == 2

    async def test_of_many_writers_one_wins(self) -> None:
        """Of twenty concurrent appends behind the same number exactly one is written."""
        async with self.open_store(clock=ToldClock()) as store:
            await begin(store)
            outcomes = await asyncio.gather(
                *(store.append(ME, CHAT, [said(str(i))], expected=1) for i in range(20)),
                return_exceptions=True,
            )
            assert sum(isinstance(o, StaleWriter) for o in outcomes) == 19
            assert len(await store.read(ME, CHAT)) == 2

    async def test_refused_append_leaves_nothing(self) -> None:
        """When any part of an append is refused, no fact, row or snapshot of it is there."""
        async with self.open_store(clock=ToldClock()) as store:
            await begin(store)
            await accept(store, "hi", turn="turn_1", expected=1)
            bad = [RunRow(1, 1, b"[]", epoch=7)]
            with raises(StaleWriter):
                await store.append(
                    ME, CHAT, [said("x")], expected=3, run=(TurnId("turn_1"), bad)
                )
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
        async with self.open_store(clock=ToldClock()) as store:
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
        async with self.open_store(clock=ToldClock()) as store:
            preferences = PreferencesChanged(UserPreferences(model="offline"))
            await begin(store, CHAT, said("a"), preferences, said("b"), said("c"))

            async def numbers(**narrow: object) -> list[int]:
                return [r.seq for r in await store.read(ME, CHAT, **narrow)]  # type: ignore[arg-type]

            assert await numbers(after=3) == [4, 5]
            assert await numbers(after=1, until=4) == [2, 3, 4]
            assert await numbers(kinds=("message.added",)) == [2, 4, 5]
            assert await numbers(kinds=("message.added", "preferences.changed"), after=2) == [3, 4, 5]
            assert await numbers(kinds=("no.such",)) == await numbers(kinds=()) == []
            assert await numbers(limit=2) == [1, 2]
            assert await numbers(after=99) == await numbers(until=0) == []

    async def test_snapshots(self) -> None:
        """The newest snapshot of the present version is found; others are as if absent."""
        async with self.open_store(clock=ToldClock()) as store:
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
        async with self.open_store(clock=ToldClock()) as store:
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
        async with self.open_store(clock=ToldClock()) as store:
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
                    await call  # type: ignore[misc]
            assert (await store.list_conversations(STRANGER)).items == ()
            assert await store.search(STRANGER, "secret") == ()
            assert len(await store.read(ME, CHAT)) == 4

    async def test_odd_names_are_not_found(self) -> None:
        """Any text may be asked for; what cannot be an id is just not there."""
        async with self.open_store(clock=ToldClock()) as store:
            for name in ("", "a b", "\x00", "\ud800", "x" * 1000, "../..", "'; --"):
                with raises(NotFound):
                    await store.read(ME, ConversationId(name))
                with raises(NotFound):
                    await store.turn(ME, TurnId(name))

    async def test_closed_store_says_so(self) -> None:
        """After `close` every call raises StoreError; closing again is harmless."""
        async with self.open_store(clock=ToldClock()) as store:
            await begin(store)
            await store.close()
            await store.close()
            with raises(StoreError):
                await store.read(ME, CHAT)
            with raises(StoreError):
                await store.append(ME, CHAT, [said("a")], expected=1)


class TurnContract(_Contract):
    """Accepting messages, the turn directory, and run logs."""

    async def test_accepting_is_one_step(self) -> None:
        """Accepting writes TurnOpened, the message, and an open turn owned by this process."""
        async with self.open_store(clock=ToldClock()) as store:
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
            assert (row.conversation, row.owner, row.open, row.epoch) == (CHAT, store.owner, True, 0)
            assert (row.scope, row.started_at) == (ME, accepted.appended.at)

    async def test_closing_a_turn(self) -> None:
        """TurnClosed closes the turn's row; closing another turn's leaves it open."""
        async with self.open_store(clock=ToldClock()) as store:
            await begin(store)
            await accept(store, "hi", turn="turn_1", expected=1)
            await begin(store, "conv_2", closed(TurnId("turn_1")))
            assert (await store.turn(ME, TurnId("turn_1"))).open
            await store.append(ME, CHAT, [closed(TurnId("turn_1"))], expected=3)
            assert not (await store.turn(ME, TurnId("turn_1"))).open

    async def test_refused_message_leaves_nothing(self) -> None:
        """A stale, repeated or unencodable acceptance writes neither fact nor turn."""
        async with self.open_store(clock=ToldClock()) as store:
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
        async with self.open_store(clock=ToldClock()) as store:
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
        async with self.open_store(clock=ToldClock()) as store:
            await begin(store)
            outcomes = await asyncio.gather(
                *(accept(store, "hi", turn=f"t{i}", expected=1, key="k") for i in range(10))
            )
            assert len({o.turn for o in outcomes}) == 1
            assert sum(not o.replayed for o in outcomes) == 1
            assert len(await store.read(ME, CHAT)) == 3

    async def test_run_log_is_read_from_any_place(self) -> None:
        """Rows come back in order, from the one that holds the first wanted number."""
        async with self.open_store(clock=ToldClock()) as store:
            await begin(store)
            turn = TurnId("turn_1")
            await accept(store, "hi", turn=turn, expected=1)
            rows = [RunRow(1, 3, b"[1,2,3]"), RunRow(4, 4, b"[4]"), RunRow(5, 9, b"[5]")]
            await store.append_run(ME, turn, rows[:2])
            await store.append(ME, CHAT, [said("x")], expected=3, run=(turn, rows[2:]))
            for after, kept in ((0, 3), (2, 3), (3, 2), (4, 1), (8, 1), (9, 0), (99, 0)):
                assert await store.read_run(ME, turn, after=after) == rows[3 - kept :]

    async def test_run_rows_do_not_overlap(self) -> None:
        """Rows of another epoch, or that begin within what is there, are refused whole."""
        async with self.open_store(clock=ToldClock()) as store:
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
        async with self.open_store(clock=ToldClock()) as store:
            await begin(store)
            for i in range(4):
                turn = TurnId(f"turn_{i}")
                await accept(store, "hi", turn=turn, expected=1 + 3 * i)
                await store.append_run(ME, turn, [RunRow(1, 1, b"[]")])
                await store.append(ME, CHAT, [closed(turn)], expected=3 + 3 * i)
            left = [len(await store.read_run(ME, TurnId(f"turn_{i}"))) for i in range(4)]
            assert left == [0, 0, 1, 1]
            assert len(await store.read(ME, CHAT)) == 13


class SearchContract(_Contract):
    """Listings and full-text search."""

    async def test_listing_by_newest_change(self) -> None:
        """Conversations come by newest change, with title, count and the newest user message."""
        clock = ToldClock()
        async with self.open_store(clock=clock) as store:
            for name in ("conv_a", "conv_b"):
                clock.advance(1)
                await begin(store, name, said(f"first\n\tof {name}"), title=name.upper())
            clock.advance(1)
            answer = MessageAdded(Message.assistant("answer", id="m2"))
            await store.append(ME, ConversationId("conv_a"), [answer], expected=2)
            newest, older = (await store.list_conversations(ME)).items
            assert (newest.id, older.id) == ("conv_a", "conv_b")
            assert (newest.messages, newest.preview) == (2, "first of conv_a")
            assert newest.metadata.title == "CONV_A"
            assert (newest.created_at, newest.updated_at) == (clock.now() - 2, clock.now())

    async def test_cursors_walk_through_all(self) -> None:
        """Pages of any size show each conversation once, also where times are equal."""
        async with self.open_store(clock=ToldClock()) as store:
            for i in range(7):
                await begin(store, f"conv_{i}")
            for size in (1, 2, 3, 7, 50):
                seen: list[str] = []
                cursor = None
                while True:
                    page = await store.list_conversations(ME, limit=size, cursor=cursor)
                    seen.extend(item.id for item in page.items)
                    if (cursor := page.cursor) is None:
                        break
                assert seen == [f"conv_{i}" for i in reversed(range(7))]

    async def test_foreign_cursors_are_refused(self) -> None:
        """What is no cursor raises InvalidInput, and so does a limit below 1."""
        async with self.open_store(clock=ToldClock()) as store:
            for cursor in ("", "x", "AAAA", "é", "\ud800", "A" * 28, "0" * 500):
                with raises(InvalidInput):
                    await store.list_conversations(ME, cursor=cursor)
            with raises(InvalidInput):
                await store.list_conversations(ME, limit=0)

    async def test_archived_conversations_are_apart(self) -> None:
        """Archiving moves a conversation from one listing to the other, and back."""
        async with self.open_store(clock=ToldClock()) as store:
            await begin(store)
            for i, archived in enumerate((True, False)):
                changed = MetadataChanged(SessionMetadata(archived=archived))
                await store.append(ME, CHAT, [changed], expected=1 + i)
                assert len((await store.list_conversations(ME)).items) == (not archived)
                assert len((await store.list_conversations(ME, archived=True)).items) == archived

    async def test_hits_say_where(self) -> None:
        """A hit names message, role, number, title, and where its snippet matches."""
        async with self.open_store(clock=ToldClock()) as store:
            text = "lorem ipsum " * 40 + "Größe der Straße nach ZÜRICH " + "dolor sit " * 40
            await begin(store, CHAT, said(text, id="m1"), title="Reise")
            (hit,) = await store.search(ME, "grösse zurich")
            assert (hit.conversation, hit.message, hit.role, hit.seq) == (CHAT, "m1", "user", 2)
            assert hit.title == "Reise"
            assert len(hit.snippet) <= 200
            assert [hit.snippet[a:b] for a, b in hit.spans] == ["Größe", "ZÜRICH"]

    async def test_tool_results_are_found(self) -> None:
        """The text of a tool's result is found as part of the tool message."""
        async with self.open_store(clock=ToldClock()) as store:
            await begin(store)
            await accept(store, "hi", turn="turn_1", expected=1)
            call = ToolCall(id="c1", name="look", arguments='{"q": "hidden"}')  # type: ignore[arg-type]
            result = ToolResult(call.id, "look", (Text("a purple elephant"),))
            turn = TurnId("turn_1")
            events = [
                MessageAdded(Message.assistant((call,), id="m2"), turn),
                ToolResolved(turn, result),
            ]
            await store.append(ME, CHAT, events, expected=3)
            (hit,) = await store.search(ME, "elephant")
            assert (hit.message, hit.role, hit.seq) == ("m2.results", "tool", 5)
            assert await store.search(ME, "hidden") == ()

    async def test_what_matches(self) -> None:
        """All words must occur, in any order; the last may be a beginning; runs are substrings."""
        async with self.open_store(clock=ToldClock()) as store:
            texts = ("The quick brown fox", "foo_bar.py: 50% off", "東京都へ行く", "สวัสดีครับ", "Ёлка ﬁne")
            for i, text in enumerate(texts):
                await begin(store, f"conv_{i}", said(text))
            for query, found in (
                ("fox quick", [0]), ("qui", [0]), ("qui fox", []), ("BROWN", [0]), ("fox dog", []),
                ("foo_bar", [1]), ("bar foo", [1]), ("bar_foo", []), ("50%", [1]), ('"off"', [1]),
                ("京都", [2]), ("東京", [2]), ("都", [2]), ("行く", [2]), ("京へ", []),
                ("สวัสดี", [3]), ("ครับ", [3]), ("елка", [4]), ("fine", [4]), ("ﬁne", [4]),
            ):  # fmt: skip
                hits = await store.search(ME, query)
                assert [int(h.conversation[5:]) for h in hits] == found, query

    async def test_any_text_is_a_query(self) -> None:
        """No query breaks anything; without letter or digit it finds nothing."""
        async with self.open_store(clock=ToldClock()) as store:
            await begin(store, CHAT, said("near and or not a b"))
            for query in ("", " ", '"', "*", "🙂", "\x00", "^()-+:{}", "\ud800", "،؟"):
                assert await store.search(ME, query) == ()
            assert await store.search(ME, "NOT") != ()
            chance = random.Random(7)
            pieces = ['"', "*", "a", "NEAR(", ")", "AND", "OR", "NOT", "^", ":", "-", "\x00", "'"]
            pieces += ["é", "京", "京都", "\u0301", "🙂", "\u200d", " ", "terms:", "%", "\\", "a" * 99]
            for _ in range(200):
                query = "".join(chance.choices(pieces, k=chance.randint(1, 8)))
                for hit in await store.search(ME, query):
                    assert all(0 <= a < b <= len(hit.snippet) for a, b in hit.spans)

    async def test_search_in_one_conversation(self) -> None:
        """A search may be kept to one conversation; equal matches come newest first."""
        clock = ToldClock()
        async with self.open_store(clock=clock) as store:
            for name in ("conv_a", "conv_b"):
                await begin(store, name, said("pear tart"), said("pear tart"))
                clock.advance(1)
            everywhere = await store.search(ME, "pear")
            assert [(h.conversation, h.seq) for h in everywhere] == [
                ("conv_b", 3), ("conv_b", 2), ("conv_a", 3), ("conv_a", 2),
            ]  # fmt: skip
            here = await store.search(ME, "pear", conversation=ConversationId("conv_a"))
            assert [h.seq for h in here] == [3, 2]
            assert len(await store.search(ME, "pear", limit=3)) == 3

    async def test_statistics(self) -> None:
        """Conversations and messages are counted."""
        async with self.open_store(clock=ToldClock()) as store:
            await begin(store, CHAT, said("a"), said("b"))
            await begin(store, CHAT, said("c"), scope=STRANGER)
            counted = await store.statistics()
            assert (counted.conversations, counted.messages) == (2, 3)
            assert counted.log_bytes > 0


class StoreContract(LogContract, TurnContract, SearchContract):
    """Everything that any store must keep."""
