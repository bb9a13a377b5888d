"""What compaction in a conversation promises: the window shrinks by itself, and nothing is lost."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import palaver
from palaver import Conversation, ConversationManager
from palaver.domain.errors import (
    ActionBlocked,
    ContextOverflow,
    ContextWindowExceeded,
    ConversationBusy,
    InvalidInput,
    NotFound,
)
from palaver.domain.events import Compacted, SideRequestMade
from palaver.domain.messages import Role
from palaver.domain.state import ConversationState
from palaver.domain.stream import (
    CompactionSkipped,
    CompactionStarted,
    ContextCompacted,
    StreamEvent,
    TurnCompleted,
    TurnFailed,
)
from palaver.domain.values import Scope
from palaver.providers.base import ModelInfo, ModelRequest
from palaver.service.actions import CompactContext, StateAction
from palaver.settings import CompactionSettings, Settings
from palaver.testing import ScriptedModel, valid_history
from palaver.testing.script import Call, Pause

SMALL = CompactionSettings(window=4_000, minimum=500, summaries="off")
MODEL = ModelInfo("scripted:model", window=20_000, max_output=500)
ANSWER = "The lamp number 4711 in room B12 costs 30 euros. " * 12
Opened = Callable[..., Any]


def _question(number: int) -> str:
    return f"Question {number}: what about order #{1000 + number}? " + "Please be brief. " * 20


def _model(info: ModelInfo = MODEL) -> ScriptedModel:
    model = ScriptedModel(info=info)
    model.when("Question", ANSWER)
    return model


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    """`await opened(model, context=…)` gives a manager in memory."""
    async with AsyncExitStack() as stack:

        async def open_with(
            model: ScriptedModel, context: CompactionSettings = SMALL, **options: Any
        ) -> ConversationManager:
            settings = Settings(context=context)
            path = options.pop("path", ":memory:")
            door = palaver.open(path, model=model, settings=settings, **options)
            return await stack.enter_async_context(door)

        yield open_with


async def _talk(conversation: Conversation, turns: int, *, first: int = 0) -> list[StreamEvent]:
    events: list[StreamEvent] = []
    for number in range(first, first + turns):
        events += [event async for event in conversation.stream(_question(number))]
    return events


def _of(events: list[StreamEvent], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def _texts(messages: Any) -> list[str]:
    return [message.text for message in messages]


async def test_a_long_conversation_goes_on_in_a_small_window(opened: Opened) -> None:
    """Sixty turns in a window for twelve: each is answered, each request fits and is valid, and the
    record holds every message."""
    model = _model()
    conversation = await (await opened(model)).create()
    events = await _talk(conversation, 60)
    assert len(_of(events, TurnCompleted)) == 60
    assert len(_of(events, ContextCompacted)) >= 3
    assert not model.problems
    assert len(conversation.messages) == 120
    assert _texts(conversation.messages)[::2] == [_question(n) for n in range(60)]
    assert not valid_history(list(conversation.state.window))
    reported = [r.usage.input for r in _of(events, palaver.UsageReported)]
    assert max(reported) < 4_000


async def test_the_fact_is_durable_before_the_request(opened: Opened) -> None:
    """The request behind a compaction is sent when the log holds it, and is what it says."""
    model, seen = _model(), list[int]()
    manager = await opened(model)
    conversation = await manager.create()
    await _talk(conversation, 6)

    async def count(change: Any) -> None:
        if any(isinstance(fact, Compacted) for fact in change.facts):
            seen.append(len(model.requests))

    conversation.states.subscribe(count)
    events = await _talk(conversation, 14, first=6)
    assert len(seen) == len(_of(events, ContextCompacted)) > 0
    state: ConversationState = conversation.state
    sent = model.requests[-1].messages
    assert list(sent) == list(state.window)[: len(sent)]


async def test_between_the_rounds_of_tools(opened: Opened) -> None:
    """A turn that calls tool after tool makes room in its middle, and calls keep their results."""
    model = ScriptedModel(info=MODEL)

    @palaver.tool(effect="read")
    async def look(number: int) -> str:
        """Look something up."""
        return f"row {number}: " + "value 12, " * 150

    model.script([[Call("look", {"number": n})] for n in range(20)] + ["done"])
    manager = await opened(model, tools=[look])
    conversation = await manager.create()
    events = await _talk(conversation, 1)
    assert isinstance(events[-1], TurnCompleted)
    assert len(_of(events, ContextCompacted)) >= 2
    assert not model.problems
    assert len(conversation.messages) == 2 + 2 * 20


async def test_undo_brings_the_window_back_and_holds(opened: Opened) -> None:
    """After an undo the next request holds all messages again, and nothing is made smaller until it
    would not fit the model."""
    model = _model(replace(MODEL, window=6_000))
    conversation = await (await opened(model)).create()
    while conversation.state.compaction is None:
        await _talk(conversation, 1, first=len(conversation.messages))
    await conversation.undo_compaction()
    assert list(conversation.state.window) == list(conversation.messages)
    events = await _talk(conversation, 1, first=900)
    assert not _of(events, ContextCompacted)
    assert len(model.requests[-1].messages) == len(conversation.messages) - 1
    later = await _talk(conversation, 12, first=901)
    assert _of(later, ContextCompacted)
    assert not _of(later, TurnFailed)
    with pytest.raises(InvalidInput):
        await (await (await opened(_model())).create()).undo_compaction()


async def test_preview_changes_nothing_and_apply_does_what_it_said(opened: Opened) -> None:
    """A preview names what goes and what stays with tokens and money, and applying it does that."""
    conversation = await (await opened(_model())).create()
    await _talk(conversation, 5)
    before = conversation.state
    preview = await conversation.preview_compaction()
    assert conversation.state.compaction is None
    assert list(conversation.state.window) == list(before.window)
    assert preview.tokens_after < preview.tokens_before
    assert all(fact.survives for fact in preview.facts)
    assert {fact.kind for fact in preview.facts} >= {"first_request", "latest_request"}
    report = await conversation.compact(preview=preview)
    assert report.compaction is preview.compaction
    assert tuple(conversation.state.window) == preview.stays
    assert set(_texts(preview.goes)) | set(_texts(preview.stays)) >= set(_texts(before.messages))
    assert preview.cache.tokens_shed == preview.tokens_before - preview.tokens_after


async def test_a_preview_of_another_branch_is_refused(opened: Opened) -> None:
    """What was previewed before an undo cannot be applied after it, and nothing happens."""
    conversation = await (await opened(_model())).create()
    await _talk(conversation, 5)
    preview = await conversation.preview_compaction()
    await conversation.undo()
    await _talk(conversation, 1, first=70)
    with pytest.raises(InvalidInput, match="preview"):
        await conversation.compact(preview=preview)
    assert conversation.state.compaction is None


async def test_originals_come_back(opened: Opened) -> None:
    """Any message can be read by its handle, and put back into the window in its place."""
    conversation = await (await opened(_model())).create()
    await _talk(conversation, 6)
    await conversation.compact()
    gone = [
        number
        for number, message in enumerate(conversation.messages, 1)
        if message not in list(conversation.state.window)
    ]
    name = f"m{gone[0]}"
    assert conversation.originals(name) == (conversation.messages[gone[0] - 1],)
    await conversation.expand(name)
    window = list(conversation.state.window)
    assert conversation.messages[gone[0] - 1] in window
    kept = [m for m in window if m in list(conversation.messages)]
    assert kept == sorted(kept, key=list(conversation.messages).index)
    with pytest.raises(InvalidInput):
        await conversation.expand(name)
    with pytest.raises(NotFound):
        conversation.originals("m999")


async def test_pinned_messages_stay(opened: Opened) -> None:
    """What a person pinned stands in the window word for word, however often it shrinks."""
    conversation = await (await opened(_model())).create()
    await _talk(conversation, 3)
    pinned = conversation.messages[3]
    await conversation.pin(pinned.id)
    await _talk(conversation, 30, first=3)
    assert conversation.state.compaction is not None
    assert pinned in list(conversation.state.window)


async def test_two_that_gain_nothing_end_it(opened: Opened) -> None:
    """Where nothing can be made smaller this is said twice, then no more is tried by itself."""
    model = _model(replace(MODEL, window=None))
    conversation = await (await opened(model)).create(system="Obey. " * 3_000)
    events = await _talk(conversation, 4)
    skipped = _of(events, CompactionSkipped)
    assert [skip.has_stopped for skip in skipped] == [False, True]
    assert len(_of(events, TurnCompleted)) == 4


async def test_a_provider_that_counts_more_is_obeyed(opened: Opened) -> None:
    """An overflow before content makes room without a model and asks once more, in this turn."""
    model = ScriptedModel(info=MODEL)
    model.script([ANSWER] * 4 + [ContextOverflow("too long"), "all is well"])
    conversation = await (await opened(model)).create()
    events = await _talk(conversation, 5)
    assert isinstance(events[-1], TurnCompleted)
    assert [e.reason for e in _of(events, CompactionStarted)] == ["overflow"]
    assert len(model.requests[-1].messages) < len(model.requests[-2].messages)
    assert conversation.messages[-1].text == "all is well"


async def test_a_second_overflow_names_what_cannot_shrink(opened: Opened) -> None:
    """Where even the smaller request is too long, the error says which part takes the room."""
    model = ScriptedModel(info=MODEL)
    model.script([ANSWER] * 4 + [ContextOverflow("too long"), ContextOverflow("still too long")])
    conversation = await (await opened(model)).create(system="Obey. " * 500)
    events = await _talk(conversation, 5)
    failed = events[-1]
    assert isinstance(failed, TurnFailed)
    assert failed.error.code == "context_overflow"
    assert "the system prompt" in failed.error.hint


async def test_what_cannot_fit_is_refused_before_it_is_sent(opened: Opened) -> None:
    """A message larger than the model's window costs no request and names itself."""
    model = _model(replace(MODEL, window=3_000))
    conversation = await (await opened(model)).create()
    with pytest.raises(ContextWindowExceeded) as caught:
        await conversation.say("word " * 5_000)
    assert not model.requests
    assert "newest message" in caught.value.hint


async def test_a_smaller_model_in_mid_conversation(opened: Opened) -> None:
    """Going on with a model of a smaller window makes room for it first."""
    large, small = _model(replace(MODEL, window=100_000)), replace(MODEL, window=3_000)
    context = replace(SMALL, window=50_000, minimum=10_000)
    manager = await opened(large, context)
    conversation = await manager.create()
    await _talk(conversation, 10)
    large._info = small  # the same conversation, a model that takes less
    events = await _talk(conversation, 1, first=10)
    assert isinstance(events[-1], TurnCompleted)
    assert _of(events, ContextCompacted)
    assert not large.problems


async def test_middleware_sees_and_blocks_it(opened: Opened) -> None:
    """A command to compact passes middleware before anything is read or paid for."""
    manager = await opened(_model())

    async def no(action: StateAction, state: ConversationState) -> StateAction:
        if isinstance(action, CompactContext):
            raise ActionBlocked("not here")
        return action

    manager.use(no)
    conversation = await manager.create()
    await _talk(conversation, 4)
    with pytest.raises(ActionBlocked):
        await conversation.compact()
    assert conversation.state.compaction is None


async def test_not_while_a_turn_is_open(opened: Opened) -> None:
    """A person cannot change the window under a running turn."""
    going = asyncio.Event()
    model = ScriptedModel([[ANSWER], [Pause(until=going), "late"]], info=MODEL)
    conversation = await (await opened(model)).create()
    await _talk(conversation, 1)
    session = await conversation.start(_question(1))
    with pytest.raises(ConversationBusy):
        await conversation.compact()
    going.set()
    async for _ in session.events():
        pass


# By a model.


def _is_summary(request: ModelRequest) -> bool:
    return not request.messages[-1].text.startswith("Question")


def _writer(request: ModelRequest) -> Any:
    """A summary of whatever is asked about, where one is asked for; else the usual answer."""
    if not _is_summary(request):
        return ANSWER
    return ["## Goal\nThe person asks about orders. [m1]\n## Next step\nAnswer the next one."]


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(6000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to pass")


async def test_a_summary_is_ready_before_it_is_needed(opened: Opened) -> None:
    """From the lower mark on a model writes in the background; the turn at the trigger swaps the
    result in, with what was said meanwhile behind it, and the cost is in the ledger."""
    model = ScriptedModel(info=MODEL)
    model.when("", _writer)
    manager = await opened(model, replace(SMALL, summaries="prepared"))
    conversation = await manager.create()
    preparations = conversation._runner.preparations
    events: list[StreamEvent] = []
    number = 0
    while not _of(events, ContextCompacted):
        events += await _talk(conversation, 1, first=number)
        number += 1
        await _until(lambda: not preparations.is_under_way(conversation.id))
    assert _of(events, CompactionStarted)[0].is_prepared
    [made] = _of(events, ContextCompacted)
    assert made.model == MODEL.name
    assert made.strategy == "chronological_summary"
    facts = await manager.store.read(Scope(), conversation.id, kinds=["side_request.made"])
    assert [type(f.event) for f in facts] == [SideRequestMade]
    summary = conversation.state.compaction
    assert summary is not None
    assert summary.summary is not None
    assert "asks about orders" in summary.summary.text
    assert list(conversation.state.window)[-2].text == _question(number - 1)


@pytest.mark.parametrize("change", ["branch", "redact", "pin"])
async def test_a_stale_preparation_is_dropped(opened: Opened, change: str) -> None:
    """What was prepared before a branch was left, a message erased or pinned is never used."""
    model = ScriptedModel(info=MODEL)
    model.when("", _writer)
    manager = await opened(model, replace(SMALL, summaries="prepared"))
    conversation = await manager.create()
    preparations = conversation._runner.preparations
    number = 0
    while not preparations.is_ready(conversation.id):
        await _talk(conversation, 1, first=number)
        number += 1
        await _until(lambda: not preparations.is_under_way(conversation.id))
    state = conversation.state
    need = manager._runner.window.when_asked(conversation.context_window())
    if change == "branch":
        while len(conversation.messages) > 4:
            await conversation.undo()
        await _talk(conversation, 8, first=800)
    elif change == "redact":
        await conversation.redact(conversation.messages[1].id)
    else:
        await conversation.pin(conversation.messages[1].id)
    assert conversation.state is not state
    assert preparations.take(conversation.state, need) is None


async def test_closing_cancels_what_is_being_prepared(opened: Opened) -> None:
    """A preparation that hangs does not keep the program from ending."""
    model = ScriptedModel(info=MODEL)
    never = asyncio.Event()

    def hangs(request: ModelRequest) -> Any:
        return [Pause(until=never), "late"] if _is_summary(request) else ANSWER

    model.when("", hangs)
    settings = Settings(context=replace(SMALL, summaries="prepared"))
    async with palaver.open(":memory:", model=model, settings=settings) as manager:
        conversation = await manager.create()
        preparations = conversation._runner.preparations
        number = 0
        while not preparations.is_under_way(conversation.id):
            await _talk(conversation, 1, first=number)
            number += 1
        await _until(lambda: len(model.streams) > number)
    assert model.streams[-1].is_closed


async def test_inline_waits_for_the_summary(opened: Opened) -> None:
    """By setting a turn waits for the model's summary instead."""
    model = ScriptedModel(info=MODEL)
    model.when("", _writer)
    manager = await opened(model, replace(SMALL, summaries="inline"))
    conversation = await manager.create()
    events = await _talk(conversation, 14)
    made = _of(events, ContextCompacted)
    assert made
    assert all(m.model == MODEL.name for m in made)
    assert conversation.state.usage.total > sum(
        u.usage.total for u in _of(events, palaver.UsageReported)
    )


async def test_a_cancel_ends_a_turn_that_waits_for_a_summary(opened: Opened) -> None:
    """Cancel works while a summary is written inline, and the message stays."""
    model = ScriptedModel(info=MODEL)
    never = asyncio.Event()

    def hangs(request: ModelRequest) -> Any:
        return [Pause(until=never), "late"] if _is_summary(request) else ANSWER

    model.when("", hangs)
    manager = await opened(model, replace(SMALL, summaries="inline"))
    conversation = await manager.create()
    number = 0
    session = await conversation.start(_question(number))
    while not (model.streams and _is_summary(model.streams[-1].request)):
        if session.is_ended:
            number += 1
            session = await conversation.start(_question(number))
        await asyncio.sleep(0.001)
    await conversation.cancel()
    assert conversation.state.turn is None
    assert conversation.messages[-1].role is Role.USER
    assert model.streams[-1].is_closed


async def test_the_model_recalls_what_was_compacted(opened: Opened) -> None:
    """From the first compaction on the model is offered `recall`, and gets the original by handle;
    before it no request has a tool more."""
    model = _model()
    conversation = await (await opened(model)).create()
    await _talk(conversation, 6)
    assert all(not request.tools for request in model.requests)
    await conversation.compact()
    model.script([[Call("recall", {"messages": "m2"})], "I see."])
    reply = await conversation.say("What did you say at first?")
    assert reply.text == "I see."
    assert [tool.name for tool in model.requests[-1].tools] == ["recall"]
    assert ANSWER.strip() in conversation.messages[-2].tool_results[0].text
    await conversation.undo_compaction()
    await _talk(conversation, 1)
    assert not model.requests[-1].tools


async def test_a_strategy_of_ones_own(opened: Opened) -> None:
    """What is handed in can be asked for by name, and tells the writer what to dwell on."""

    class Haiku:
        name = "haiku"

        def emphasis(self, matter: Any) -> str:
            return "Write it as a haiku about orders."

    model = ScriptedModel(info=MODEL)
    model.when("", _writer)
    manager = await opened(model, replace(SMALL, summaries="inline"), strategies=[Haiku()])
    conversation = await manager.create()
    await _talk(conversation, 8)
    report = await conversation.compact(strategy="haiku")
    assert report.compaction.strategy == "haiku"
    assert "haiku about orders" in model.requests[-1].messages[-1].text
    with pytest.raises(palaver.ConfigurationError):
        await conversation.compact(strategy="sonnet")


async def test_a_lossless_export_keeps_the_window(opened: Opened) -> None:
    """What was compacted, and undone, comes along; the record and the window are the same there."""
    manager = await opened(_model())
    conversation = await manager.create()
    await _talk(conversation, 8)
    await conversation.compact()
    document = await manager.export(conversation.id, "jsonl")
    [report] = await manager.import_conversations(document, name="c.jsonl")
    taken = await manager.open(report.conversation)
    assert _texts(taken.messages) == _texts(conversation.messages)
    assert _texts(taken.state.window) == _texts(conversation.state.window)
    assert taken.originals("m2")[0].text == ANSWER


async def test_a_crash_between_the_fact_and_the_request(opened: Opened, tmp_path: Path) -> None:
    """A program that dies when the window is smaller and nothing was sent leaves what the log says:
    the message, the smaller window, and a turn that was interrupted; the talk goes on."""
    model, never = _model(), asyncio.Event()
    manager = await opened(model, path=tmp_path / "a" / "c.db")
    conversation = await manager.create()
    await _talk(conversation, 8)
    await conversation.compact()
    model.when("Stop here", [Pause(until=never)])
    session = await conversation.start("Stop here")
    await _until(lambda: bool(model.streams) and not model.streams[-1].is_done)
    left = tmp_path / "b" / "c.db"
    left.parent.mkdir()
    for name in ("c.db", "c.db-wal"):  # what the disk holds at this moment
        if (tmp_path / "a" / name).exists():
            shutil.copy(tmp_path / "a" / name, left.parent / name)
    async with palaver.open(left, model=_model(), settings=Settings(context=SMALL)) as later:
        found = await later.open(conversation.id)
        assert found.state.turn is None
        assert found.state.compaction == conversation.state.compaction
        assert _texts(found.messages)[-1] == "Stop here"
        assert (await found.say(_question(99))).text == ANSWER
    session.cancel()
