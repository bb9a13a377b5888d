"""What a conversation costs on disk."""

import random
from pathlib import Path

from palaver import codec
from palaver.domain.events import (
    AttemptMade,
    ConversationCreated,
    ConversationForked,
    Event,
    MessageAdded,
    ToolResolved,
    TurnClosed,
    TurnOpened,
)
from palaver.domain.ids import CallId, ConversationId, MessageId, TurnId
from palaver.domain.messages import Message, Role, StopReason, Text, ToolCall, ToolResult
from palaver.domain.values import TurnOutcome, Usage
from palaver.store.base import RunRow
from palaver.store.sqlite import SqliteStore
from palaver.system import new_id
from palaver.testing.store_contract.base import CHAT, ME

TURNS = 500
_chance = random.Random(5)
_WORDS = ["".join(_chance.choices("etaoinshrdlu", k=_chance.randint(2, 10))) for _ in range(8000)]
_WEIGHTS = [1 / (rank + 1) for rank in range(8000)]  # as often as words are in real text


def prose(size: int) -> str:
    return " ".join(_chance.choices(_WORDS, _WEIGHTS, k=size // 3))[:size]


def answer(turn: TurnId, *, with_tool: bool) -> list[Event]:
    """The facts of an answer: a tool call with its result in some, and the ledger's rows."""
    model, attempt = "anthropic:some-model", AttemptMade(turn, 1, "m", Usage(1000, 300))
    facts: list[Event] = []
    if with_tool:
        call = ToolCall(CallId(new_id("call")), "search")
        asked = Message(Role.ASSISTANT, (call,), MessageId(new_id("msg")), model=model)
        result = ToolResult(call.id, call.name, (Text(prose(400)),))
        facts += [MessageAdded(asked, turn), attempt, ToolResolved(turn, result)]
    said = Message(Role.ASSISTANT, (Text(prose(1200)),), MessageId(new_id("msg")), model=model,
                   stop=StopReason.END_TURN)  # fmt: skip
    return [*facts, MessageAdded(said, turn), attempt, TurnClosed(turn, TurnOutcome.COMPLETED)]


async def test_size_on_disk(tmp_path: Path) -> None:
    """The log takes at most 1.4 × its encoded content, the search index at most 0.6 ×; run logs
    of old turns take nothing."""
    store = await SqliteStore.open(tmp_path / "chat.db")
    last = (await store.create(ME, CHAT, [ConversationCreated()])).last
    content = 0
    for number in range(TURNS):
        turn = TurnId(new_id("turn"))
        question = Message.user(prose(300), id=new_id("msg"))
        await store.accept(ME, CHAT, question, turn=turn, expected=last, idempotency_key=turn)
        facts = answer(turn, with_tool=number % 2 == 1)
        rows = [RunRow(1, 99, b"x" * 4000)]
        last = (await store.append(ME, CHAT, facts, expected=last + 2, run=(turn, rows))).last
        written = (TurnOpened(turn), MessageAdded(question, turn), *facts)
        content += sum(len(codec.encode_event(fact)) for fact in written)
    sizes = await store.statistics()
    await store.close()
    assert sizes.log_bytes <= 1.4 * content
    assert sizes.search_bytes <= 0.6 * content
    assert (tmp_path / "chat.db").stat().st_size <= 2 * content


async def test_a_fork_costs_little(tmp_path: Path) -> None:
    """A fork takes less than 1 kB of the file, wherever in a long conversation it begins, and
    looks at few facts for it."""
    store = await SqliteStore.open(tmp_path / "chat.db")
    many = [MessageAdded(Message.user(prose(300), id=new_id("msg"))) for _ in range(3000)]
    last = (await store.create(ME, CHAT, [ConversationCreated(), *many])).last
    before = await used_bytes(store)
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += 1
        return False

    await store._writer.run(lambda c: c.set_progress_handler(count, 100), in_transaction=False)
    for i in range(40):
        at = last - 70 * i
        name = ConversationId(f"conv_{i}_fork")
        await store.fork(ME, CHAT, name, [ConversationForked(CHAT, at)], at=at)
    assert steps * 100 / 40 < 10_000  # instructions of SQLite's machine
    assert (await used_bytes(store) - before) / 40 < 1000
    await store.close()


async def used_bytes(store: SqliteStore) -> int:
    sizes = await store.statistics()
    return sizes.log_bytes + sizes.search_bytes
