"""What must hold after any number of kills, read from the database and from the world's files."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import apsw
import msgspec

from palaver.domain.events import (
    MessageAdded,
    Recorded,
    ToolResolved,
    TurnClosed,
    TurnOpened,
)
from palaver.domain.messages import Role, ToolResult
from palaver.domain.reducer import fold
from palaver.domain.state import ConversationState
from palaver.domain.values import Scope, TurnOutcome
from palaver.store.sqlite import SqliteStore
from palaver.testing.history import valid_history
from tests.crash.life import TALKERS, noted


class Tally(msgspec.Struct):
    """What was counted in one world."""

    accepted: int = 0
    answered: int = 0
    interrupted: int = 0
    unknown: int = 0
    paid: int = 0
    booked_again: int = 0
    problems: list[str] = []

    def __add__(self, other: "Tally") -> "Tally":
        names = self.__struct_fields__
        return Tally(**{name: getattr(self, name) + getattr(other, name) for name in names})


async def check(folder: Path) -> Tally:
    """Check a world in which nothing runs any more."""
    tally = Tally()
    paid = [line.split() for line in noted(folder / "paid")]
    booked = [line.split() for line in noted(folder / "booked")]
    _check_world(tally, paid, booked)
    store = await SqliteStore.open(folder / "chat.db")
    try:
        if await store.adopt_orphans():
            tally.problems.append("a turn was left open")
        page = await store.list_conversations(Scope())
        logs = {item.metadata.title: await store.read(Scope(), item.id) for item in page.items}
    finally:
        await store.close()
    for talker in range(TALKERS):
        accepted = {int(line) for line in noted(folder / f"accepted-{talker}")}
        _check_log(tally, logs.get(f"talker {talker}", []), accepted, {int(n) for _, n in paid})
    if not _is_sound(folder / "chat.db"):
        tally.problems.append("quick_check")
    return tally


def _check_world(tally: Tally, paid: Sequence[list[str]], booked: Sequence[list[str]]) -> None:
    tally.paid = len(paid)
    for n, times in Counter(n for _, n in paid).items():
        if times > 1:
            tally.problems.append(f"order {n} was paid {times} times")
    keys: dict[str, set[str]] = {}
    for key, n in booked:
        keys.setdefault(n, set()).add(key)
    tally.booked_again = len(booked) - len(keys)
    for n, used in keys.items():
        if len(used) > 1:
            tally.problems.append(f"order {n} was booked under {len(used)} keys")


def _check_log(tally: Tally, log: list[Recorded], accepted: set[int], paid: set[int]) -> None:
    events = [recorded.event for recorded in log]
    state = fold(ConversationState("x"), log)  # type: ignore[arg-type]
    if state.messages:  # a life may end before it has said anything
        tally.problems += valid_history(list(state.messages))
    if state.turn is not None:
        tally.problems.append("a turn is open")
    asked: Counter[int] = Counter()
    order_of: dict[str, int] = {}
    whole: Counter[int] = Counter()
    for event in events:
        match event:
            case MessageAdded(message=message, turn=turn) if message.role is Role.USER:
                n = int(message.text.split()[-1])
                asked[n] += 1
                order_of[str(turn)] = n
            case MessageAdded(message=message, turn=turn) if message.text.startswith("Done"):
                whole[order_of[str(turn)]] += not message.flags
            case ToolResolved(turn=turn, result=result):
                _check_result(tally, result, order_of[turn], paid)
            case TurnClosed(turn=turn, outcome=outcome):
                tally.answered += outcome is TurnOutcome.COMPLETED
                tally.interrupted += outcome is TurnOutcome.INTERRUPTED
                if outcome is TurnOutcome.FAILED:
                    tally.problems.append(f"order {order_of[turn]} failed: {event.error}")
                if outcome is TurnOutcome.COMPLETED and whole[order_of[turn]] != 1:
                    tally.problems.append(f"order {order_of[turn]} is complete without an answer")
            case _:
                pass
    tally.accepted += len(accepted)
    tally.problems += [f"order {n} was lost" for n in accepted if not asked[n]]
    tally.problems += [f"order {n} was asked {k} times" for n, k in asked.items() if k > 1]
    tally.problems += [f"order {n} was answered {k} times" for n, k in whole.items() if k > 1]
    opened = sum(isinstance(event, TurnOpened) for event in events)
    closed = sum(isinstance(event, TurnClosed) for event in events)
    if opened != closed:
        tally.problems.append(f"{opened} turns began and {closed} ended")


def _check_result(tally: Tally, result: ToolResult, n: int, paid: set[int]) -> None:
    """What the history says of a payment must be so."""
    tally.unknown += result.unknown
    if result.name == "pay" and not result.unknown and result.failed == (n in paid):
        said = "not done" if result.failed else "done"
        tally.problems.append(f"the payment of order {n} is said to be {said}")
    if result.name != "pay" and result.unknown:
        tally.problems.append(f"{result.name} is said to be of unknown outcome")


def _is_sound(file: Path) -> bool:
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    finally:
        connection.close()
