"""Listings and full-text search."""

import random

from palaver.domain.errors import (
    InvalidInput,
)
from palaver.domain.events import (
    Event,
    MessageAdded,
    MetadataChanged,
    ToolResolved,
    TurnClosed,
)
from palaver.domain.ids import ConversationId, TurnId
from palaver.domain.messages import Message, Text, ToolCall, ToolResult
from palaver.domain.values import SessionMetadata, TurnOutcome
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


class ListingContract(Contract):
    """Listings and full-text search."""

    async def test_listing_by_newest_change(self) -> None:
        """Conversations come by newest change, with title, count and the newest user message."""
        clock = HandClock()
        async with self.open_store(clock=clock) as store:
            for name in ("conv_a", "conv_b"):
                clock.time += 1
                await begin(store, name, said(f"first\n\tof {name}"), title=name.upper())
            clock.time += 1
            answer = MessageAdded(Message.assistant("answer", id="m2"))
            await store.append(ME, ConversationId("conv_a"), [answer], expected=2)
            newest, older = (await store.list_conversations(ME)).items
            assert (newest.id, older.id) == ("conv_a", "conv_b")
            assert (newest.messages, newest.preview) == (2, "first of conv_a")
            assert newest.metadata.title == "CONV_A"
            assert (newest.created_at, newest.updated_at) == (clock.now() - 2, clock.now())

    async def test_an_open_turn_is_marked(self) -> None:
        """A listing says where a turn is open, until it is closed."""
        async with self.open_store(clock=HandClock()) as store:
            for name in (CHAT, "conv_b"):
                await begin(store, name)
            await accept(store, "hi", turn="turn_1", expected=1)
            marks = {i.id: i.is_open for i in (await store.list_conversations(ME)).items}
            assert marks == {CHAT: True, "conv_b": False}
            closed = TurnClosed(TurnId("turn_1"), TurnOutcome.COMPLETED)
            await store.append(ME, CHAT, [closed], expected=3)
            assert not any(i.is_open for i in (await store.list_conversations(ME)).items)

    async def test_cursors_walk_through_all(self) -> None:
        """Pages of any size show each conversation once, also where times are equal."""
        async with self.open_store(clock=HandClock()) as store:
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
        async with self.open_store(clock=HandClock()) as store:
            for cursor in ("", "x", "AAAA", "é", "\ud800", "A" * 28, "0" * 500):
                with raises(InvalidInput):
                    await store.list_conversations(ME, cursor=cursor)
            with raises(InvalidInput):
                await store.list_conversations(ME, limit=0)

    async def test_archived_conversations_are_apart(self) -> None:
        """Archiving moves a conversation from one listing to the other, and back."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            for i, archived in enumerate((True, False)):
                changed = MetadataChanged(SessionMetadata(archived=archived))
                await store.append(ME, CHAT, [changed], expected=1 + i)
                assert len((await store.list_conversations(ME)).items) == (not archived)
                assert len((await store.list_conversations(ME, archived=True)).items) == archived

    async def test_hits_say_where(self) -> None:
        """A hit names message, role, number, title, and where its snippet matches."""
        async with self.open_store(clock=HandClock()) as store:
            text = "lorem ipsum " * 40 + "Größe der Straße nach ZÜRICH " + "dolor sit " * 40
            await begin(store, CHAT, said(text, id="m1"), title="Reise")
            (hit,) = await store.search(ME, "grösse zurich")
            assert (hit.conversation, hit.message, hit.role, hit.seq) == (CHAT, "m1", "user", 2)
            assert hit.title == "Reise"
            assert len(hit.snippet) <= 200
            assert [hit.snippet[a:b] for a, b in hit.spans] == ["Größe", "ZÜRICH"]

    async def test_tool_results_are_found(self) -> None:
        """The text of a tool's result is found as part of the tool message."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store)
            await accept(store, "hi", turn="turn_1", expected=1)
            call = ToolCall(id="c1", name="look", arguments='{"q": "hidden"}')  # type: ignore[arg-type]
            result = ToolResult(call.id, "look", (Text("a purple elephant"),))
            turn = TurnId("turn_1")
            events: list[Event] = [
                MessageAdded(Message.assistant((call,), id="m2"), turn),
                ToolResolved(turn, result),
            ]
            await store.append(ME, CHAT, events, expected=3)
            (hit,) = await store.search(ME, "elephant")
            assert (hit.message, hit.role, hit.seq) == ("m2.results", "tool", 5)
            assert await store.search(ME, "hidden") == ()

    async def test_what_matches(self) -> None:
        """All words must occur, in any order; the last may be a beginning; runs are substrings."""
        async with self.open_store(clock=HandClock()) as store:
            texts = (
                "The quick brown fox",
                "foo_bar.py: 50% off",
                "東京都へ行く",
                "สวัสดีครับ",
                "Ёлка ﬁne",
            )
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
        async with self.open_store(clock=HandClock()) as store:
            await begin(store, CHAT, said("near and or not a b"))
            for query in ("", " ", '"', "*", "🙂", "\x00", "^()-+:{}", "\ud800", "،؟"):
                assert await store.search(ME, query) == ()
            assert await store.search(ME, "NOT") != ()
            chance = random.Random(7)
            pieces = ['"', "*", "a", "NEAR(", ")", "AND", "OR", "NOT", "^", ":", "-", "\x00", "'"]
            pieces += [
                "é",
                "京",
                "京都",
                "\u0301",
                "🙂",
                "\u200d",
                " ",
                "terms:",
                "%",
                "\\",
                "a" * 99,
            ]
            for _ in range(200):
                query = "".join(chance.choices(pieces, k=chance.randint(1, 8)))
                for hit in await store.search(ME, query):
                    assert all(0 <= a < b <= len(hit.snippet) for a, b in hit.spans)

    async def test_search_in_one_conversation(self) -> None:
        """A search may be kept to one conversation; equal matches come newest first."""
        clock = HandClock()
        async with self.open_store(clock=clock) as store:
            for name in ("conv_a", "conv_b"):
                await begin(store, name, said("pear tart"), said("pear tart"))
                clock.time += 1
            everywhere = await store.search(ME, "pear")
            assert [(h.conversation, h.seq) for h in everywhere] == [
                ("conv_b", 3), ("conv_b", 2), ("conv_a", 3), ("conv_a", 2),
            ]  # fmt: skip
            here = await store.search(ME, "pear", conversation=ConversationId("conv_a"))
            assert [h.seq for h in here] == [3, 2]
            assert len(await store.search(ME, "pear", limit=3)) == 3

    async def test_statistics(self) -> None:
        """Conversations and messages are counted."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store, CHAT, said("a"), said("b"))
            await begin(store, CHAT, said("c"), scope=STRANGER)
            counted = await store.statistics()
            assert (counted.conversations, counted.messages) == (2, 3)
            assert counted.log_bytes > 0
