"""Forks: conversations that begin with another one's facts."""

from palaver import codec
from palaver.domain.errors import Conflict, InvalidInput, NotFound, StaleWriter
from palaver.domain.events import (
    ConversationForked,
    Event,
    MessageAdded,
    MetadataChanged,
    ToolResolved,
)
from palaver.domain.ids import CallId, ConversationId, TurnId
from palaver.domain.messages import Message, Text, ToolCall, ToolResult
from palaver.domain.snapshot import SNAPSHOT_VERSION, Snapshot
from palaver.domain.values import Scope, SessionMetadata
from palaver.store.base import Appended, ConversationStore
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

FORK = ConversationId("conv_fork")
LATER = ConversationId("conv_later")


async def fork(
    store: ConversationStore,
    at: int,
    *events: Event,
    source: ConversationId = CHAT,
    name: ConversationId = FORK,
    scope: Scope = ME,
) -> Appended:
    """A fork that begins behind number `at`."""
    first = ConversationForked(source, at)
    return await store.fork(scope, source, name, [first, *events], at=at)


async def texts(store: ConversationStore, name: ConversationId) -> list[str]:
    """What was said in a conversation; its numbers must have no gap."""
    records = await store.read(ME, name)
    assert [r.seq for r in records] == list(range(1, len(records) + 1))
    return [r.event.message.text for r in records if isinstance(r.event, MessageAdded)]


class ForkContract(Contract):
    """Forks: conversations that begin with another one's facts."""

    async def test_fork_shares_and_goes_on(self) -> None:
        """A fork reads the shared facts as its own; afterwards neither sees what the other says."""
        clock = HandClock()
        async with self.open_store(clock=clock) as store:
            await begin(store, CHAT, said("a"), said("b"), said("c"))
            clock.time += 10
            appended = await fork(store, 3)
            assert (appended.first, appended.last, appended.at) == (4, 4, clock.now())
            await store.append(ME, FORK, [said("d")], expected=4)
            await store.append(ME, CHAT, [said("e")], expected=4)
            assert await texts(store, FORK) == ["a", "b", "d"]
            assert await texts(store, CHAT) == ["a", "b", "c", "e"]
            shared = await store.read(ME, FORK, until=3)
            assert shared == await store.read(ME, CHAT, until=3)
            with raises(StaleWriter):
                await store.append(ME, FORK, [said("x")], expected=4)

    async def test_fork_of_a_fork(self) -> None:
        """Forks of forks, of their own facts and of those that they share, read the right ones."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store, CHAT, said("a"), said("b"), said("c"))
            names = [CHAT]
            for i in range(12):
                name = ConversationId(f"conv_{i}_fork")
                at = len(await store.read(ME, names[-1]))
                await fork(store, at, said(f"f{i}"), source=names[-1], name=name)
                names.append(name)
            await fork(store, 2, said("x"), source=names[-1], name=LATER)
            assert await texts(store, names[-1]) == ["a", "b", "c", *(f"f{i}" for i in range(12))]
            assert await texts(store, names[6]) == ["a", "b", "c", *(f"f{i}" for i in range(6))]
            assert await texts(store, LATER) == ["a", "x"]

    async def test_reading_a_part_of_a_fork(self) -> None:
        """`after`, `until`, `kinds` and `limit` narrow a reading across the place of the fork."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store, CHAT, said("a"), said("b"), said("c"))
            await fork(store, 3, said("d"), said("e"))

            async def numbers(**narrow: object) -> list[int]:
                return [r.seq for r in await store.read(ME, FORK, **narrow)]  # type: ignore[arg-type]

            assert await numbers(after=1, until=5) == [2, 3, 4, 5]
            assert await numbers(kinds=("message.added",)) == [2, 3, 5, 6]
            assert await numbers(kinds=("message.added",), limit=3) == [2, 3, 5]
            assert await numbers(limit=2) == [1, 2]
            assert await numbers(after=4) == [5, 6]
            assert await numbers(until=2) == [1, 2]
            assert await numbers(after=6) == await numbers(limit=0) == []

    async def test_listing_shows_what_a_fork_begins_with(self) -> None:
        """Count, preview and metadata of a fork are those of the place where it begins, however
        far back that is, and its own from then on."""
        clock = HandClock()
        async with self.open_store(clock=clock) as store:
            await begin(store, CHAT, title="old")
            for i in range(6):  # appended in large and in small pieces
                facts = [said(f"m{i} {j}") for j in range(100)]
                answer = MessageAdded(Message.assistant("answer", id=f"a{i}"))
                await store.append(ME, CHAT, [*facts, answer], expected=1 + 101 * i)
            changed = MetadataChanged(SessionMetadata(title="new", archived=True))
            await store.append(ME, CHAT, [changed], expected=607)
            for at, count, preview, title in (
                (1, 0, "", "old"), (2, 1, "m0 0", "old"), (102, 101, "m0 99", "old"),
                (305, 304, "m3 0", "old"), (607, 606, "m5 99", "old"), (608, 606, "m5 99", "new"),
            ):  # fmt: skip
                clock.time += 1
                name = ConversationId(f"conv_at_{at}")
                await fork(store, at, name=name)
                lists = [
                    *(await store.list_conversations(ME, limit=1)).items,
                    *(await store.list_conversations(ME, limit=1, archived=True)).items,
                ]
                line = next(line for line in lists if line.id == name)
                assert (line.messages, line.preview) == (count, preview)
                assert (line.metadata.title, line.metadata.archived) == (title, title == "new")
                assert line.created_at == line.updated_at == clock.now()
                await fork(store, at, source=name, name=ConversationId(f"conv_again_{at}"))
            clock.time += 1
            await store.append(ME, ConversationId("conv_at_102"), [said("own")], expected=103)
            line = (await store.list_conversations(ME, limit=1)).items[0]
            assert (line.messages, line.preview) == (102, "own")

    async def test_snapshots_of_a_fork(self) -> None:
        """A fork begins with its origin's newest snapshot up to its beginning, whatever the origin
        does later, and then has its own."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            early, late, later = (Snapshot(n, SNAPSHOT_VERSION, b"%d" % n) for n in (1000, 1100, 9))
            facts = [said(str(i)) for i in range(999)]
            await store.append(ME, CHAT, facts, expected=1, snapshot=early)
            await store.append(ME, CHAT, facts[:100], expected=1000, snapshot=late)
            await fork(store, 1050)
            await fork(store, 1100, name=LATER)
            assert await store.snapshot(ME, CHAT) == late
            assert await store.snapshot(ME, FORK) == early
            assert await store.snapshot(ME, LATER) == late
            assert await store.snapshot(ME, LATER, until=1050) == early
            assert await store.snapshot(ME, CHAT, until=999) is None
            later = Snapshot(1052, SNAPSHOT_VERSION, b"own")
            await store.append(ME, FORK, [said("x")], expected=1051, snapshot=later)
            assert await store.snapshot(ME, FORK) == later
            assert await store.snapshot(ME, FORK, until=1051) == early
            assert await store.snapshot(ME, CHAT) == late

    async def test_search_in_a_fork(self) -> None:
        """A search in a fork finds shared messages under its name; one everywhere finds them once,
        under the conversation where they were said."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store, CHAT, said("walrus one"), said("walrus two"), title="origin")
            retitled = MetadataChanged(SessionMetadata(title="fork"))
            await fork(store, 2, retitled, said("walrus three"))
            here = await store.search(ME, "walrus", conversation=FORK)
            assert sorted((h.conversation, h.seq, h.title) for h in here) == [
                (FORK, 2, "fork"), (FORK, 5, "fork"),
            ]  # fmt: skip
            there = await store.search(ME, "walrus", conversation=CHAT)
            assert sorted(h.seq for h in there) == [2, 3]
            everywhere = await store.search(ME, "walrus")
            assert sorted((h.conversation, h.seq, h.title) for h in everywhere) == [
                (CHAT, 2, "origin"), (CHAT, 3, "origin"), (FORK, 5, "fork"),
            ]  # fmt: skip

    async def test_result_behind_the_fork_names_its_message(self) -> None:
        """A tool's result that is the fork's own belongs to the shared message with the call."""
        async with self.open_store(clock=HandClock()) as store:
            call = ToolCall(CallId("c1"), "look")
            await begin(store, CHAT, said("hi"), MessageAdded(Message.assistant((call,), id="m2")))
            result = ToolResult(call.id, "look", (Text("a purple elephant"),))
            await fork(store, 3, ToolResolved(TurnId("t"), result))
            for where in (None, FORK):
                (hit,) = await store.search(ME, "elephant", conversation=where)
                assert (hit.conversation, hit.message, hit.seq) == (FORK, "m2.results", 5)

    async def test_turns_are_not_shared(self) -> None:
        """A fork accepts messages as any conversation; its turns and keys are its own."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            await accept(store, "hi", turn="turn_1", expected=1, key="k")
            await fork(store, 3, closed(TurnId("turn_1")))
            assert (await store.turn(ME, TurnId("turn_1"))).open
            message = Message.user("other", id="m")
            turn = TurnId("turn_2")
            done = await store.accept(ME, FORK, message, turn=turn, expected=5, idempotency_key="k")
            assert (done.replayed, done.turn) == (False, turn)
            assert (await store.turn(ME, turn)).conversation == FORK
            await store.append(ME, FORK, [closed(turn)], expected=7)
            assert not (await store.turn(ME, turn)).open

    async def test_refused_forks_leave_nothing(self) -> None:
        """A number that is not there, a used name, an unknown or foreign source are refused."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store, CHAT, said("a"))
            await begin(store, LATER)
            for at in (-1, 0, 3, 1 << 40):
                with raises(InvalidInput):
                    await fork(store, at)
            with raises(InvalidInput):
                await store.fork(ME, CHAT, FORK, [], at=1)
            with raises(InvalidInput):
                await fork(store, 1, said("half \ud800"))
            with raises(InvalidInput):
                await fork(store, 1, name=ConversationId("no id"))
            for taken in (LATER, CHAT):
                with raises(Conflict):
                    await fork(store, 1, name=taken)
            for scope, source in ((STRANGER, CHAT), (ME, ConversationId("conv_none"))):
                with raises(NotFound):
                    await fork(store, 1, source=source, scope=scope)
            with raises(NotFound):
                await store.read(ME, FORK)
            assert len((await store.list_conversations(ME)).items) == 2

    async def test_deleting_a_fork(self) -> None:
        """Deleting a fork takes nothing from its origin nor from its siblings."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store, CHAT, said("walrus"), said("b"))
            await fork(store, 3, said("own walrus"))
            await fork(store, 2, name=LATER)
            await store.delete(ME, FORK)
            assert await texts(store, CHAT) == ["walrus", "b"]
            assert await texts(store, LATER) == ["walrus"]
            assert [h.conversation for h in await store.search(ME, "walrus")] == [CHAT]
            await fork(store, 3)
            assert await texts(store, FORK) == ["walrus", "b"]

    async def test_deleting_an_origin(self) -> None:
        """Forks and forks of forks live on when their origin goes, and so does their search; what
        none of them shares is gone."""
        async with self.open_store(clock=HandClock()) as store:
            facts = [said(f"walrus {word}") for word in ("a", "b", "c", "d")]
            kept = Snapshot(3, SNAPSHOT_VERSION, b"{}")
            await begin(store, CHAT, title="T")
            await store.append(ME, CHAT, facts[:2], expected=1, snapshot=kept)
            await store.append(ME, CHAT, facts[2:], expected=3)
            await accept(store, "hi", turn="turn_1", expected=5)
            await fork(store, 2, said("e"))
            await fork(store, 4, said("f"), name=LATER)
            grandchild = ConversationId("conv_grandchild")
            await fork(store, 6, said("g"), source=LATER, name=grandchild)
            before = [await store.read(ME, n) for n in (FORK, LATER, grandchild)]
            await store.delete(ME, CHAT)
            assert [await store.read(ME, n) for n in (FORK, LATER, grandchild)] == before
            with raises(NotFound):
                await store.turn(ME, TurnId("turn_1"))
            assert len(await store.search(ME, "walrus", conversation=grandchild)) == 3
            everywhere = await store.search(ME, "walrus")
            assert {(h.conversation, h.seq) for h in everywhere} == {(LATER, n) for n in (2, 3, 4)}
            assert await store.snapshot(ME, LATER) == await store.snapshot(ME, grandchild) == kept
            assert await store.snapshot(ME, FORK) is None
            await store.delete(ME, LATER)
            assert [await store.read(ME, n) for n in (FORK, grandchild)] == before[::2]
            await fork(store, 3, source=grandchild, name=CHAT)
            assert await texts(store, CHAT) == ["walrus a", "walrus b"]
            line = (await store.list_conversations(ME, limit=1)).items[0]
            assert (line.id, line.messages, line.preview) == (CHAT, 2, "walrus b")
            for name in (FORK, grandchild, CHAT):
                await store.delete(ME, name)
            assert await store.search(ME, "walrus") == ()
            statistics = await store.statistics()
            assert (statistics.conversations, statistics.messages) == (0, 0)

    async def test_blobs_that_facts_name(self) -> None:
        """Every blob named by a fact of this tenant is listed, shared and own; no other."""
        one, two, three = (f"sha256:{digit * 64}" for digit in "1a3")
        async with self.open_store(clock=HandClock()) as store:
            await begin(store, CHAT, said(f"see {one}"), said("nothing"))
            await begin(store, CHAT, said(f"see {three}"), scope=STRANGER)
            await fork(store, 3, said(f"and {two} and {one}"))
            assert await store.blob_references(ME) == {one, two}
            assert await store.blob_references(STRANGER) == {three}
            assert await store.blob_references(Scope("nobody", "x")) == frozenset()
            await store.delete(ME, CHAT)
            assert await store.blob_references(ME) == {one, two}
            await store.delete(ME, FORK)
            assert await store.blob_references(ME) == frozenset()

    async def test_new_facts_are_kept(self) -> None:
        """What a fork begins with is a fact like any other."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            await fork(store, 1)
            (record,) = await store.read(ME, FORK, kinds=["conversation.forked"])
            assert record.event == ConversationForked(CHAT, 1)
            assert codec.kind(record.event) == "conversation.forked"
