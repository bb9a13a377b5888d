"""A turn moves between processes: decided, cancelled or ended elsewhere, it ends once."""

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest

import palaver
from palaver import (
    InvalidInput,
    NotFound,
    Scope,
    Settings,
    TurnCancelled,
    TurnCompleted,
    Usage,
    tool,
)
from palaver.domain.errors import InvalidRequest, TurnTakenOver
from palaver.domain.events import AttemptMade
from palaver.domain.messages import Flag
from palaver.domain.stream import TERMINAL, TurnSuspended
from palaver.domain.values import SuspendReason, TurnOutcome
from palaver.service.actions import RecordFacts
from palaver.settings import StreamSettings
from palaver.streams.session import Numbered, StreamSession
from palaver.system import SystemClock
from palaver.testing import Call, Pause, Say, ScriptedModel, valid_history
from tests.service.conftest import Opened, first_text_on_disk
from tests.service.test_crash import killed


@tool(effect="effect")
async def send(to: str) -> str:
    """Send a letter."""
    return f"sent to {to}"


async def two_managers(opened: Opened, path: Path, *models: ScriptedModel) -> list[Any]:
    """Two processes, as far as the store can tell, on one file."""
    return [await opened(m, path=path, tools=[send], clock=SystemClock()) for m in models]


async def read(session: StreamSession) -> list[Numbered]:
    async with asyncio.timeout(60):
        return [n async for n in session.numbered()]


# Held turns


async def test_a_turn_that_is_decided_elsewhere_is_not_abandoned(
    opened: Opened, tmp_path: Path
) -> None:
    """The decider owns it, under the next epoch, while it runs; who began it leaves it alone."""
    gate = asyncio.Event()
    one, two = await two_managers(
        opened,
        tmp_path / "c.db",
        ScriptedModel([Call("send", {"to": "bob"})]),
        ScriptedModel([[Say("Sent."), Pause(until=gate)]]),
    )
    mine = await one.create()
    (call,) = (await mine.say("write")).waiting
    theirs = await two.open(mine.id)
    session = await theirs.decide(call.id, approve=True)
    await mine.states.refresh()
    with pytest.raises(palaver.ConversationBusy):
        await mine.say("too early")
    record = await one.store.turn(Scope(), session.turn)
    assert (record.owner, record.epoch) == (two.store.owner, 1)
    gate.set()
    assert isinstance((await read(session))[-1].event, TurnCompleted)
    assert theirs.messages[-1].text == "Sent."


async def test_readers_of_a_held_turn_follow_it_to_another_process(
    opened: Opened, tmp_path: Path
) -> None:
    """One who was there from the beginning and one who comes later see every event once."""
    one, two = await two_managers(
        opened,
        tmp_path / "c.db",
        ScriptedModel([Call("send", {"to": "bob"})]),
        ScriptedModel(["Sent."]),
    )
    mine = await one.create()
    session = await mine.start("write")
    reading = asyncio.create_task(read(session))
    async for event in session.events():
        if isinstance(event, TurnSuspended):
            break
    theirs = await two.open(mine.id)
    await theirs.decide(theirs.state.turn.waiting[0], approve=True)
    seen = await reading
    async with asyncio.timeout(60):
        late = [n.event async for n in mine.follow(session.turn)]
    assert [n.number for n in seen] == list(range(1, len(seen) + 1))
    assert [n.event for n in seen] == late
    assert isinstance(late[-1], TurnCompleted)
    assert seen[-1].epoch == 1


async def test_a_wrong_decision_takes_no_turn(opened: Opened, tmp_path: Path) -> None:
    """It is refused before the turn moves."""
    model = ScriptedModel([Call("send", {"to": "bob"})])
    one, two = await two_managers(opened, tmp_path / "c.db", model, ScriptedModel())
    mine = await one.create()
    held = await mine.say("write")
    with pytest.raises(InvalidInput):
        await (await two.open(mine.id)).decide("nonsense", approve=True)
    assert (await one.store.turn(Scope(), held.turn)).owner == one.store.owner


async def test_a_held_turn_goes_back_and_forth(opened: Opened, tmp_path: Path) -> None:
    """Each decision takes it; the last one goes on with it."""
    calls = [Call("send", {"to": "bob"}), Call("send", {"to": "eve"})]
    one, two = await two_managers(
        opened, tmp_path / "c.db", ScriptedModel([calls, "Both sent."]), ScriptedModel()
    )
    mine = await one.create()
    first, second = (await mine.say("write")).waiting
    await (await two.open(mine.id)).decide(first.id, approve=True)
    session = await mine.decide(second.id, approve=True)
    events = await read(session)
    assert mine.messages[-1].text == "Both sent."
    assert [n.number for n in events] == list(range(1, len(events) + 1))
    assert (await one.store.turn(Scope(), session.turn)).epoch == 2


async def test_held_turns_do_not_fill_memory(opened: Opened) -> None:
    """A turn that waits for a person has no session while nobody reads it, and goes on from the
    log."""
    script: list[Any] = [[Call("send", {"to": "bob"})]] * 20
    manager = await opened(ScriptedModel([*script, "Sent."]), tools=[send])
    held = [await manager.create() for _ in range(20)]
    turns = [(await conversation.say("write")).turn for conversation in held]
    await manager.streams.settled(turns[-1])
    gc.collect()
    assert [manager.streams.find(turn) for turn in turns] == [None] * 20
    reply = await held[7].resume({held[7].state.turn.waiting[0]: True})
    assert (reply.text, reply.outcome) == ("Sent.", TurnOutcome.COMPLETED)


# Running turns


@pytest.mark.parametrize("is_silent", [False, True])
async def test_a_turn_that_is_cancelled_elsewhere_ends_once(
    opened: Opened, tmp_path: Path, is_silent: bool
) -> None:
    """Its reader sees it cancelled, and the bus hears it; the model is stopped, also when it says
    nothing."""
    gate = asyncio.Event()
    speaking: list[Any] = [Say("More. "), Pause(0.01)] * 200
    lines: list[Any] = [Pause(until=gate)] if is_silent else speaking
    check_s = 0.02 if is_silent else 60.0
    settings = Settings(stream=StreamSettings(owner_check_s=check_s))
    one = await opened(
        ScriptedModel([[Say("Half. "), *lines], "Next."]),
        path=tmp_path / "c.db",
        settings=settings,
        clock=SystemClock(),
    )
    two = await opened(ScriptedModel(), path=tmp_path / "c.db", clock=SystemClock())
    mine = await one.create()
    session = await mine.start("go")
    reading = asyncio.create_task(read(session))
    heard = one.streams.bus.subscribe()
    await first_text_on_disk(session, two.store)
    theirs = await two.open(mine.id)
    await theirs.cancel()
    seen = await reading
    assert seen[-1].event == TurnCancelled(session.turn)
    assert sum(isinstance(n.event, TERMINAL) for n in seen) == 1
    async with asyncio.timeout(60):
        await one.streams.settled(session.turn)
    assert (await mine.say("and?")).text == "Next."
    assert [m.text[:5] for m in mine.messages] == ["go", "Half.", "and?", "Next."]
    async with asyncio.timeout(60):
        ends = (i async for i in heard if isinstance(i.event, TERMINAL) and i.epoch)
        assert (await anext(ends)).event == TurnCancelled(session.turn)
    assert valid_history(list(mine.messages)) == []


async def test_facts_of_a_turn_that_was_taken_are_refused(opened: Opened, tmp_path: Path) -> None:
    """They were found under an older epoch, and are not written behind what came since."""
    model = ScriptedModel([Call("send", {"to": "bob"})])
    one, two = await two_managers(opened, tmp_path / "c.db", model, ScriptedModel())
    mine = await one.create()
    turn = (await mine.say("write")).turn
    await two.store.take_turn(Scope(), turn)
    await (await two.open(mine.id)).set_title("moves the log on")
    found = RecordFacts((AttemptMade(turn, 2, "m", Usage()),), turn, 0)
    with pytest.raises(TurnTakenOver):
        await mine.states.dispatch(found)
    await (await two.open(mine.id)).cancel()
    await mine.states.refresh()
    with pytest.raises(TurnTakenOver) as caught:
        await mine.states.dispatch(found)
    assert caught.value.hint


async def test_facts_of_a_turn_follow_a_change_of_settings_elsewhere(
    opened: Opened, tmp_path: Path
) -> None:
    """What another process changes beside the turn does not end it."""
    gate = asyncio.Event()
    model = ScriptedModel([[Say("a"), Pause(until=gate), Say("b")]])
    one, two = await two_managers(opened, tmp_path / "c.db", model, ScriptedModel())
    mine = await one.create()
    session = await mine.start("go")
    await (await two.open(mine.id)).set_title("Mine")
    gate.set()
    assert isinstance((await read(session))[-1].event, TurnCompleted)
    assert (mine.messages[-1].text, mine.state.metadata.title) == ("ab", "Mine")


# Recovery


async def test_recovery_leaves_other_tenants_to_themselves(opened: Opened, tmp_path: Path) -> None:
    """A turn that a dead process left is ended by the next one of its own tenant; a foreign one
    that opens the file first does not keep it open for ever."""
    path = tmp_path / "c.db"
    await killed(path, "speaking")
    await opened(ScriptedModel(), path=path, scope=Scope("other", "you"))
    manager = await opened(ScriptedModel(["Hello."]), path=path)
    conversation = await manager.find("last")
    assert conversation.state.turn is None
    assert (await conversation.say("hi")).text == "Hello."


async def test_an_attempt_that_a_crash_cut_has_its_row(opened: Opened, tmp_path: Path) -> None:
    """The ledger holds every attempt; the usage of one without an end is estimated."""
    await killed(tmp_path / "c.db", "speaking")
    manager = await opened(ScriptedModel(), path=tmp_path / "c.db")
    conversation = await manager.find("last")
    facts = await manager.store.read(Scope(), conversation.id)
    (made,) = [f.event for f in facts if isinstance(f.event, AttemptMade)]
    assert (made.number, made.usage.estimated) == (1, True)
    assert made.usage.output > 0
    assert conversation.state.usage == made.usage
    assert conversation.messages[1].flags == (Flag.PARTIAL,)


# Turns by their id


async def test_a_turn_is_known_by_its_id(opened: Opened, tmp_path: Path) -> None:
    """Whether it runs, what it waits for and how it ended; in every process, for its tenant."""
    one, two = await two_managers(
        opened,
        tmp_path / "c.db",
        ScriptedModel([Call("send", {"to": "bob"})]),
        ScriptedModel(["Sent.", InvalidRequest("no")]),
    )
    mine = await one.create()
    turn = (await mine.say("write")).turn
    held = await two.turn(turn)
    assert (held.open, held.held, held.epoch) == (True, SuspendReason.APPROVAL, 0)
    assert [call.name for call in held.waiting] == ["send"]
    theirs = await two.open(mine.id)
    await theirs.resume({held.waiting[0].id: True})
    for manager in (one, two):
        ended = await manager.turn(turn)
        assert (ended.open, ended.outcome, ended.epoch) == (False, TurnOutcome.COMPLETED, 1)
        assert ended.conversation == mine.id
        assert (await anext(manager.follow(turn, after=2))).number == 3
        assert (await manager.session(turn)).turn == turn
    with pytest.raises(InvalidRequest):
        await theirs.say("and?")
    opening = await two.store.read(Scope(), mine.id, kinds=["turn.opened"])
    failed = await one.turn(getattr(opening[-1].event, "turn", ""))
    assert failed.outcome is TurnOutcome.FAILED
    assert failed.error is not None
    assert failed.error.code == "bad_request"
    other = await opened(ScriptedModel(), path=tmp_path / "c.db", scope=Scope("other", "you"))
    for unknown in (turn, "turn_none", "../x"):
        with pytest.raises(NotFound):
            await other.turn(unknown)
        with pytest.raises(NotFound):
            await other.session(unknown)
        with pytest.raises(NotFound):
            _ = [n async for n in other.follow(unknown)]
