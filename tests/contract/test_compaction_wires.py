"""Compaction against a strict provider, over each of the three wires and with every strategy."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from msgspec.structs import replace

import palaver
from palaver import Conversation, StreamEvent, TurnCompleted, TurnFailed, UsageReported, tool
from palaver.domain.compaction import Tier
from palaver.domain.errors import ContextOverflow, Overloaded
from palaver.domain.events import SideRequestMade
from palaver.domain.stream import CompactionStarted, ContextCompacted
from palaver.domain.values import Scope
from palaver.settings import Clocks, CompactionSettings, RetrySettings, Settings
from palaver.testing import Call, Decline, Fail, valid_history
from palaver.testing.provider_server import ProviderServer
from tests.contract.test_wires import WIRES, model_of

CONTEXT = CompactionSettings(window=6_000, minimum=500, summaries="off")
ONCE = RetrySettings(network_attempts=1, rate_limit_attempts=1)
ANSWER = "The lamp number 4711 in room B12 costs 30 euros. " * 12
SUMMARY = "## Goal\nThe person asks about orders. [m1]\n## Next step\nAnswer the next question."


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with ProviderServer(piece=0, window=6_500) as server:
        _answer_with(server, [SUMMARY])
        yield server


def _answer_with(server: ProviderServer, summary: Any) -> None:
    """Questions get the usual answer; whoever asks for a summary gets this."""
    server.default = lambda r: ANSWER if r.said.startswith("Question") else summary


@pytest.fixture(params=WIRES)
async def begin(request: Any, server: ProviderServer) -> AsyncIterator[Any]:
    """`await begin(context=…)` gives a conversation over one of the wires."""
    async with AsyncExitStack() as stack:

        async def made(context: CompactionSettings = CONTEXT, **options: Any) -> Conversation:
            model = model_of(request.param, server, Clocks())
            stack.push_async_callback(model.aclose)
            settings = Settings(context=context, retry=ONCE)
            door = palaver.open(":memory:", model=model, settings=settings, **options)
            manager = await stack.enter_async_context(door)
            made.manager = manager  # type: ignore[attr-defined]
            return await manager.create(max_tokens=300)

        yield made


async def _talk(conversation: Conversation, turns: int, *, first: int = 0) -> list[StreamEvent]:
    events: list[StreamEvent] = []
    for n in range(first, first + turns):
        said = f"Question {n}: what about order #{1000 + n}? " + "Please be brief. " * 20
        events += [event async for event in conversation.stream(said)]
    return events


def _refused(server: ProviderServer) -> list[str]:
    """Errors, but for the one by which an adapter learns how OpenAI names a parameter."""
    errors = (r.error for r in server.journal if r.status != 200)
    return [error for error in errors if "max_completion_tokens" not in error]


def _of(events: list[StreamEvent], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


async def test_a_long_conversation(server: ProviderServer, begin: Any) -> None:
    """Forty turns where the provider takes a third of them: each is answered, none is refused, and
    the record holds every word."""
    conversation = await begin()
    events = await _talk(conversation, 40)
    assert len(_of(events, TurnCompleted)) == 40
    assert len(_of(events, ContextCompacted)) >= 2
    assert not _refused(server)
    assert len(conversation.messages) == 80
    assert max(e.usage.prompt for e in _of(events, UsageReported)) < 6_000


async def test_with_tools(server: ProviderServer, begin: Any) -> None:
    """A turn that calls tool after tool fits on the way; no call is parted from its result."""

    @tool(effect="read")
    async def look(number: int) -> str:
        """Look something up."""
        return f"row {number}: " + "value 12, " * 150

    server.script([[Call("look", {"number": n})] for n in range(14)])
    server.script(["done"])
    conversation = await begin(tools=[look])
    events = [event async for event in conversation.stream("Look at all rows.")]
    assert isinstance(events[-1], TurnCompleted)
    assert _of(events, ContextCompacted)
    assert not _refused(server)
    assert not valid_history(list(conversation.state.window))


async def test_the_provider_counts_more(server: ProviderServer, begin: Any) -> None:
    """Where we believe that there is room and the provider does not, the turn makes room once and
    goes on; the caller sees an answer."""
    conversation = await begin(replace(CONTEXT, window=200_000))
    events = await _talk(conversation, 30)
    assert len(_of(events, TurnCompleted)) == 30
    assert {e.reason for e in _of(events, CompactionStarted)} == {"overflow"}
    assert _refused(server)


async def test_an_overflow_that_stays(server: ProviderServer, begin: Any) -> None:
    """What is too long even then fails with the provider's error, which names the large part."""
    conversation = await begin(replace(CONTEXT, window=200_000))
    await conversation.set_preferences(system="Obey the rules. " * 300)
    await _talk(conversation, 3)
    server.script([Fail(ContextOverflow("too long")), Fail(ContextOverflow("too long"))])
    events = [event async for event in conversation.stream("And now?")]
    assert isinstance(events[-1], TurnFailed)
    assert events[-1].error.code == "context_overflow"
    assert "system prompt" in events[-1].error.hint


@pytest.mark.parametrize(
    "strategy",
    ["preserve_tool_context", "topic_based_summarization", "chronological_summary"],
)
async def test_each_strategy(server: ProviderServer, begin: Any, strategy: str) -> None:
    """A model writes by the strategy that was asked for, told what to keep; the next request holds
    what it wrote, and the provider takes it."""
    conversation = await begin(replace(CONTEXT, summaries="inline"))
    await _talk(conversation, 14)
    report = await conversation.compact(strategy=strategy, instructions="Keep the order numbers.")
    assert report.compaction.strategy == strategy
    assert report.compaction.tiers == (Tier.SUMMARY,)
    assert report.cost_usd is not None
    assert report.cost_usd > 0
    asked = str(server.journal[-1].body)
    assert "Keep the order numbers." in asked
    await _talk(conversation, 1, first=14)
    assert "asks about orders" in str(server.journal[-1].body)
    assert server.journal[-1].status == 200


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(["lorem ipsum QX-99817 zz_unknown_name /etc/nowhere " * 20], id="rubbish"),
        pytest.param([""], id="nothing"),
        pytest.param(["word " * 9_000], id="too-much"),
        pytest.param([Decline("I cannot do that.")], id="a-refusal"),
        pytest.param([Fail(ContextOverflow("too long"))], id="an-overflow"),
        pytest.param([Fail(Overloaded("busy"))], id="an-error"),
    ],
)
async def test_a_summariser_that_fails(server: ProviderServer, begin: Any, wrong: Any) -> None:
    """Whatever it gives instead of a summary, the window becomes smaller without it, all facts
    survive, the talk goes on, and its requests are on the ledger."""
    conversation = await begin(replace(CONTEXT, summaries="inline"))
    await _talk(conversation, 8)
    before = len(list(server.journal))
    _answer_with(server, wrong)
    report = await conversation.compact()
    assert report.compaction.model == ""
    assert report.tokens_after < report.tokens_before
    assert all(fact.survives for fact in report.facts)
    asked = len(list(server.journal)) - before
    store = begin.manager.store
    facts = await store.read(Scope(), conversation.id, kinds=["side_request.made"])
    assert sum(isinstance(f.event, SideRequestMade) for f in facts) == asked > 0
    events = await _talk(conversation, 1, first=8)
    assert isinstance(events[-1], TurnCompleted)


async def test_an_imported_conversation_goes_on(server: ProviderServer, begin: Any) -> None:
    """A conversation from elsewhere that is far too long for the window is taken up at once."""
    await begin()
    messages = []
    for n in range(60):
        messages.append({"role": "user", "content": f"Question {n}: " + "words " * 150})
        messages.append({"role": "assistant", "content": ANSWER})
    import msgspec

    [report] = await begin.manager.import_conversations(
        msgspec.json.encode(messages), name="long.json"
    )
    taken = await begin.manager.open(report.conversation)
    await taken.set_preferences(max_tokens=300)
    events = await _talk(taken, 1, first=60)
    assert isinstance(events[-1], TurnCompleted)
    assert _of(events, ContextCompacted)
    assert len(taken.messages) == 122
