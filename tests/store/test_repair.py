"""Repair: whatever pages are damaged, what is kept is a beginning of what was there."""

import random
import sys
from collections.abc import Sequence
from pathlib import Path

import apsw
import pytest

from palaver.domain.errors import StoreBusy, StoreCorrupt
from palaver.domain.events import ConversationForked, Event, MetadataChanged, TurnClosed
from palaver.domain.ids import ConversationId, MessageId, TurnId
from palaver.domain.messages import Message, Role, Text
from palaver.domain.reducer import fold
from palaver.domain.state import ConversationState
from palaver.domain.values import SessionMetadata, TurnOutcome
from palaver.store.base import RunRow
from palaver.store.repair import RepairReport, repair
from palaver.store.sqlite import SqliteStore
from palaver.testing.store_contract.base import CHAT, ME, begin, said

PAGE = 4096
Logs = dict[ConversationId, list[Event]]


async def filled(path: Path, *, closed: bool = True) -> Logs:
    """A database of some conversations, long messages, a fork and an open turn."""
    store = await SqliteStore.open(path)
    chance = random.Random(1)
    for number in range(6):
        conversation = ConversationId(f"conv_{number:010}")
        await begin(store, conversation)
        for step in range(0, 60, 3):
            text = " ".join(f"word{chance.randrange(99)}" for _ in range(chance.randrange(1, 400)))
            facts: Sequence[Event] = [said(f"{step} {text}"), said("two"), said("three")]
            await store.append(ME, conversation, facts, expected=step + 1)
    named = MetadataChanged(SessionMetadata("A name", archived=True))
    await store.append(ME, ConversationId("conv_0000000001"), [named], expected=61)
    fork = ConversationId("conv_fork000001")
    origin = ConversationId("conv_0000000002")
    forked: list[Event] = [ConversationForked(origin, 40), said("else")]
    await store.fork(ME, origin, fork, forked, at=40)
    message = Message(Role.USER, (Text("open"),), MessageId("msg_open"))
    turn = TurnId("turn_open")
    accepted = ConversationId("conv_0000000003")
    await store.accept(ME, accepted, message, turn=turn, expected=61, idempotency_key="k")
    await store.append_run(ME, turn, [RunRow(1, 2, b"[]"), RunRow(3, 3, b"[]")])
    logs = await read(store)
    if closed:
        await store.close()
    return logs


async def read(store: SqliteStore) -> Logs:
    """Every log as it is."""
    found: Logs = {}
    for archived in (False, True):
        page = await store.list_conversations(ME, archived=archived, limit=100)
        for item in page.items:
            records = await store.read(ME, item.id)
            fold(ConversationState(item.id), records)
            found[item.id] = [r.event for r in records]  # type: ignore[misc]
    return found


async def opened(path: Path) -> tuple[Logs, int]:
    """What is in the file, and how many messages a search finds; the file is in order."""
    connection = apsw.Connection(str(path))
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    store = await SqliteStore.open(path)
    try:
        return await read(store), len(await store.search(ME, "two", limit=1000))
    finally:
        await store.close()


async def test_a_sound_database_stays_as_it_is(tmp_path: Path) -> None:
    """Facts, forks, open turns with their run logs and keys, listing and search."""
    path = tmp_path / "chat.db"
    before = await filled(path)
    report = repair(path)
    assert report.is_complete
    assert (report.whole, report.open_turns, report.lost) == (7, 1, ())
    after, hits = await opened(path)
    assert after == before
    assert hits == 120
    store = await SqliteStore.open(path)
    (orphan,) = await store.adopt_orphans()
    assert [(r.first, r.last) for r in await store.read_run(ME, orphan.id)] == [(1, 2), (3, 3)]
    closed = TurnClosed(orphan.id, TurnOutcome.INTERRUPTED)
    await store.append(ME, orphan.conversation, [closed], expected=63)
    message = Message(Role.USER, (Text("open"),), MessageId("msg_again"))
    turn = TurnId("turn_again")
    again = await store.accept(
        ME, orphan.conversation, message, turn=turn, expected=64, idempotency_key="k"
    )
    assert again.replayed
    fork = ConversationId("conv_fork000001")
    assert (await store.sharing(ME, fork, 3)) == (ConversationId("conv_0000000002"),)
    await store.close()


async def test_what_is_only_in_the_write_ahead_log_is_kept(tmp_path: Path) -> None:
    """A file as a killed process leaves it."""
    path, left = tmp_path / "chat.db", tmp_path / "left.db"
    store = await SqliteStore.open(path)
    await begin(store)
    await store.append(ME, CHAT, [said("hello")], expected=1)
    for side in ("", "-wal"):
        left.with_name(left.name + side).write_bytes(path.with_name(path.name + side).read_bytes())
    await store.close()
    report = repair(left)
    assert report.is_complete
    assert [copy.read_bytes() != b"" for copy in report.kept] == [True, True]


@pytest.mark.parametrize("rounds", [25, pytest.param(400, marks=pytest.mark.long)])
async def test_random_damage(tmp_path: Path, rounds: int) -> None:
    """Every conversation that is kept is a beginning of one that was there; the report says of each
    that is not whole how much is missing; and what was not damaged is all there."""
    source = tmp_path / "source.db"
    before = await filled(source)
    whole = source.read_bytes()
    for seed in range(rounds):
        chance = random.Random(seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        path = folder / "chat.db"
        path.write_bytes(damaged(whole, chance))
        try:
            report = repair(path)
        except StoreCorrupt:
            assert path.read_bytes() != b""
            continue
        after, _ = await opened(path)
        check(before, after, report)


def damaged(whole: bytes, chance: random.Random) -> bytes:
    """Some pages are other bytes, zeros, or another page; now and then the end is missing."""
    data = bytearray(whole)
    pages = len(data) // PAGE
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        at = chance.randrange(pages) * PAGE
        other = chance.randrange(pages) * PAGE
        junk = chance.choice(
            (chance.randbytes(PAGE), bytes(PAGE), bytes(data[other : other + PAGE]))
        )
        length = chance.choice((16, PAGE))
        data[at : at + length] = junk[:length]
    if chance.random() < 0.2:
        del data[chance.randrange(PAGE, len(data)) :]
    return bytes(data)


def check(before: Logs, after: Logs, report: RepairReport) -> None:
    short = {each.id: each for each in report.shortened}
    for conversation, events in after.items():
        known = before.get(conversation)
        candidates = [known] if known is not None else list(before.values())
        assert any(events == log[: len(events)] for log in candidates)
        if known is not None and len(events) < len(known):
            assert short[conversation].kept == len(events)
            assert short[conversation].lost in (None, len(known) - len(events))
        if known is None:
            assert short[conversation].is_renamed
    gone = before.keys() - after.keys()
    renamed = [each for each in report.shortened if each.is_renamed]
    assert len(gone) <= len(report.lost) + len(renamed) + (report.bad_pages > 0) * len(before)


async def test_a_file_in_use_is_not_touched(tmp_path: Path) -> None:
    """Repairing waits until every process has closed it."""
    path = tmp_path / "chat.db"
    store = await SqliteStore.open(path)
    await begin(store)
    with pytest.raises(StoreBusy):
        repair(path)
    assert [p.name for p in tmp_path.iterdir() if "damaged" in p.name] == []
    await store.close()
    assert repair(path).is_complete


def test_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    """Nothing can be saved of it, and it keeps its bytes."""
    path = tmp_path / "chat.db"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreCorrupt, match="nothing can be saved"):
        repair(path)
    assert path.read_bytes() == b"no database" * 1000


@pytest.mark.skipif(sys.platform == "win32", reason="open files are copied")
async def test_a_power_cut_leaves_a_beginning(tmp_path: Path) -> None:
    """However much of the write-ahead log reached the disk, the file opens and holds the first
    so-many facts; all of it, if the log did."""
    path = tmp_path / "chat.db"
    store = await SqliteStore.open(path)
    await begin(store)
    for number in range(40):
        facts = [said(f"message {number}" * 30)]
        await store.append(ME, CHAT, facts, expected=number + 1)
    main, wal = path.read_bytes(), path.with_name("chat.db-wal").read_bytes()
    every = await store.read(ME, CHAT)
    await store.close()
    chance = random.Random(3)
    kept: list[int] = []
    for number, cut in enumerate((*sorted(chance.sample(range(len(wal)), 15)), len(wal))):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "chat.db").write_bytes(main)
        (folder / "chat.db-wal").write_bytes(wal[:cut])
        store = await SqliteStore.open(folder / "chat.db")
        page = await store.list_conversations(ME)
        found = await store.read(ME, page.items[0].id) if page.items else []
        await store.close()
        assert found == every[: len(found)]
        kept.append(len(found))
    assert kept == sorted(kept)
    assert kept[-1] == len(every)
