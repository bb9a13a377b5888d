"""Summaries of collected conversations: sound whatever people and agents said to each other."""

import gzip
import random
from pathlib import Path

import pytest

from palaver.context.compactor import ConversationCompactor
from palaver.context.draft import Task
from palaver.context.summary import Limits, SummaryAnswer, SummaryRequest
from palaver.context.validate import problems
from palaver.domain.compaction import Tier
from palaver.domain.history import History
from palaver.domain.messages import Message
from palaver.settings import CompactionSettings
from palaver.testing.history import valid_history
from palaver.travel.detect import read
from tests.context.summaries import SPENT, Writer, count
from tests.travel.collected import files, path_of

FILES = files()
pytestmark = pytest.mark.skipif(not FILES, reason="the collected conversations are not here")
SMALLEST = 400  # tokens; what is shorter leaves nothing to summarise


def copyist(chance: random.Random) -> Writer:
    """An honest writer without understanding: copies lines of the history with their handles."""

    def answer(request: SummaryRequest) -> SummaryAnswer:
        lines = [line for line in request.prompt.splitlines() if line.startswith("[m")]
        said = ["## Goal"]
        for line in chance.sample(lines, min(12, len(lines))):
            handle, _, text = line.partition("] ")
            said.append(f"- {text[:90]} {handle}]")
        return SummaryAnswer(text="\n".join(said), usage=SPENT)

    return Writer(answer)


async def assert_sound(messages: list[Message], chance: random.Random, share: float) -> bool:
    """Whether a summary stands in the window, which any provider takes and which lost nothing."""
    target = int(share * sum(map(count, messages)))
    asked = Task(messages=History(messages), target=target, count=count)
    compactor = ConversationCompactor(CompactionSettings(summary_tokens=600))
    result = await compactor.run(asked, summariser=copyist(chance), limits=Limits(60_000, 4_000))
    if result.refusal is not None:
        return False
    assert problems(asked, result.draft) == ()
    assert valid_history(result.compacted_messages) == []
    if Tier.SUMMARY not in result.draft.tiers:
        return False
    assert all(fact.survives for fact in result.draft.facts)
    return True


async def summarised(path: Path, most: int, *, largest: int = 10**9) -> int:
    chance = random.Random(path.name)
    found = [path_of(each) for each in read(gzip.decompress(path.read_bytes()), name=path.name)]
    sizes = [sum(map(count, messages)) for messages in found]
    fit = [each for each, size in zip(found, sizes, strict=True) if SMALLEST <= size <= largest]
    chosen = chance.sample(fit, min(most, len(fit)))
    made = 0
    for messages in chosen:
        for share in (0.6, 0.3):
            made += await assert_sound(messages, chance, share)
    return made


async def test_some_of_each_kind() -> None:
    """Two of every file, none of the very long ones."""
    assert sum([await summarised(path, 2, largest=8_000) for path in FILES]) > 5


@pytest.mark.long
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
async def test_all_of_them(path: Path) -> None:
    """Every conversation of every file."""
    await summarised(path, 10_000)
