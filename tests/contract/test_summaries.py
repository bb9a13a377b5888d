"""A model in the loop writes summaries, over each of the three wires, well and in every bad way."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import pytest

import palaver
from palaver import Conversation, tool
from palaver.context.strategy import CompactionStrategy
from palaver.domain.compaction import Tier
from palaver.domain.errors import ContextOverflow, Overloaded
from palaver.domain.events import SideRequestMade
from palaver.domain.messages import StopReason
from palaver.domain.values import Scope
from palaver.settings import Clocks, CompactionSettings, RetrySettings, Settings
from palaver.testing import Call, Decline, Fail, Say, Stop, Think, valid_history
from palaver.testing.provider_server import ProviderServer
from palaver.testing.provider_server.journal import Received
from tests.contract.test_wires import WIRES, model_of

SETTINGS = Settings(
    retry=RetrySettings(network_attempts=1, rate_limit_attempts=1),
    context=CompactionSettings(automatic=False, summary_tokens=300),
)
MANY = "The lamp number 4711 in room B12 costs 30 euros and hangs over the long table. " * 14
SUMMARY = (
    "## Goal\nThe user asks about the lamp 4711 in room B12 [m1]\n"
    "## Progress\n- Done: the price of the lamp was told, 30 euros [m2, m4]\n"
    "## Next step\nAnswer the next question about the lamp [m3]"
)
ASKED = "Write in the language of the conversation"
Begin: TypeAlias = Any


@tool(effect="read")
async def stock(lamp: int) -> str:
    """How many lamps are left."""
    return f"There are 3 of lamp {lamp} in room B12. " * 8


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with ProviderServer(piece=400) as server:
        yield server


@pytest.fixture(params=WIRES)
async def begin(request: Any, server: ProviderServer) -> AsyncIterator[Begin]:
    """`await begin()` gives a conversation of eight turns over one of the wires."""
    async with AsyncExitStack() as stack:

        async def talked() -> Conversation:
            model = model_of(request.param, server, Clocks())
            stack.push_async_callback(model.aclose)
            door = palaver.open(":memory:", model=model, settings=SETTINGS, tools=[stock])
            manager = await stack.enter_async_context(door)
            begun = await manager.create()
            talked.manager = manager  # type: ignore[attr-defined]
            for number in range(4):
                server.script([[Think("Hm."), Say(MANY)], MANY])
                await begun.say(f"Question {number}: what of the lamp? Never drop lamp 4711.")
                await begun.say(f"And what does the lamp in room B{number} cost?")
            return begun

        yield talked


async def paid(begin: Begin, conversation: Conversation) -> list[SideRequestMade]:
    """What the ledger has of requests for summaries."""
    rows = await begin.manager.store.read(Scope(), conversation.id, kinds=["side_request.made"])
    return [row.event for row in rows if isinstance(row.event, SideRequestMade)]


def taken(server: ProviderServer) -> list[Received]:
    """The requests without the one by which an adapter learns what a parameter is called."""
    return [each for each in server.journal if "Unsupported parameter" not in each.error]


@pytest.mark.parametrize("strategy", CompactionStrategy)
async def test_a_good_summary(server: ProviderServer, begin: Begin, strategy: str) -> None:
    """By each strategy the summary stands in the window; the provider takes the next request."""
    conversation = await begin()
    server.when(ASKED, SUMMARY)
    report = await conversation.compact(strategy=strategy, instructions="Keep prices.")
    assert report.compaction.strategy == strategy
    assert Tier.SUMMARY in report.compaction.tiers
    assert all(fact.survives for fact in report.facts)
    assert report.summary is not None
    assert "price of the lamp was told" in report.summary.text
    assert "Never drop lamp 4711." in report.summary.text
    asked = server.journal[-1]
    assert "Keep prices." in asked.said
    assert asked.tools == {}
    (row,) = await paid(begin, conversation)
    assert row.usage.total > 0
    server.script(["It costs 30 euros."])
    reply = await conversation.say("So, once more: the price?")
    assert reply.text == "It costs 30 euros."
    assert valid_history(list(conversation.state.window)) == []
    assert {record.error for record in taken(server)} == {""}


BAD: dict[str, Any] = {
    "rubbish": "lorem ORD-77 XK-12 /etc/none ZZ-99 [m1]",
    "nothing": [Say("")],
    "reasoning only": [Think("I think and think."), Stop(StopReason.MAX_TOKENS)],
    "too much": "## Goal\n" + "\n".join(f"The lamp, thought {n} of it [m1]" for n in range(900)),
    "refusal": [Decline("I cannot do that.")],
    "refusal in words": "I'm sorry, but I can't help with that.",
    "overflow": [Fail(ContextOverflow("prompt is too long"))],
    "error": [Fail(Overloaded("overloaded"))],
    "truncated": [Say(SUMMARY[:80]), Stop(StopReason.MAX_TOKENS)],
    "answers instead": "The lamp costs 30 euros. What else would you like to know?",
}


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD.keys())
async def test_a_bad_summary(server: ProviderServer, begin: Begin, answer: Any) -> None:
    """Whatever the writer does, the window is made smaller without it, and all of it is paid."""
    conversation = await begin()
    server.when(ASKED, answer)
    before = len(taken(server))
    report = await conversation.compact()
    assert Tier.SUMMARY not in report.compaction.tiers
    assert report.tokens_after < report.tokens_before
    assert report.compaction.model == ""
    requests = len(taken(server)) - before
    assert requests >= 1
    assert len(await paid(begin, conversation)) == requests
    server.script(["It costs 30 euros."])
    assert (await conversation.say("The price?")).text == "It costs 30 euros."
    assert valid_history(list(conversation.state.window)) == []


async def test_a_repaired_summary(server: ProviderServer, begin: Begin) -> None:
    """A first answer that names what nobody said is asked for again, and the second one counts."""
    conversation = await begin()
    server.when("could not be used", SUMMARY)
    server.when(ASKED, SUMMARY + "\nSee ORD-99871 and /srv/other/key.pem [m1]")
    report = await conversation.compact()
    assert Tier.SUMMARY in report.compaction.tiers
    assert report.summary is not None
    assert "ORD-99871" not in report.summary.text
    assert "ORD-99871" in server.journal[-1].said
    assert len(await paid(begin, conversation)) == 2


async def test_tools_in_the_head(server: ProviderServer, begin: Begin) -> None:
    """Calls and their results are shown to the writer, and what stays is valid for the wire."""
    conversation = await begin()
    for _ in range(2):
        server.script([[Say("I look."), Call("stock", {"lamp": 4711})], "Three are left. " * 30])
        await conversation.say("Look at lamp 4711")
    for number in range(3):
        server.script([MANY])
        await conversation.say(f"Say it again, {number}")
    server.when(ASKED, SUMMARY)
    report = await conversation.compact(strategy="preserve_tool_context")
    assert Tier.SUMMARY in report.compaction.tiers
    server.script(["Yes."])
    assert (await conversation.say("Good?")).text == "Yes."
    assert {record.error for record in taken(server)} == {""}
