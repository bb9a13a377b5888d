import asyncio
import gc

import pytest
from hypothesis import given, strategies as st

from palaver.domain.ids import ConversationId, OwnerId, TurnId
from palaver.domain.stream import StreamEvent, TextDelta, TurnCompleted, TurnInterrupted
from palaver.domain.values import Scope
from palaver.store.base import RunRow, TurnRecord
from palaver.streams.bus import EventBus, Gap, Published
from palaver.streams.follow import StoredSession
from palaver.streams.manager import StreamManager
from palaver.streams.session import ResumeGap, StreamSession
from palaver.testing import ToldClock

TURN, CONVERSATION = TurnId("t"), ConversationId("c")


class Disk:
    """The durable run log of one turn, as a list."""

    def __init__(self) -> None:
        self.rows: list[RunRow] = []

    async def read(self, after: int) -> list[RunRow]:
        return [row for row in self.rows if row.last > after]

    def record(self, *, is_open: bool = True, epoch: int = 0) -> TurnRecord:
        return TurnRecord(TURN, CONVERSATION, OwnerId("o"), is_open, epoch, 0.0, Scope())

    def flush(self, session: StreamSession) -> None:
        rows = session.unwritten()
        self.rows.extend(rows)
        if rows:
            session.written(rows[-1].last)


def session_of(disk: Disk, memory_events: int = 4) -> StreamSession:
    return StreamSession(TURN, CONVERSATION, read_run=disk.read, memory_events=memory_events)


async def read_all(session: StreamSession, after: int = 0) -> list[tuple[int, StreamEvent]]:
    return [(n.number, n.event) async for n in session.numbered(after)]


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=12),
    st.lists(st.booleans(), min_size=12, max_size=12),
    st.integers(0, 40),
)
def test_a_cursor_dropped_anywhere_sees_every_event_once(
    batches: list[int], flushes: list[bool], drop: int
) -> None:
    """Early, late, or taken up again in the middle, with events in memory or on disk only: a reader
    sees each number once, in order."""

    async def scenario() -> None:
        disk = Disk()
        session = session_of(disk)
        seen: list[int] = []

        async def drops_and_comes_back() -> None:
            async for numbered in session.numbered():
                seen.append(numbered.number)
                if numbered.number >= drop:
                    break
            rest = session.numbered(seen[-1] if seen else 0)
            seen.extend([numbered.number async for numbered in rest])

        async with asyncio.TaskGroup() as group:
            group.create_task(drops_and_comes_back())
            early = group.create_task(read_all(session))
            for count, flush in zip(batches, flushes, strict=False):
                session.publish([TextDelta(str(i)) for i in range(count)])
                await asyncio.sleep(0)
                if flush:
                    disk.flush(session)
            session.publish([TurnCompleted(TURN)])
        disk.flush(session)
        total = sum(batches[:12]) + 1
        assert [number for number, _ in early.result()] == list(range(1, total + 1))
        assert seen == list(range(1, total + 1))
        assert await read_all(session) == early.result()

    asyncio.run(scenario())


async def test_memory_is_bounded_when_the_log_is_durable() -> None:
    """A long turn keeps its newest events in memory; a reader from the start gets all."""
    disk = Disk()
    session = session_of(disk, memory_events=100)
    for n in range(1_000):
        session.publish([TextDelta(str(n))])
        disk.flush(session)
    assert len(session._events) <= 125
    session.publish([TurnCompleted(TURN)])
    assert [n for n, _ in await read_all(session)] == list(range(1, 1_002))


async def test_pruned_events_are_said_to_be_gone() -> None:
    """A cursor behind what is kept gets a ResumeGap, never silence."""
    disk = Disk()
    session = session_of(disk, memory_events=4)
    for n in range(40):
        session.publish([TextDelta(str(n))])
        disk.flush(session)
    disk.rows.clear()
    with pytest.raises(ResumeGap):
        await read_all(session)


async def test_nothing_follows_the_terminal_event() -> None:
    """A turn ends once."""
    session = session_of(Disk())
    session.publish([TurnCompleted(TURN)])
    with pytest.raises(RuntimeError):
        session.publish([TextDelta("late")])


async def test_a_turn_of_another_process_is_followed_from_the_log() -> None:
    """Rows are read as they come, to the terminal event."""
    disk, clock = Disk(), ToldClock(auto=True)
    running = session_of(disk)

    async def look() -> TurnRecord:
        running.publish([TurnCompleted(TURN) if running.last == 5 else TextDelta("x")])
        disk.flush(running)
        return disk.record(is_open=not running.is_ended)

    stored = StoredSession(TURN, CONVERSATION, read_run=disk.read, look=look, clock=clock)
    followed = [n.number async for n in stored.numbered(2)]
    assert followed == [3, 4, 5, 6]


async def test_a_slow_ear_is_told_what_it_missed() -> None:
    """The bus drops the oldest events for a slow subscription, and says how many."""
    bus = EventBus()
    heard = bus.subscribe(size=2)
    bus.publish(CONVERSATION, TURN, 1, [TextDelta(str(n)) for n in range(5)])
    heard.close()
    items = [item async for item in heard]
    assert items[0] == Gap(3)
    assert [item.number for item in items if isinstance(item, Published)] == [4, 5]


async def test_an_ear_may_listen_to_one_conversation() -> None:
    """Other conversations are not heard."""
    bus = EventBus()
    heard = bus.subscribe(CONVERSATION)
    bus.publish(ConversationId("other"), TURN, 1, [TextDelta("no")])
    bus.publish(CONVERSATION, TURN, 1, [TextDelta("yes")])
    heard.close()
    assert [i.event async for i in heard if isinstance(i, Published)] == [TextDelta("yes")]


@pytest.mark.parametrize("steps", [0, 1])
async def test_a_turn_that_is_cut_off_has_an_end(steps: int) -> None:
    """Also when its task is cancelled before its first step: no reader waits for ever."""
    streams, session = StreamManager(ToldClock()), session_of(Disk())

    async def drive(session: StreamSession) -> None:
        await asyncio.Event().wait()

    streams.start(session, drive)
    for _ in range(steps):
        await asyncio.sleep(0)
    await streams.aclose(grace_s=0)
    async with asyncio.timeout(60):
        assert await read_all(session) == [(1, TurnInterrupted(TURN))]
    assert not streams.is_running(TURN)


async def ended_turns(streams: StreamManager, number: int, text: str = "") -> list[TurnId]:
    """So many turns that say `text` and end, one after the other, read by nobody."""

    async def drive(session: StreamSession) -> None:
        session.publish([TextDelta(text), TurnCompleted(session.turn)])

    turns = [TurnId(f"turn_{i}") for i in range(number)]
    for turn in turns:
        streams.start(StreamSession(turn, CONVERSATION), drive)
        await streams.settled(turn)
        await asyncio.sleep(0)
    gc.collect()
    return turns


async def test_a_busy_minute_keeps_the_newest_turns() -> None:
    """However many turns end, so many stay in memory for late readers, and no more."""
    streams = StreamManager(ToldClock(), keep=5)
    turns = await ended_turns(streams, 40)
    assert [t for t in turns if streams.find(t) is not None] == turns[-5:]


async def test_long_answers_are_kept_within_bounds() -> None:
    """Few long answers fill the memory for late readers as many short ones do."""
    streams = StreamManager(ToldClock())
    turns = await ended_turns(streams, 9, "x" * (1 << 20))
    assert [t for t in turns if streams.find(t) is not None] == turns[-3:]
    streams.forget(turns[-1])
    more = await ended_turns(streams, 1)
    assert streams.find(more[0]) is not None
    assert streams.find(turns[-2]) is not None


async def test_a_reader_that_is_behind_is_woken_once() -> None:
    """Whatever was shown since its last step comes as one batch."""
    session = session_of(Disk())
    got: list[tuple[int, int]] = []

    async def read() -> None:
        async for first, events, _ in session.batches():
            got.append((first, len(events)))

    reading = asyncio.ensure_future(read())
    await asyncio.sleep(0)
    for _ in range(1_000):
        session.publish([TextDelta("word ")])
    await asyncio.sleep(0)
    assert got == [(1, 1_000)]
    session.publish([TurnInterrupted(TURN)])
    await reading
    assert got == [(1, 1_000), (1_001, 1)]
