"""Real conversations as dictionaries, from where the collection of test data lies beside us."""

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palaver.context import Window, compact, count
from palaver.domain.errors import ContextWindowExceeded
from tests.context.foreign import faults

DATA = Path(
    os.environ.get("PALAVER_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data")
)
FILES = (
    "service_dialogues/tau_airline",
    "service_dialogues/tau2",
    "coding_agents/swe_agent",
    "chats/mtbench101",
    "segmentation/chat_joined",
)
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the collection is not here")


def conversations(name: str, *, every: int) -> Iterator[list[dict[str, Any]]]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if number % every == 0:
                yield json.loads(line)["messages"]


def assert_compacts(messages: list[dict[str, Any]], share: float) -> bool:
    """The promises of `compact`. Whether the budget was enough for what must stay."""
    system = sum(count([m]) for m in messages if m["role"] == "system")
    budget = system + int((count(messages) - system) * share)
    before = json.dumps(messages)
    try:
        made = compact(messages, budget)
    except ContextWindowExceeded:
        return False
    assert json.dumps(messages) == before
    assert faults(made) == []
    assert count(made) <= budget
    users = [
        m for m in messages if m["role"] == "user" and m["content"] and not m.get("tool_calls")
    ]
    assert all(any(m is user for m in made) for user in (*users[:1], *users[-1:]))
    assert [m for m in made if m["role"] == "system"] == [
        m for m in messages if m["role"] == "system"
    ]
    again = compact(made, budget)
    assert all(a is b for a, b in zip(again, made, strict=True))
    return True


@pytest.mark.parametrize("name", FILES)
def test_a_sample_of_real_conversations(name: str) -> None:
    """Valid and within the budget, at 60 and at 20 %; 60 % is enough where tools were used."""
    served = [
        assert_compacts(messages, share)
        for messages in conversations(name, every=25)
        for share in (0.6, 0.2)
    ]
    assert served
    if "dialogues" in name:
        assert sum(served[::2]) == len(served[::2])


@pytest.mark.long
@pytest.mark.parametrize("name", FILES)
def test_all_real_conversations_at_any_cut(name: str) -> None:
    """The same for each of them, also when it ends somewhere in its middle."""
    for number, messages in enumerate(conversations(name, every=1)):
        cut = 1 + number * 7 % len(messages)
        for share in (0.8, 0.6, 0.4, 0.2):
            assert_compacts(messages, share)
            assert_compacts(messages[:cut], share)


@pytest.mark.parametrize("name", FILES[:3])
def test_real_conversations_through_a_window(name: str) -> None:
    """Message by message, one conversation behind the other: valid and within 8,000 tokens."""
    window: Window[dict[str, Any]] = Window(8_000)
    for messages in conversations(name, every=40):
        for message in messages:
            if message["role"] != "system":
                window.append(message)
                made = window.messages()
                assert faults(made, is_open=True) == []
                assert count(made) <= 8_000
