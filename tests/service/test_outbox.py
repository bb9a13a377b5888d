"""What is said while no model can be reached is kept, in order, and sent once when one answers."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import palaver
from palaver import ConversationBusy, NotFound, PromptKept, TurnFailed, TurnLimits, TurnOutcome
from palaver.domain.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    IdempotencyMismatch,
)
from palaver.domain.events import PromptQueued
from palaver.domain.messages import Role
from palaver.settings import BreakerSettings, OutboxSettings, RetrySettings, Settings
from palaver.store.sqlite import SqliteStore
from palaver.testing import (
    Cut,
    Fail,
    Fault,
    Faults,
    Pause,
    Raise,
    Say,
    ScriptedModel,
    ToldClock,
    valid_history,
)
from tests.service.conftest import Opened
from tests.service.test_restart import left

AWAY = Fail(ConnectionFailed("refused"))
ASKED = Settings(
    retry=RetrySettings(network_attempts=1),
    breaker=BreakerSettings(failures=1),
    outbox=OutboxSettings(on_unreachable="queue", automatic=False),
)
"""The first failed call opens the breaker."""
OPEN_S = 600.0
"""Longer than the breaker stays open."""


def texts(conversation: Any) -> list[str]:
    return [m.text for m in conversation.messages]


def waiting(conversation: Any) -> list[str]:
    return [p.message.text for p in conversation.outbox]


async def kept(conversation: Any, said: str, **options: Any) -> str:
    """Say something that is kept; returns the prompt's id."""
    with pytest.raises(PromptKept) as told:
        await conversation.say(said, **options)
    return str(told.value.prompt)


async def test_a_question_that_reached_nobody_is_kept_and_answered_once(
    opened: Opened, clock: ToldClock
) -> None:
    """It leaves the history while it waits, and stands there once with its answer."""
    manager = await opened(ScriptedModel([AWAY, "Hello."]), settings=ASKED)
    conversation = await manager.create()
    prompt = await kept(conversation, "hi")
    assert (texts(conversation), waiting(conversation)) == ([], ["hi"])
    await clock.advance(OPEN_S)
    assert await manager.send_outbox() == 1
    assert (texts(conversation), waiting(conversation)) == (["hi", "Hello."], [])
    assert conversation.messages[0].id == prompt
    assert len(conversation.branches()) == 1
    assert not valid_history(conversation.messages)
    assert await manager.outbox() == ()


async def test_the_failed_turn_says_that_its_question_is_kept(opened: Opened) -> None:
    """The terminal event names the prompt, and is still the only terminal event."""
    conversation = await (await opened(ScriptedModel([AWAY]), settings=ASKED)).create()
    events = [event async for event in conversation.stream("hi")]
    assert isinstance(events[-1], TurnFailed)
    assert events[-1].kept == conversation.outbox.prompts[0].id


async def test_later_prompts_wait_behind_the_first(opened: Opened, clock: ToldClock) -> None:
    """They are sent in the order in which they were said, one turn after the other."""
    model = ScriptedModel([AWAY, "A.", "B.", "C."])
    manager = await opened(model, settings=ASKED)
    conversation = await manager.create()
    for said in ("a", "b", "c"):
        await kept(conversation, said)
    assert len(model.requests) == 1  # the breaker is open: nothing was tried for the others
    await clock.advance(OPEN_S)
    assert await manager.send_outbox() == 3
    assert texts(conversation) == ["a", "A.", "b", "B.", "c", "C."]


async def test_a_prompt_that_reaches_nobody_again_stays_the_first(
    opened: Opened, clock: ToldClock
) -> None:
    """However often it is tried, it stands once in history and order is kept."""
    manager = await opened(ScriptedModel([AWAY, AWAY, AWAY, "A.", "B."]), settings=ASKED)
    conversation = await manager.create()
    await kept(conversation, "a")
    await kept(conversation, "b")
    for _ in range(2):
        await clock.advance(OPEN_S)
        assert await manager.send_outbox() == 0
        assert (texts(conversation), waiting(conversation)) == ([], ["a", "b"])
    await clock.advance(2 * OPEN_S)
    assert await manager.send_outbox() == 2
    assert texts(conversation) == ["a", "A.", "b", "B."]
    assert len(conversation.branches()) == 1


async def test_prompts_can_be_edited_and_withdrawn(opened: Opened, clock: ToldClock) -> None:
    """What is sent is what they say last; what was withdrawn is never sent."""
    manager = await opened(ScriptedModel([AWAY, "A.", "C."]), settings=ASKED)
    conversation = await manager.create()
    first, second = await kept(conversation, "a"), await kept(conversation, "b")
    await kept(conversation, "c")
    await conversation.outbox.edit(first, "a, rather")
    await conversation.outbox.withdraw(second)
    with pytest.raises(NotFound):
        await conversation.outbox.withdraw(second)
    await clock.advance(OPEN_S)
    await manager.send_outbox()
    assert texts(conversation) == ["a, rather", "A.", "c", "C."]
    with pytest.raises(NotFound):
        await conversation.outbox.edit(first, "too late")


async def test_without_being_asked_nothing_is_kept(opened: Opened) -> None:
    """By default the turn fails, and its question stays where it was said."""
    settings = replace(ASKED, outbox=OutboxSettings(automatic=False))
    conversation = await (await opened(ScriptedModel([AWAY]), settings=settings)).create()
    with pytest.raises(ConnectionFailed):
        await conversation.say("hi")
    assert (texts(conversation), waiting(conversation)) == (["hi"], [])


@pytest.mark.parametrize(
    "turn",
    [Fail(AuthenticationFailed("no such key")), [Say("Half an"), Cut()]],
    ids=["refused", "half an answer"],
)
async def test_only_what_reached_nobody_is_kept(opened: Opened, turn: Any) -> None:
    """A refusal would come again; half an answer stays with its question."""
    settings = replace(ASKED, retry=RetrySettings(network_attempts=1, resumes=0))
    conversation = await (await opened(ScriptedModel([turn]), settings=settings)).create()
    with pytest.raises(palaver.ProviderError):
        await conversation.say("hi")
    assert (texts(conversation)[0], waiting(conversation)) == ("hi", [])


# Idempotency keys


async def test_a_key_that_waits_is_kept_once_and_answers_later(
    opened: Opened, clock: ToldClock
) -> None:
    """Whoever repeats the message hears the same, and gets the answer when it is there."""
    manager = await opened(ScriptedModel([AWAY, "A.", "B."]), settings=ASKED)
    conversation = await manager.create()
    first = await kept(conversation, "a", idempotency_key="k1")
    second = await kept(conversation, "b", idempotency_key="k2")
    assert await kept(conversation, "a", idempotency_key="k1") == first
    assert await kept(conversation, "b", idempotency_key="k2", on_unreachable="fail") == second
    with pytest.raises(IdempotencyMismatch):
        await conversation.say("other", idempotency_key="k2")
    await clock.advance(OPEN_S)
    assert await manager.send_outbox() == 2
    assert (await conversation.say("a", idempotency_key="k1")).text == "A."
    assert (await conversation.say("b", idempotency_key="k2")).text == "B."
    assert texts(conversation) == ["a", "A.", "b", "B."]


# Durable


async def test_what_waits_outlives_the_process(
    opened: Opened, clock: ToldClock, tmp_path: Path
) -> None:
    """Another process finds it without reading other conversations, and sends it."""
    path = tmp_path / "c.db"
    async with palaver.open(
        path, model=ScriptedModel([AWAY]), settings=ASKED, clock=clock
    ) as manager:
        await manager.create(title="Nothing waits here")
        conversation = await manager.create(title="Away")
        await kept(conversation, "a")
        await kept(conversation, "b", output={"type": "object", "title": "Shape"})
    again = await opened(ScriptedModel(["A.", '{"b": 1}']), path=path, settings=ASKED)
    (found,) = await again.outbox()
    assert (found.conversation, found.title) == (conversation.id, "Away")
    assert [p.message.text for p in found.prompts] == ["a", "b"]
    assert await again.send_outbox() == 2
    assert texts(await again.open(conversation.id)) == ["a", "A.", "b", '{"b": 1}']


async def test_of_two_processes_one_sends(opened: Opened, clock: ToldClock, tmp_path: Path) -> None:
    """Each prompt is sent by one of them, and answered once."""
    path = tmp_path / "c.db"
    one = await opened(ScriptedModel([AWAY, *"12345"]), path=path, settings=ASKED)
    two = await opened(ScriptedModel([*"12345"]), path=path, settings=ASKED)
    conversation = await one.create()
    for said in "abcd":
        await kept(conversation, said, idempotency_key=said)
    await clock.advance(OPEN_S)
    for _ in range(6):
        await asyncio.gather(one.send_outbox(), two.send_outbox())
    after = await (await two.open(conversation.id)).states.refresh()
    asked = [m.text for m in after.messages if m.role is Role.USER]
    assert asked == ["a", "b", "c", "d"]
    assert len(after.messages) == 8
    assert after.outbox == ()


async def test_a_fork_and_an_import_send_nothing_of_the_original(opened: Opened) -> None:
    """What waits belongs to the conversation in which it was said."""
    manager = await opened(ScriptedModel([AWAY]), settings=ASKED)
    conversation = await manager.create()
    await kept(conversation, "a")
    fork = await manager.fork(conversation.id)
    (report,) = await manager.import_conversations(await manager.export(conversation.id, "jsonl"))
    copy = await manager.open(report.conversation)
    assert (waiting(fork), waiting(copy)) == ([], [])
    assert [each.conversation for each in await manager.outbox()] == [conversation.id]


async def test_a_redacted_message_is_erased_from_the_outbox_log(
    opened: Opened, clock: ToldClock
) -> None:
    """Neither the fact that kept it nor an edit of it says it any more."""
    manager = await opened(ScriptedModel([AWAY, "A."]), settings=ASKED)
    conversation = await manager.create()
    prompt = await kept(conversation, "my secret")
    await conversation.outbox.edit(prompt, "my secret, edited")
    await clock.advance(OPEN_S)
    await manager.send_outbox()
    for question in [m.id for m in conversation.messages if m.role is Role.USER]:
        await conversation.redact(question)
    await conversation.redact(prompt)
    assert b"secret" not in await manager.export(conversation.id, "jsonl")


# By itself


async def test_what_waits_is_sent_by_itself(opened: Opened, clock: ToldClock) -> None:
    """Tries come in growing intervals, and none while the breaker is open."""
    settings = replace(ASKED, outbox=OutboxSettings(on_unreachable="queue"))
    model = ScriptedModel([AWAY, AWAY, "A.", "B."])
    conversation = await (await opened(model, settings=settings)).create()
    await kept(conversation, "a")
    await kept(conversation, "b")
    await clock.advance(30)
    assert len(model.requests) == 1
    for _ in range(40):
        await clock.advance(30)
    assert texts(conversation) == ["a", "A.", "b", "B."]
    assert len(model.requests) == 4


@pytest.mark.parametrize(
    "line", [Pause(until=asyncio.Event()), Say("Half of an ")], ids=["", "half"]
)
async def test_a_program_that_ends_in_mid_answer_sends_the_prompt_later(
    opened: Opened, clock: ToldClock, tmp_path: Path, line: Any
) -> None:
    """It goes back to the front of the outbox, and is answered once by the next program. What was
    said of the answer stays as a branch."""
    path, never = tmp_path / "c.db", asyncio.Event()
    settings = replace(ASKED, outbox=OutboxSettings(on_unreachable="queue"))
    model = ScriptedModel([AWAY, [line, Pause(until=never)]])
    async with palaver.open(path, model=model, settings=settings, clock=clock) as manager:
        conversation = await manager.create()
        first = await kept(conversation, "a", idempotency_key="key")
        await kept(conversation, "b")
        while len(model.requests) < 2:
            await clock.advance(30)
        assert waiting(conversation) == ["b"]
        sent = conversation.state.turn
    assert waiting(conversation) == ["a", "b"]
    assert texts(conversation) == []
    again = await opened(ScriptedModel(["A.", "B."]), path=path, settings=settings)
    found = await again.open(conversation.id)
    while found.outbox.prompts or found.state.turn is not None:
        await clock.advance(30)
    assert texts(found) == ["a", "A.", "b", "B."]
    assert found.messages[0].id == first
    reply = await found.say("a", idempotency_key="key")
    assert (reply.text, reply.outcome) == ("A.", TurnOutcome.COMPLETED)
    assert sent is not None
    assert found.state.resent_as(sent.id) == reply.turn
    halves = [m.text for tail in found.state.aside for m in tail.messages]
    assert halves == (["Half of an "] if isinstance(line, Say) else [])


async def test_a_person_who_cancels_a_prompt_that_was_sent_has_cancelled_it(
    opened: Opened, clock: ToldClock
) -> None:
    """It does not come back."""
    model = ScriptedModel([AWAY, [Pause(until=asyncio.Event())]])
    conversation = await (await opened(model, settings=ASKED)).create()
    await kept(conversation, "a")
    await clock.advance(OPEN_S)
    session = await conversation.outbox.send()
    await conversation.cancel()
    assert session is not None
    assert (texts(conversation), waiting(conversation)) == (["a"], [])


KILLED_AT = [
    *("store.outboxes.after:1", "store.accept.before:2", "store.accept.after:1"),
    *("model.mid:1", "message.after:2"),
]


@pytest.mark.parametrize("point", KILLED_AT)
async def test_prompts_of_a_killed_program_are_sent_once(
    opened: Opened, clock: ToldClock, tmp_path: Path, point: str
) -> None:
    """Wherever it is killed while it sends: in the end each has one answer, in their order, and no
    question stands twice."""
    path = tmp_path / "c.db"
    await left("sending_prompts", path, point)
    settings = replace(
        ASKED,
        outbox=OutboxSettings(on_unreachable="queue"),
        turn=TurnLimits(on_restart="resume"),
    )
    model = ScriptedModel()
    model.when("", lambda request: f"Answer to {request.messages[-1].text}.")
    manager = await opened(model, path=path, settings=settings)
    conversation = await manager.find("last")
    while conversation.outbox.prompts or conversation.state.turn is not None:
        await clock.advance(30)
    assert [m.text for m in conversation.messages if m.role is Role.USER] == ["a", "b", "c"]
    assert [m.text[:9] for m in conversation.messages if m.role is not Role.USER] == [
        "Answer to"
    ] * 3
    facts = await manager.store.read(palaver.Scope(), conversation.id, kinds=["prompt.sent"])
    assert len({getattr(f.event, "prompt", "") for f in facts}) == len(facts) == 3
    assert valid_history(list(conversation.messages)) == []


async def test_an_answer_elsewhere_sends_what_waits_here(opened: Opened, clock: ToldClock) -> None:
    """Nobody waits out an interval when it is known that the model answers."""
    outbox = OutboxSettings(on_unreachable="queue", first_s=1e6, longest_s=1e6)
    settings = replace(ASKED, outbox=outbox, breaker=BreakerSettings())
    manager = await opened(ScriptedModel([AWAY, "Here.", "A."]), settings=settings)
    conversation, other = await manager.create(), await manager.create()
    await kept(conversation, "a")
    await other.say("anybody?")
    await clock.settle()
    assert texts(conversation) == ["a", "A."]


async def test_sending_while_a_turn_is_open_says_so(opened: Opened, clock: ToldClock) -> None:
    """Nothing is sent into a turn; it goes afterwards."""
    gate = asyncio.Event()
    model = ScriptedModel([AWAY, [Pause(until=gate), Say("x")], "A."])
    manager = await opened(model, settings=ASKED)
    conversation = await manager.create()
    await kept(conversation, "a")
    await clock.advance(OPEN_S)
    session = await conversation.start("at once", on_unreachable="fail")
    with pytest.raises(ConversationBusy):
        await conversation.outbox.send()
    assert await manager.send_outbox() == 0
    gate.set()
    await session.ended()
    await manager.send_outbox()
    assert texts(conversation) == ["at once", "x", "a", "A."]


async def test_a_prompt_whose_sending_was_not_confirmed_is_not_sent_again(
    opened: Opened, clock: ToldClock, tmp_path: Path
) -> None:
    """It was written before the fault: it is a message, and its turn is ended like any lost one."""
    faults = Faults({"store.accept.after": Fault(Raise(), nth=2)})
    store = await SqliteStore.open(tmp_path / "c.db")
    model = ScriptedModel([AWAY, "A.", "C."])
    manager = await opened(model, store=faults.store(store), settings=ASKED)
    try:
        conversation = await manager.create()
        for said in "ab":
            await kept(conversation, said)
        await clock.advance(OPEN_S)
        await manager.send_outbox()
        assert faults.fired == ["store.accept.after"]
        await manager.send_outbox()
        await conversation.say("c")
        assert texts(conversation) == ["a", "A.", "b", "c", "C."]
        assert await manager.outbox() == ()
    finally:
        await manager.aclose()
        await store.close()


async def test_one_fact_keeps_and_ends(opened: Opened) -> None:
    """The end of the turn and the keeping of its question are written together."""
    manager = await opened(ScriptedModel([AWAY]), settings=ASKED)
    conversation = await manager.create()
    changes: list[Any] = []
    conversation.states.subscribe(changes.append)
    await kept(conversation, "a")
    (change,) = [c for c in changes if any(isinstance(f, PromptQueued) for f in c.facts)]
    assert [type(f).__name__ for f in change.facts][-3:] == [
        "TurnClosed", "HeadMoved", "PromptQueued",
    ]  # fmt: skip
