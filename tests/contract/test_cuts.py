"""Streams that break at any byte, over each of the three wires, against a provider that goes on.

What a person reads is one complete answer: no character twice, none missing.
"""

import random
from collections import Counter

import pytest

import palaver
from palaver import AttemptStarted, Conversation, StreamEvent, TextDelta
from palaver.domain.messages import Flag
from palaver.settings import BudgetSettings, Clocks, RetrySettings, Settings
from palaver.testing import Line, Think
from palaver.testing.provider_server import ProviderServer, Reply, Severed, continuing
from tests.contract.test_wires import WIRES, model_of

AT_ONCE = Settings(
    retry=RetrySettings(network_base_s=0.0, resumes=3),
    budget=BudgetSettings(tokens=1e9),
    titles="off",
)
WORDS = ["the", "fox", "jumped", "over", "and", "then", "it", "went", "on", "and", "on", "again"]
WORDS += ["Straße", "naïve", "東京", "для", "👩\u200d👧", "x²", "“quoted”", "<b>", "&", "\\n", "{}"]


def answer(chance: random.Random) -> str:
    """Prose, lists, tables whose rows repeat, code and blank lines, as models write them."""
    parts = []
    for _ in range(chance.randint(1, 5)):
        kind = chance.randrange(4)
        if kind == 0:
            parts.append(" ".join(chance.choices(WORDS, k=chance.randint(3, 60))))
        elif kind == 1:
            parts.append("| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * chance.randint(1, 12))
        elif kind == 2:
            parts.append("```python\n" + "    pass\n\n" * chance.randint(1, 8) + "```")
        else:
            parts.append("ha" * chance.randint(1, 60) + "!")
    return "\n\n".join(parts)


class Cuts:
    """Counts what became of cut answers."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.seen: Counter[str] = Counter()

    async def over(self, wire: str, *, texts: int, cuts: int, prefill: bool = False) -> None:
        """Cut each of `texts` answers at `cuts` places."""
        async with ProviderServer(piece=7, prefill=prefill) as server:
            model = model_of(wire, server, Clocks(), prefill=prefill)
            async with palaver.open(":memory:", model=model, settings=AT_ONCE) as manager:
                for _ in range(texts):
                    thinking = None if prefill else "medium"
                    conversation = await manager.create(reasoning=thinking)
                    await self._one_text(conversation, server, cuts)
                    await manager.delete(conversation.id)
            await model.aclose()

    async def _one_text(
        self, conversation: Conversation, server: ProviderServer, cuts: int
    ) -> None:
        text = answer(self.chance)
        thoughts: list[Line] = [Think("let me see …")] if self.chance.random() < 0.5 else []
        turn = continuing(*thoughts, text)
        piece = self.chance.choice([1, 3, 7, 40])
        server.script([Reply(turn, piece=piece)])
        assert (await conversation.say("whole?")).text == text
        size = server.journal[-1].sent_bytes
        for _ in range(cuts):
            faults = (Severed(self.chance.randrange(size), reset=self.chance.random() < 0.2),)
            server.script([Reply(turn, faults, piece=piece)])
            server.default = turn
            before = len(server.journal)
            events = [event async for event in conversation.stream("again?")]
            self._judge(conversation, text, events, len(server.journal) - before)

    def _judge(
        self, conversation: Conversation, text: str, events: list[StreamEvent], requests: int
    ) -> None:
        shown = "".join(event.text for event in events if isinstance(event, TextDelta))
        stored = conversation.messages[-1]
        assert shown == stored.text, "what was shown is what is stored"
        assert shown == text, (shown, text)
        assert Flag.PARTIAL not in stored.flags
        assert requests > 1, "a truncation was not seen"
        starts = [event for event in events if isinstance(event, AttemptStarted)]
        assert len(starts) == requests
        assert (Flag.JOINED in stored.flags) == any(start.continues for start in starts)
        self.seen["exact" if Flag.JOIN_UNVERIFIED not in stored.flags else "unverified"] += 1
        self.seen["cuts"] += 1


@pytest.mark.parametrize("wire", WIRES)
async def test_a_broken_answer_ends_whole(wire: str) -> None:
    """A hundred cuts at random bytes: each is seen, and each ends in the complete answer."""
    cuts = Cuts(20_261_122)
    await cuts.over(wire, texts=10, cuts=10)
    assert cuts.seen["cuts"] == 100
    assert cuts.seen["unverified"] == 0


async def test_a_broken_answer_ends_whole_where_the_model_is_prefilled() -> None:
    """The other way of going on, at forty random bytes."""
    cuts = Cuts(5)
    await cuts.over("messages", texts=8, cuts=5, prefill=True)
    assert cuts.seen["unverified"] == 0


@pytest.mark.long
@pytest.mark.parametrize("wire", WIRES)
async def test_a_broken_answer_ends_whole_very_often(wire: str) -> None:
    """The same at ten thousand bytes over the three wires."""
    cuts = Cuts(4)
    await cuts.over(wire, texts=167, cuts=20)
    assert cuts.seen["unverified"] == 0
