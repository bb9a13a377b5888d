"""Each accepted message gets one answer, whoever asks again, decides, closes or fails meanwhile."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import palaver
from palaver import (
    ConversationBusy,
    InvalidInput,
    Message,
    NotFound,
    StreamEvent,
    Text,
    TurnFailed,
    TurnInterrupted,
    tool,
)
from palaver.domain.errors import StoreError, StoreFull
from palaver.domain.ids import BlobId, CallId, MessageId, TurnId
from palaver.domain.messages import File, Flag, Image, ToolResult
from palaver.domain.state import ConversationState
from palaver.domain.stream import TERMINAL
from palaver.domain.values import TurnOutcome
from palaver.service.actions import SendMessage, StateAction
from palaver.service.state import StateChange
from palaver.store.blobs import MemoryBlobStore
from palaver.store.memory import MemoryStore
from palaver.streams.cursor import unpack
from palaver.testing import Call, Pause, Say, ScriptedModel, valid_history
from tests.service.conftest import Opened, first_text, first_text_on_disk
from tests.service.test_crash import killed


@tool(effect="effect")
async def send(to: str) -> str:
    """Send a letter."""
    return f"sent to {to}"


async def slow_watcher(change: StateChange) -> None:
    """Hears of a change and takes its time."""
    for _ in range(5):
        await asyncio.sleep(0)


# A repeated key


async def test_a_repeated_key_is_answered_after_a_restart(opened: Opened, tmp_path: Path) -> None:
    """The first answer is read from the run log."""
    async with palaver.open(tmp_path / "c.db", model=ScriptedModel(["once"])) as manager:
        conversation = await manager.create()
        await conversation.say("hi", idempotency_key="k")
    manager = await opened(ScriptedModel(), path=tmp_path / "c.db")
    again = await manager.open(conversation.id)
    async with asyncio.timeout(60):
        assert (await again.say("hi", idempotency_key="k")).text == "once"


async def test_a_repeated_key_of_a_forgotten_turn_says_so(opened: Opened, tmp_path: Path) -> None:
    """Where the run log was pruned the answer is in the history; nobody waits for events."""
    model = ScriptedModel(["once", "b", "c", "d"])
    async with palaver.open(tmp_path / "c.db", model=model) as manager:
        conversation = await manager.create()
        for text in ("hi", "x", "y", "z"):
            await conversation.say(text, idempotency_key=text)
    manager = await opened(ScriptedModel(), path=tmp_path / "c.db")
    again = await manager.open(conversation.id)
    async with asyncio.timeout(60):
        with pytest.raises(NotFound):
            await again.say("hi", idempotency_key="hi")


async def test_a_repeated_key_gives_the_answer_behind_an_approval(opened: Opened) -> None:
    """A turn that was suspended once and went on is replayed to its end."""
    model = ScriptedModel([Call("send", {"to": "bob"}), "Sent."])
    conversation = await (await opened(model, tools=[send])).create()
    (call,) = (await conversation.say("write", idempotency_key="k")).waiting
    await conversation.resume({call.id: True})
    again = await conversation.say("write", idempotency_key="k")
    assert (again.text, again.outcome) == ("Sent.", TurnOutcome.COMPLETED)


# Two at once


async def test_two_decisions_at_once_continue_the_turn_once(opened: Opened) -> None:
    """Each call runs once, however slow the watchers are."""
    calls = [Call("send", {"to": "bob"}), Call("send", {"to": "eve"})]
    manager = await opened(ScriptedModel([calls, "done"]), tools=[send])
    manager.subscribe(slow_watcher)
    conversation = await manager.create()
    first, second = (await conversation.say("write")).waiting
    session, _ = await asyncio.gather(
        conversation.decide(first.id, approve=True), conversation.decide(second.id, approve=True)
    )
    await session.ended()
    assert [r.text for r in conversation.messages[2].tool_results] == ["sent to bob", "sent to eve"]
    assert conversation.messages[-1].text == "done"


async def test_an_accepted_message_is_not_taken_for_abandoned(opened: Opened) -> None:
    """Between the durable message and the start of its turn nobody else ends it."""
    manager = await opened(ScriptedModel(["one"]))
    manager.subscribe(slow_watcher)
    conversation = await manager.create()
    first = asyncio.create_task(conversation.say("first"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(ConversationBusy):
        await conversation.say("second")
    assert (await first).text == "one"


async def test_cancelling_and_deciding_at_once_ends_the_turn_once(
    opened: Opened, tmp_path: Path
) -> None:
    """Whichever comes first, the history is valid and the conversation goes on."""
    model = ScriptedModel([Call("send", {"to": "bob"})])
    async with palaver.open(tmp_path / "c.db", model=model, tools=[send]) as manager:
        conversation = await manager.create()
        (call,) = (await conversation.say("write")).waiting
    manager = await opened(ScriptedModel(["x", "y"]), path=tmp_path / "c.db", tools=[send])
    again = await manager.open(conversation.id)
    await asyncio.gather(
        again.decide(call.id, approve=True), again.cancel(), again.cancel(), return_exceptions=True
    )
    assert again.state.turn is None
    assert valid_history(list(again.messages)) == []
    assert (await again.say("hi")).is_complete


async def test_some_decisions_do_not_wait_for_the_others(opened: Opened) -> None:
    """`resume` takes all waiting calls, and says so instead of waiting for ever."""
    calls = [Call("send", {"to": "bob"}), Call("send", {"to": "eve"})]
    conversation = await (await opened(ScriptedModel([calls]), tools=[send])).create()
    first, _ = (await conversation.say("write")).waiting
    with pytest.raises(InvalidInput, match="1 more"):
        await conversation.resume({first.id: True})


async def test_a_queued_message_does_not_begin_while_the_manager_closes() -> None:
    """It is refused and not stored; nothing runs when the store is closed."""
    gate, store = asyncio.Event(), MemoryStore()
    model = ScriptedModel([[Say("a"), Pause(until=gate)]])
    async with palaver.open(model=model, store=store, blobs=MemoryBlobStore()) as manager:
        conversation = await manager.create()
        session = await conversation.start("one")
        queued = asyncio.create_task(conversation.say("two", on_busy="queue"))
        await first_text(session)
    with pytest.raises(StoreError):
        await queued
    assert [m.text for m in conversation.messages] == ["one", "a"]


async def test_a_turn_whose_process_died_blocks_nobody(opened: Opened, tmp_path: Path) -> None:
    """A process that was there before the other one died ends its turn at the next message."""
    manager = await opened(ScriptedModel(["Hello."]), path=tmp_path / "c.db")
    await killed(tmp_path / "c.db", "speaking")
    conversation = await manager.find("last")
    assert (await conversation.say("hi")).text == "Hello."
    assert conversation.messages[1].flags == (Flag.PARTIAL,)


# A store that fails


class FullStore(MemoryStore):
    """Takes no more facts while `full`."""

    full = False

    async def append(self, *args: Any, **options: Any) -> Any:
        """Raises StoreFull while it is."""
        if self.full:
            raise StoreFull("no space left")
        return await super().append(*args, **options)


@pytest.mark.parametrize("then", ["cancel", "say"])
async def test_a_full_disk_costs_no_text(then: str) -> None:
    """The reader is told; what had been said is kept once there is space; one end is written."""
    store, gate = FullStore(), asyncio.Event()
    model = ScriptedModel([[Say("Half of it"), Pause(until=gate), Say(".")], "Next."])
    async with palaver.open(model=model, store=store, blobs=MemoryBlobStore()) as manager:
        conversation = await manager.create()
        session = await conversation.start("hi")
        await first_text(session)
        store.full = True
        gate.set()
        seen = [event async for event in session.events()]
        assert isinstance(seen[-1], TurnFailed)
        store.full = False
        if then == "cancel":
            await conversation.cancel()
            assert conversation.state.turn is None
        assert (await conversation.say("go on")).text == "Next."
        assert conversation.messages[1].text.startswith("Half of it")
        rows = await store.read_run(palaver.Scope(), session.turn)
        written = [event for batch in unpack(rows, 0) for event in batch.events]
    assert written == seen
    assert sum(isinstance(event, TERMINAL) for event in written) == 1


# What middleware and callers give


async def test_middleware_may_exchange_the_whole_message(opened: Opened) -> None:
    """The turn that was opened is the turn that runs."""

    async def exchange(action: StateAction, state: ConversationState) -> StateAction:
        if not isinstance(action, SendMessage):
            return action
        return SendMessage(TurnId("turn_mine"), Message.user("changed", id=MessageId("msg_mine")))

    manager = await opened(ScriptedModel(["one"]), middleware=[exchange])
    conversation = await manager.create()
    events: list[StreamEvent] = [event async for event in conversation.stream("hi")]
    assert not isinstance(events[-1], TurnInterrupted | TurnFailed)
    assert [m.text for m in conversation.messages] == ["changed", "one"]


async def test_a_message_answers_what_is_really_the_last(opened: Opened, tmp_path: Path) -> None:
    """Also when another process has spoken since this one looked."""
    one = await opened(ScriptedModel(["1", "3"]), path=tmp_path / "c.db")
    two = await opened(ScriptedModel(["2"]), path=tmp_path / "c.db")
    mine = await one.create()
    await mine.say("x")
    await (await two.open(mine.id)).say("y")
    await mine.say("z")
    ids = [m.id for m in mine.messages]
    assert [m.parent for m in mine.messages] == [None, *ids[:-1]]


@pytest.mark.parametrize(
    "block",
    [
        ToolResult(CallId("x"), "y"),
        Image("image/png"),
        Image("image/png", blob=BlobId("sha256:" + "0" * 64)),
        File("text/plain", blob=BlobId("sha256:" + "0" * 64), url="https://example.com"),
    ],
)
async def test_what_no_provider_could_be_sent_is_refused(opened: Opened, block: Any) -> None:
    """A block that is no user's, or an attachment that is not there, would spoil every later turn;
    nothing is stored of it."""
    conversation = await (await opened(ScriptedModel(["ok"]))).create()
    with pytest.raises(InvalidInput):
        await conversation.say(Message.user((Text("look"), block)))
    assert len(conversation.messages) == 0


async def test_watchers_hear_what_another_process_did(opened: Opened, tmp_path: Path) -> None:
    """Every fact once, in the order of the log."""
    one = await opened(ScriptedModel(["1"]), path=tmp_path / "c.db")
    two = await opened(ScriptedModel(["2", "4"]), path=tmp_path / "c.db")
    mine, heard = await one.create(), 1
    changes: list[StateChange] = []
    mine.states.subscribe(changes.append)
    theirs = await two.open(mine.id)
    await theirs.say("x")
    await mine.say("y")
    await theirs.say("z")
    await mine.states.refresh()
    heard += sum(len(change.facts) for change in changes)
    assert heard == mine.state.seq


async def test_interrupting_another_process_keeps_what_it_said(
    opened: Opened, tmp_path: Path
) -> None:
    """Its run log tells; the history holds it as a partial message."""
    model = ScriptedModel([[Say("Half"), Pause(until=asyncio.Event())]])
    one = await opened(model, path=tmp_path / "c.db")
    two = await opened(ScriptedModel(["Other."]), path=tmp_path / "c.db")
    mine = await one.create()
    session = await mine.start("go")
    await first_text_on_disk(session, two.store)
    theirs = await two.open(mine.id)
    assert (await theirs.say("stop", on_busy="interrupt")).text == "Other."
    assert [m.text for m in theirs.messages] == ["go", "Half", "stop", "Other."]
    assert theirs.messages[1].flags == (Flag.PARTIAL,)
