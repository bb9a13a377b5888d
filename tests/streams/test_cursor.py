"""Readers keep their place also where a turn changes hands before all that was shown is durable."""

import asyncio

import pytest
from hypothesis import given, settings, strategies as st

from palaver.domain.errors import InvalidInput
from palaver.domain.ids import ConversationId, OwnerId, TurnId
from palaver.domain.stream import StreamEvent, TextDelta, TurnCompleted
from palaver.domain.values import Scope
from palaver.store.base import RunRow, TurnRecord
from palaver.streams.cursor import Cursor
from palaver.streams.follow import StoredSession
from palaver.streams.session import Numbered, ResumeGap, StreamSession
from palaver.testing import ToldClock

TURN, CONVERSATION = TurnId("t"), ConversationId("c")


class Turn:
    """One turn with its durable run log, and a session for each process that had it."""

    def __init__(self) -> None:
        self.rows: list[RunRow] = []
        self.is_open = True
        self.clock = ToldClock(auto=True)
        self.sessions = [self.session(0)]

    def session(self, epoch: int) -> StreamSession:
        start = self.rows[-1].last if self.rows else 0
        return StreamSession(
            TURN, CONVERSATION, read_run=self.read, epoch=epoch, start=start, memory_events=4
        )

    def stored(self) -> StoredSession:
        return StoredSession(
            TURN, CONVERSATION, read_run=self.read, look=self.look, clock=self.clock
        )

    async def read(self, after: int) -> list[RunRow]:
        return [row for row in self.rows if row.last > after]

    async def look(self) -> TurnRecord:
        await asyncio.sleep(0)
        epoch = self.sessions[-1].epoch
        return TurnRecord(TURN, CONVERSATION, OwnerId("o"), self.is_open, epoch, 0.0, Scope())

    def say(self, number: int) -> None:
        now = self.sessions[-1]
        now.publish([TextDelta(f"{now.epoch}/{now.last + 1 + i}") for i in range(number)])

    def flush(self) -> None:
        rows = self.sessions[-1].unwritten()
        self.rows.extend(rows)
        if rows:
            self.sessions[-1].written(rows[-1].last)

    def take(self, *, told: bool = True) -> None:
        """Another process has the turn; the one before it is told."""
        self.sessions.append(self.session(self.sessions[-1].epoch + 1))
        if told:
            self.tell()

    def tell(self) -> None:
        for before in self.sessions[:-1]:
            before.hand_over(self.stored())

    def end(self) -> None:
        self.sessions[-1].publish([TurnCompleted(TURN)])
        self.flush()
        self.is_open = False


class Reader:
    """A client by the rule: an event with a known number and a higher epoch replaces everything
    from that number on."""

    def __init__(self) -> None:
        self.seen: list[Numbered] = []

    def take(self, numbered: Numbered) -> None:
        known = self.seen[numbered.number - 1 :]
        assert numbered.number <= len(self.seen) + 1, "an event is missing"
        assert all(old.epoch < numbered.epoch for old in known), "an event came twice"
        self.seen[numbered.number - 1 :] = [numbered]

    @property
    def cursor(self) -> str:
        return self.seen[-1].cursor if self.seen else "0"

    async def read(self, session: StreamSession, *, most: int = 1_000_000) -> None:
        async for numbered in session.numbered(self.cursor):
            self.take(numbered)
            most -= 1
            if not most:
                return

    def events(self) -> list[StreamEvent]:
        return [numbered.event for numbered in self.seen]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(1, 6)),
        st.tuples(st.just("flush"), st.just(0)),
        st.tuples(st.just("take"), st.booleans()),
        st.tuples(st.just("read"), st.integers(1, 8)),
        st.tuples(st.just("look"), st.integers(1, 8)),
    ),
    max_size=30,
)


@settings(max_examples=300)
@given(STEPS, st.booleans())
def test_readers_of_a_turn_that_changes_hands_see_what_stands(
    steps: list[tuple[str, int]], is_last_read_here: bool
) -> None:
    """Whatever was shown and lost, and wherever a reader comes back, by its cursor it has exactly
    the events that stand, and none of them came twice."""

    async def scenario() -> None:
        turn, drops, stays = Turn(), Reader(), Reader()
        staying = asyncio.ensure_future(stays.read(turn.sessions[0]))
        for step, amount in steps:
            match step:
                case "say":
                    turn.say(amount)
                case "flush":
                    turn.flush()
                case "take":
                    turn.take(told=bool(amount))
                case _:
                    session = turn.sessions[-1] if step == "read" else turn.stored()
                    reading = asyncio.ensure_future(drops.read(session, most=amount))
                    for _ in range(12):
                        await asyncio.sleep(0)
                    reading.cancel()
                    await asyncio.wait([reading])
                    if not reading.cancelled():
                        reading.result()
            await asyncio.sleep(0)
        turn.tell()
        turn.end()
        await drops.read(turn.sessions[-1] if is_last_read_here else turn.stored())
        await staying
        whole = Reader()
        await whole.read(turn.stored())
        assert drops.events() == stays.events() == whole.events()
        assert [n.number for n in whole.seen] == list(range(1, len(whole.seen) + 1))

    asyncio.run(scenario())


async def taken_over() -> Turn:
    """Four events are durable, three more were seen; then the process died."""
    turn = Turn()
    turn.say(4)
    turn.flush()
    turn.say(3)
    turn.take()
    return turn


@pytest.mark.parametrize("is_here", [True, False])
async def test_what_was_seen_and_lost_is_replaced(is_here: bool) -> None:
    """A reader of seven events gets the fifth again, under the next epoch, wherever it comes."""
    turn = await taken_over()
    turn.say(5)
    turn.end()
    session = turn.sessions[-1] if is_here else turn.stored()
    got = [n async for n in session.numbered("0:7")]
    assert [(n.epoch, n.number) for n in got] == [(1, n) for n in range(5, 11)]
    assert [n.number async for n in session.numbered("0:3")] == list(range(4, 11))
    assert [n.number async for n in session.numbered(Cursor(7, 1))] == [8, 9, 10]
    assert [n.number async for n in session.numbered(7)] == [8, 9, 10]
    assert [n.number async for n in session.numbered("7")] == [8, 9, 10]


@pytest.mark.parametrize("is_here", [True, False])
async def test_a_place_beyond_the_newest_event_waits(is_here: bool) -> None:
    """In a turn that runs, what follows the place comes; where it is taken over first, what
    replaces what was seen."""
    turn = Turn()
    turn.say(2)
    turn.flush()
    session = turn.sessions[0] if is_here else turn.stored()
    reader = asyncio.ensure_future(anext(session.numbered("0:4")))
    other = asyncio.ensure_future(anext(session.numbered("0:9")))
    await asyncio.sleep(0)
    turn.say(3)
    turn.flush()
    assert (await reader).cursor == "0:5"
    turn.take()
    turn.say(1)
    turn.flush()
    assert (await other).cursor == "1:6"


@pytest.mark.parametrize("is_here", [True, False])
@pytest.mark.parametrize("place", ["1:2", "0:4", "4"])
async def test_a_place_that_was_never_reached_is_a_gap(is_here: bool, place: str) -> None:
    """A higher epoch, or a number behind the terminal event: the data was put back to an older
    copy, perhaps. The reader is told to read anew, and is not left without an end."""
    turn = Turn()
    turn.say(2)
    turn.end()
    session = turn.sessions[0] if is_here else turn.stored()
    with pytest.raises(ResumeGap):
        _ = [n async for n in session.numbered(place)]
    assert [n async for n in session.numbered("0:3")] == []


@pytest.mark.parametrize(
    "place",
    ["x", "", "1:", ":1", "1:2:3", "-1", -1, "1.5", " 1", "9" * 20, True, "0:\u0661", None],
    ids=repr,
)
async def test_nonsense_is_refused(place: object) -> None:
    """It is said what a place looks like."""
    with pytest.raises(InvalidInput, match="no place in a turn"):
        _ = [n async for n in Turn().sessions[0].numbered(place)]  # type: ignore[arg-type]


def test_a_cursor_is_its_text() -> None:
    """What was written is read as the same place."""
    for place in (Cursor(7, 2), Cursor(7)):
        assert Cursor.of(str(place)) == place
    assert Numbered(7, TurnCompleted(TURN), 2).cursor == str(Cursor(7, 2))
