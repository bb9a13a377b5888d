"""What a turn costs the file depends on what is new: counted in SQLite's own steps."""

from pathlib import Path

import apsw
from msgspec.structs import replace

from palaver.domain.events import MessageAdded, TurnClosed
from palaver.domain.ids import MessageId, TurnId
from palaver.domain.messages import Message, Role, Text
from palaver.domain.values import TurnOutcome
from palaver.store.base import RunRow
from palaver.store.sqlite import SqliteStore
from palaver.system import new_id
from palaver.testing.store_contract.base import CHAT, ME, begin


async def turn(store: SqliteStore, number: int) -> None:
    """A question, deltas, an answer and the end of the turn."""
    turn, seq = TurnId(new_id("turn")), 1 + 4 * number
    said = replace(Message.user(f"question {number}"), id=MessageId(f"q{number}"))
    await store.accept(ME, CHAT, said, turn=turn, expected=seq)
    await store.append_run(ME, turn, [RunRow(1, 5, b"[]")])
    answer = Message(Role.ASSISTANT, (Text(f"answer {number}"),), MessageId(f"a{number}"))
    await store.append(
        ME,
        CHAT,
        [MessageAdded(answer, turn), TurnClosed(turn, TurnOutcome.COMPLETED)],
        expected=seq + 2,
        run=(turn, [RunRow(6, 9, b"[]")]),
    )
    await store.turn(ME, turn)


async def steps(store: SqliteStore, numbers: range) -> int:
    """The fewest steps that SQLite takes for one of these turns."""
    counted = 0

    def count() -> bool:
        nonlocal counted
        counted += 1
        return False

    def watch(connection: apsw.Connection) -> None:
        connection.set_progress_handler(count, 1)

    def leave(connection: apsw.Connection) -> None:
        connection.set_progress_handler(None)

    for lane in (store._writer, store._reader):
        await lane.run(watch, in_transaction=False)
    found: list[int] = []
    for number in numbers:
        before = counted
        await turn(store, number)
        found.append(counted - before)
    for lane in (store._writer, store._reader):
        await lane.run(leave, in_transaction=False)
    return min(found)


async def test_a_turn_takes_the_same_steps_however_many_came_before(tmp_path: Path) -> None:
    """Behind 120 turns as behind ten: nothing is looked for by walking over them."""
    store = await SqliteStore.open(tmp_path / "chat.db")
    await begin(store)
    for number in range(10):
        await turn(store, number)
    early = await steps(store, range(10, 15))
    for number in range(15, 120):
        await turn(store, number)
    late = await steps(store, range(120, 125))
    await store.close()
    # Looking at each of the turns once would be nearly twice as many.
    assert late < early * 1.1
