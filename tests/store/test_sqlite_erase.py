"""What is erased is gone from the file, not only from what the store shows."""

from pathlib import Path

import apsw
import pytest

from palaver.domain.events import ConversationForked, Event, MessageAdded, MessageRedacted
from palaver.domain.ids import ConversationId, MessageId, TurnId
from palaver.domain.messages import Message
from palaver.domain.redaction import redacted
from palaver.domain.snapshot import SNAPSHOT_VERSION, Snapshot
from palaver.store import sqlite_erase as erase, sqlite_writes as writes
from palaver.store.base import RunRow
from palaver.store.sqlite import SqliteStore
from palaver.testing.store_contract.base import CHAT, ME, accept, begin, closed, said

SECRET = "qwzxsecret"
"""Begins as no other word does, so the index, which cuts common beginnings, holds it as it is."""
BYTES = SECRET.encode()
FORK = ConversationId("conv_fork")
TURN = TurnId("turn_1")
ERASED = MessageAdded(redacted(Message.user("", id="msg_turn_1")), TURN)


def left(path: Path) -> list[str]:
    """The files in which the secret can be read, however they are called."""
    return [p.name for p in path.parent.iterdir() if p.is_file() and BYTES in p.read_bytes()]


def words(path: Path) -> set[str]:
    """Every word that the search index knows."""
    connection = apsw.Connection(str(path))
    connection.execute("CREATE VIRTUAL TABLE temp.word USING fts5vocab (main, search, row)")
    found = {str(word) for (word,) in connection.execute("SELECT term FROM temp.word")}
    connection.close()
    return found


async def told(path: Path, *, long: bool) -> SqliteStore:
    """A store with the secret everywhere: message, preview, index, snapshot, run log, fork."""
    store = await SqliteStore.open(path)
    others = [said(f"word{i} other{i % 7} " * 20) for i in range(300)]
    await begin(store, "conv_before", *others)
    await begin(store)
    text = f"the {SECRET} " * (2000 if long else 1)
    await accept(store, text, turn="turn_1", expected=1, key="k")
    await store.append_run(ME, TURN, [RunRow(1, 2, text.encode())])
    seen = Snapshot(4, SNAPSHOT_VERSION, text.encode())
    await store.append(ME, CHAT, [closed(TURN)], expected=3, snapshot=seen)
    forked: list[Event] = [ConversationForked(CHAT, 4)]
    await store.fork(ME, CHAT, FORK, forked, at=4)
    seen = Snapshot(6, SNAPSHOT_VERSION, text.encode())
    answer = MessageAdded(Message.assistant("yes", id="m2"))
    await store.append(ME, FORK, [answer], expected=5, snapshot=seen)
    await store.append(ME, CHAT, others, expected=4)
    assert left(path)
    return store


async def redact(store: SqliteStore) -> None:
    noted = [MessageRedacted(MessageId("msg_turn_1"))]
    await store.rewrite(ME, CHAT, [(3, ERASED)], noted, expected=304, runs=[TURN])


@pytest.mark.parametrize("long", [False, True], ids=["short", "over many pages"])
async def test_redacted_bytes_are_gone(tmp_path: Path, *, long: bool) -> None:
    """As soon as `rewrite` has returned, file and write-ahead log hold nothing of the message."""
    path = tmp_path / "chat.db"
    store = await told(path, long=long)
    await redact(store)
    assert left(path) == []
    assert SECRET not in words(path)
    assert "redacted" in words(path)
    await store.close()
    assert left(path) == []


async def test_index_of_many_segments(tmp_path: Path) -> None:
    """The word is gone also where the index has grown by many commits, before and behind it."""
    path = tmp_path / "chat.db"
    store = await told(path, long=False)
    for i in range(40):
        await begin(store, f"conv_{i}_more", *[said(f"qwzw{i}a{j} qwzz{j}") for j in range(30)])
    await redact(store)
    assert left(path) == []
    assert SECRET not in words(path)
    assert len(await store.search(ME, "qwzw39a29")) == 1
    await store.close()


async def test_deleted_bytes_are_gone(tmp_path: Path) -> None:
    """After the last of those who share it is deleted, the file holds nothing of the message."""
    path = tmp_path / "chat.db"
    store = await told(path, long=True)
    await store.delete(ME, CHAT)
    assert left(path)  # the fork still has it
    await store.delete(ME, FORK)
    assert left(path) == []
    assert SECRET not in words(path)
    await store.close()


async def test_interrupted_erasing_is_finished(tmp_path: Path) -> None:
    """When the process dies between the redaction and the merging of the index, the next one that
    opens the file does the rest."""
    path = tmp_path / "chat.db"
    store = await told(path, long=False)
    erased = erase.replacements([(3, ERASED)])
    noted = writes.Batch.of([MessageRedacted(MessageId("msg_turn_1"))])
    await store._write(
        lambda c: erase.rewrite(
            c, store._kinds, ME, CHAT, erased, noted, expected=304, runs=[TURN], now_ms=0
        )
    )
    await store.close()
    assert left(path)  # in the pages of the index
    again = await SqliteStore.open(path)
    assert again._erasing is not None
    await again._erasing
    assert left(path) == []
    assert SECRET not in words(path)
    await again.close()
    third = await SqliteStore.open(path)
    assert third._erasing is None
    await third.close()


async def test_a_reader_delays_the_log(tmp_path: Path) -> None:
    """Where another program reads old pages, `rewrite` returns all the same, and the write-ahead
    log is emptied by the first commit after that."""
    path = tmp_path / "chat.db"
    store = await told(path, long=False)
    await store._writer.run(lambda c: c.set_busy_timeout(20), in_transaction=False)
    other = apsw.Connection(str(path))
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM events").fetchall()
    await redact(store)
    assert left(path)
    assert await store.search(ME, SECRET) == ()
    other.execute("COMMIT")
    other.close()
    await begin(store, "conv_next")
    await store._writer.run(lambda _: None, in_transaction=False)  # once that is all done
    assert left(path) == []
    await store.close()
