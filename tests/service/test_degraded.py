"""When no model can be reached, a turn is answered with less, says so, and all of it comes back."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from palaver import ServiceDegraded, ServiceRestored, TurnCompleted
from palaver.domain.degradation import DegradationLevel, Feature
from palaver.domain.errors import (
    AuthenticationFailed,
    CircuitBreakerOpenError,
    ConnectionFailed,
    ContentBlocked,
    ContextOverflow,
    InvalidRequest,
    Overloaded,
    ProviderError,
    QuotaExhausted,
    StoreFull,
)
from palaver.domain.events import AttemptMade
from palaver.domain.messages import Flag
from palaver.domain.stream import AttemptStarted, StreamEvent
from palaver.domain.values import Scope
from palaver.providers.base import ModelInfo
from palaver.settings import (
    AnswerSettings,
    BreakerSettings,
    OutboxSettings,
    RetrySettings,
    Settings,
)
from palaver.store.sqlite import SqliteStore
from palaver.testing import Call, Fail, Fault, Faults, Raise, ScriptedModel, ToldClock
from tests.service.conftest import Opened

AWAY = Fail(ConnectionFailed("refused"))
OFFLINE = Settings(
    retry=RetrySettings(network_attempts=1),
    breaker=BreakerSettings(failures=2),
    outbox=OutboxSettings(on_unreachable="offline"),
)
OPEN_S = 70.0
"""Longer than the breaker stays open."""
L = DegradationLevel


def model(name: str, *turns: Any, **info: Any) -> ScriptedModel:
    return ScriptedModel(turns, info=ModelInfo(name, **{"window": 200_000, **info}))


async def told(conversation: Any, text: str, **options: Any) -> list[StreamEvent]:
    return [event async for event in conversation.stream(text, **options)]


def news(events: list[StreamEvent]) -> list[str]:
    """The levels that were told, `full` for all of it."""
    return [
        event.level if isinstance(event, ServiceDegraded) else "full"
        for event in events
        if isinstance(event, ServiceDegraded | ServiceRestored)
    ]


def asked(events: list[StreamEvent]) -> list[str]:
    return [event.model for event in events if isinstance(event, AttemptStarted)]


async def test_the_offline_responder_answers_when_nobody_can_be_reached(opened: Opened) -> None:
    """In the same turn, said before it and marked in the message."""
    conversation = await (await opened(model("a:1", AWAY), settings=OFFLINE)).create()
    events = await told(conversation, "Hello?")
    assert isinstance(events[-1], TurnCompleted)
    assert asked(events) == ["a:1", "offline"]
    (degraded,) = [e for e in events if isinstance(e, ServiceDegraded)]
    assert (degraded.level, degraded.error.code) == (L.BASIC_CHAT, "network")
    assert Feature.TOOLS in degraded.available
    assert Feature.LANGUAGE_MODEL in degraded.unavailable
    assert events.index(degraded) < [asked([e]) for e in events].index(["offline"])
    answer = conversation.messages[-1]
    assert (answer.model, answer.flags) == ("offline", (Flag.OFFLINE,))
    assert answer.text.startswith("No model can be reached now")


async def test_the_argument_goes_before_the_setting(opened: Opened) -> None:
    """One call may ask for it, and one may refuse it."""
    settings = replace(OFFLINE, outbox=OutboxSettings())
    conversation = await (await opened(model("a:1", AWAY, AWAY), settings=settings)).create()
    reply = await conversation.say("Hello?", on_unreachable="offline")
    assert reply.message.flags == (Flag.OFFLINE,)
    with pytest.raises(ConnectionFailed):
        await conversation.say("Hello?")


async def test_an_earlier_answer_to_the_same_request_is_given_again(opened: Opened) -> None:
    """Also one of another conversation, marked, and word for word."""
    chosen = model("a:1", "Paris.", "No idea.", AWAY, AWAY, AWAY)
    manager = await opened(chosen, settings=OFFLINE)
    first, second = await manager.create(), await manager.create()
    await first.say("What is the capital of France?")
    await second.say("And of Spain?")
    third = await manager.create()
    events = await told(third, "What is the capital of France?")
    assert asked(events) == ["a:1", "cache"]
    assert news(events) == [L.CACHED_ANSWERS]
    answer = third.messages[-1]
    assert (answer.text, answer.model, answer.flags) == ("Paris.", "cache", (Flag.CACHED,))
    other = await manager.create()
    assert (await other.say("What is the capital of Peru?")).message.model == "offline"


@pytest.mark.parametrize(
    "change",
    [{"system": "Be brief."}, {"temperature": 0.5}, {"language": "de"}],
    ids=["system", "settings", "language"],
)
async def test_another_request_has_another_answer(opened: Opened, change: dict[str, Any]) -> None:
    """System prompt, settings and language belong to a request; the model does not."""
    manager = await opened(model("a:1", "Paris.", AWAY), settings=OFFLINE)
    await (await manager.create()).say("Capital of France?")
    changed = await manager.create(**change)
    assert (await changed.say("Capital of France?")).message.model == "offline"


async def test_the_history_belongs_to_the_request(opened: Opened) -> None:
    """The same last question behind another one is not the same request; behind the same it is."""
    manager = await opened(
        model("a:1", "Bern.", "Lake Geneva.", "Rom.", AWAY, AWAY), settings=OFFLINE
    )
    first = await manager.create()
    await first.say("Capital of Switzerland?")
    await first.say("Its largest lake?")
    second = await manager.create()
    await second.say("Capital of Italy?")
    assert (await second.say("Its largest lake?")).message.model == "offline"
    await first.undo()
    again = await first.say("Its largest lake?")
    assert (again.message.model, again.text) == ("cache", "Lake Geneva.")


async def test_the_model_comes_back_by_itself(opened: Opened, clock: ToldClock) -> None:
    """Each change is told once: gone, and there again when a call succeeds."""
    chosen = model("a:1", AWAY, AWAY, "I am back.", "Still here.")
    manager = await opened(chosen, settings=OFFLINE)
    conversation = await manager.create()
    turns = [await told(conversation, "a"), await told(conversation, "b")]
    turns.append(await told(conversation, "c"))  # the breaker is open: nothing is sent
    assert len(chosen.requests) == 2
    assert conversation.degraded.level is L.BASIC_CHAT
    assert conversation.degraded.error is not None
    assert 50 < conversation.degraded.retry_after_s < 70
    assert manager.degradation.chains == {"a:1": L.BASIC_CHAT}
    await clock.advance(OPEN_S)
    turns += [await told(conversation, "d"), await told(conversation, "e")]
    assert [news(turn) for turn in turns] == [[L.BASIC_CHAT], [], [], ["full"], []]
    assert not conversation.degraded.is_degraded
    assert manager.degradation.chains == {}
    assert conversation.messages[-1].text == "Still here."


async def test_what_answers_instead_counts_for_no_model(opened: Opened, clock: ToldClock) -> None:
    """Breakers, budgets and statistics hear of the model's failures alone; the ledger has it as
    what it was, for nothing."""
    manager = await opened(model("a:1", AWAY, AWAY, AWAY), settings=OFFLINE)
    conversation = await manager.create()
    replies = [await conversation.say("Hello?") for _ in range(3)]
    assert [reply.cost for reply in replies] == [0.0, 0.0, 0.0]
    (reading,) = manager.recovery.readings()
    assert (reading.name, reading.calls, reading.failures) == ("a:1", 2, 2)
    report = manager.recovery.report()
    assert (report.calls, report.failures) == (2, 2)
    facts = await manager.store.read(Scope(), conversation.id, kinds=["attempt.made"])
    made = [f.event for f in facts if isinstance(f.event, AttemptMade)]
    assert [m.model for m in made] == ["a:1", "offline", "a:1", "offline", "offline"]


@pytest.mark.parametrize(
    "failure",
    [
        AuthenticationFailed("wrong key"),
        QuotaExhausted("no credit"),
        InvalidRequest("no such field"),
        ContentBlocked("no"),
    ],
    ids=["key", "quota", "request", "refusal"],
)
async def test_what_waiting_does_not_mend_is_said(opened: Opened, failure: ProviderError) -> None:
    """A wrong key or a bad request is not papered over, the first time or behind a breaker."""
    chosen = model("a:1", Fail(failure), Fail(failure), credential="k")
    conversation = await (await opened(chosen, settings=OFFLINE)).create()
    for _ in range(2):
        with pytest.raises(ProviderError) as caught:
            await conversation.say("Hello?")
        cause = getattr(caught.value, "cause", "") or caught.value.code
        assert cause == failure.code
    assert conversation.messages[-1].text == "Hello?"


async def test_a_chain_is_gone_through_first(opened: Opened) -> None:
    """Another model before an earlier answer or none; each step down is told."""
    own = model("a:1", AWAY, AWAY, "Own again.")
    other = model("b:2", "Other.", Fail(Overloaded("busy", should_retry=False)))
    settings = replace(OFFLINE, breaker=BreakerSettings(failures=9))
    manager = await opened(own, fallbacks=[other], settings=settings)
    conversation = await manager.create()
    turns = [await told(conversation, text) for text in ("a", "b", "c")]
    assert [asked(turn) for turn in turns] == [["a:1", "b:2"], ["a:1", "b:2", "offline"], ["a:1"]]
    assert [news(turn) for turn in turns] == [[L.OTHER_MODEL], [L.BASIC_CHAT], ["full"]]


async def test_a_wrong_key_of_one_hides_no_outage_of_the_other(opened: Opened) -> None:
    """Where one of the chain is away, the turn is answered all the same."""
    own = model("a:1", AWAY)
    other = model("b:2", Fail(AuthenticationFailed("revoked")), credential="k")
    conversation = await (await opened(own, fallbacks=[other], settings=OFFLINE)).create()
    assert (await conversation.say("Hello?")).message.model == "offline"


async def test_the_responder_runs_tools_and_the_turn_stays_with_it(opened: Opened) -> None:
    """Local tools work; nobody is asked again between its call and its report."""
    chosen = model("a:1", AWAY)
    manager = await opened(chosen, settings=OFFLINE, builtin_tools=True)
    conversation = await manager.create()
    events = await told(conversation, "What is 17*23?")
    assert asked(events) == ["a:1", "offline", "offline"]
    assert "391" in conversation.messages[-1].text
    assert news(events) == [L.BASIC_CHAT]


async def test_answers_with_calls_or_without_a_good_end_are_not_kept(opened: Opened) -> None:
    """Only what is whole is given again, and never what stood in itself."""
    chosen = model("a:1", AWAY, [Call("calculate", {"expression": "1+1"})], "Two.", AWAY, AWAY)
    manager = await opened(chosen, settings=OFFLINE, builtin_tools=True)
    await (await manager.create()).say("Hello?")  # answered offline
    await (await manager.create()).say("Add.")
    for text in ("Hello?", "Add."):
        assert (await (await manager.create()).say(text)).message.model == "offline"


async def test_answers_outlive_the_process_but_not_their_conversation(
    opened: Opened, tmp_path: Path
) -> None:
    """They are found after a restart; deleting or redacting takes them away."""
    path = tmp_path / "chat.db"
    manager = await opened(model("a:1", "One.", "Two."), path=path, settings=OFFLINE)
    one, two = await manager.create(), await manager.create()
    await one.say("first")
    await two.say("second")
    await manager.aclose()
    down = model("a:1")
    down.when("", AWAY)
    manager = await opened(down, path=path, settings=OFFLINE)

    async def answered(text: str) -> str:
        made = await manager.create()
        reply = await made.say(text)
        await manager.delete(made.id)
        return str(reply.text) if reply.message.model == "cache" else ""

    assert [await answered("first"), await answered("second")] == ["One.", "Two."]
    await manager.delete(one.id)
    kept = await manager.open(two.id)
    await kept.redact(kept.messages[0].id)
    assert [await answered("first"), await answered("second")] == ["", ""]


async def test_answers_grow_old(opened: Opened, clock: ToldClock) -> None:
    """Behind `answers.age_s` they are not given again, and none is kept where that is off."""
    settings = replace(OFFLINE, answers=AnswerSettings(age_s=100.0))
    manager = await opened(model("a:1", "One.", AWAY, AWAY), settings=settings)
    await (await manager.create()).say("first")
    assert (await (await manager.create()).say("first")).message.model == "cache"
    await clock.advance(101.0)
    assert (await (await manager.create()).say("first")).message.model == "offline"
    off = replace(OFFLINE, answers=AnswerSettings(keep=0))
    manager = await opened(model("a:1", "One.", AWAY), settings=off)
    await (await manager.create()).say("first")
    assert (await (await manager.create()).say("first")).message.model == "offline"


async def test_another_tenant_has_other_answers(opened: Opened, tmp_path: Path) -> None:
    """What one was answered is never said to another."""
    path = tmp_path / "chat.db"
    ours = await opened(model("a:1", "Secret."), path=path, settings=OFFLINE)
    await (await ours.create()).say("the plan?")
    theirs = await opened(
        model("a:1", AWAY), path=path, settings=OFFLINE, scope=Scope("other", "eve")
    )
    assert (await (await theirs.create()).say("the plan?")).message.model == "offline"


async def test_a_shape_is_filled_in_by_an_earlier_answer_or_not_at_all(opened: Opened) -> None:
    """The offline responder cannot fill one in: then the failure is said."""
    shape = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    manager = await opened(model("a:1", '{"n": 1}', AWAY, AWAY), settings=OFFLINE)
    await (await manager.create()).say("count", output=shape)
    again = await (await manager.create()).say("count", output=shape)
    assert (again.output, again.message.model) == ({"n": 1}, "cache")
    with pytest.raises(ConnectionFailed):
        await (await manager.create()).say("count again", output=shape)


async def test_an_emergency_compaction_is_a_step_down(opened: Opened) -> None:
    """Until a call succeeds without one."""
    long = "\n\n".join(f"Paragraph {n} about the harvest of {1900 + n}. " * 12 for n in range(12))
    full = Fail(ContextOverflow("too long"))
    chosen = model("a:1", long, long, long, full, "Short.", "More.", window=200_000)
    conversation = await (await opened(chosen)).create()
    for text in "abc":
        assert news(await told(conversation, text)) == []
    assert news(await told(conversation, "d")) == [L.SMALLER_WINDOW]
    assert Feature.WHOLE_WINDOW in conversation.degraded.features.unavailable
    assert news(await told(conversation, "e")) == ["full"]


async def test_a_store_that_is_full_is_read_only(opened: Opened, tmp_path: Path) -> None:
    """What is there can be read; when it takes something again, all is well."""
    full = Fault(Raise(lambda: StoreFull("no space left")), nth=2)
    faults = Faults({"store.accept.before": full})
    store = await SqliteStore.open(tmp_path / "chat.db")
    chosen = model("a:1", "One.", "Two.")
    manager = await opened(chosen, store=faults.store(store), path=tmp_path / "chat.db")
    conversation = await manager.create()
    await conversation.say("a")
    with pytest.raises(StoreFull):
        await conversation.say("b")
    degraded = conversation.degraded
    assert degraded.level is L.READ_ONLY
    assert Feature.MESSAGES in degraded.features.unavailable
    assert Feature.READING in degraded.features.available
    await conversation.say("c")
    assert not conversation.degraded.is_degraded
    await store.close()


async def test_without_being_asked_a_turn_fails_and_says_what_is_left(opened: Opened) -> None:
    """`fail`: nothing stands in; the level says that there are no answers now."""
    settings = replace(OFFLINE, outbox=OutboxSettings())
    conversation = await (await opened(model("a:1", AWAY, AWAY, AWAY), settings=settings)).create()
    events = await told(conversation, "a")
    assert news(events) == [L.READ_ONLY]
    assert news(await told(conversation, "b")) == []
    with pytest.raises(CircuitBreakerOpenError):
        await conversation.say("c")
    assert conversation.degraded.level is L.READ_ONLY
