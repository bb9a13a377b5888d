"""What the token estimate promises: near what tokenizers count, cheap, and never tied to bytes."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from palaver.context.pictures import image_tokens
from palaver.context.tokens import Parts, block_tokens, message_tokens, schema_tokens, text_tokens
from palaver.domain.ids import BlobId, CallId
from palaver.domain.messages import (
    Block,
    File,
    Image,
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
)
from palaver.tools.definition import ToolDefinition

PROSE = "The quick brown fox jumps over the lazy dog while the rain falls on the old town. "
CODE = "    for index, value in enumerate(values):\n        total += value * weights[index]\n"


@pytest.mark.parametrize(
    "text,low,high",
    [
        (PROSE * 20, 320, 400),  # o200k_base: 341
        (CODE * 20, 300, 460),  # 380
        ('{"id": "a1", "values": [1, 2, 3], "ok": true}' * 20, 380, 560),
        ("我们昨天讨论了新的数据库方案" * 20, 170, 300),  # 14 characters each
        ("a" * 20_000, 2_000, 3_500),
        (" " * 8_000, 100, 1_500),
        ("🎉" * 100, 100, 300),
        ("é", 1, 1),
        ("", 0, 0),
    ],
)
def test_near_a_tokenizer(text: str, low: int, high: int) -> None:
    """Prose, code, JSON, Chinese, emoji and runs of one letter are counted in the right range."""
    assert low <= text_tokens(text) <= high


@given(st.text(max_size=300))
def test_any_text_has_a_count(text: str) -> None:
    """Every text but the empty one has at least one token, and at most about its bytes."""
    tokens = text_tokens(text)
    assert (tokens == 0) == (not text)
    assert tokens <= 3 * len(text) + 1


def test_lone_surrogates_are_counted() -> None:
    """Broken text does not break the count."""
    assert text_tokens("a\ud83d b") > 0


class Watched(str):
    """Counts the characters that are taken out of it."""

    __slots__ = ("read",)
    read: int

    def __getitem__(self, key: Any) -> str:
        taken = super().__getitem__(key)
        self.read += len(taken)
        return taken


def test_cost_is_bounded() -> None:
    """Of a long text only slices are read; the estimate is within 10 % of the sum of its parts."""
    text = Watched((PROSE + CODE) * 6_000)
    text.read = 0
    whole = text_tokens(text)
    assert 0 < text.read <= 32_000
    assert whole == pytest.approx(text_tokens(PROSE + CODE) * 6_000, rel=0.1)


def test_messages_by_category() -> None:
    """Each block counts for what it is; the message's overhead counts for its speaker."""
    content: tuple[Block, ...] = (
        Reasoning("I should look it up first."),
        Text("Let me see."),
        ToolCall(CallId("c1"), "search", '{"query": "weather"}'),
        Refusal("No."),
        Unknown("anthropic.messages", "server_tool_use", '{"type": "server_tool_use"}'),
    )
    parts = message_tokens(Message.assistant(content))
    assert parts.total == sum(map(block_tokens, content)) + 4
    assert (parts.reasoning, parts.tool_calls) == tuple(map(block_tokens, content[0:3:2]))
    assert parts.user == parts.tool_results == 0
    results = Message(Role.TOOL, (ToolResult(CallId("c1"), "search", (Text("Rain."),)),))
    assert message_tokens(results).total == message_tokens(results).tool_results > 0


def test_parts_add_and_subtract() -> None:
    """Parts are vectors."""
    some, more = Parts(user=3, system=1), Parts(user=1, reasoning=2)
    assert some + more - more == some
    assert (some + more).total == 7


def test_opaque_reasoning_counts() -> None:
    """Encrypted thinking counts although its text is empty; a signature adds nothing to text."""
    assert block_tokens(Reasoning(encrypted="x" * 600)) == 100
    text = PROSE * 50
    assert block_tokens(Reasoning(text, signature="s" * 300)) == text_tokens(text)


@pytest.mark.parametrize(
    "size,model,tokens",
    [
        ((1000, 1000), "anthropic:claude-sonnet-4-5", 1334),
        ((200, 200), "anthropic:claude-sonnet-4-5", 54),
        ((1024, 1024), "openai:gpt-4o", 765),
        ((2048, 4096), "openai:gpt-4o", 1105),
        ((1024, 1024), "openai:gpt-4.1-mini", 1659),
    ],
)
def test_pictures_by_published_rules(size: tuple[int, int], model: str, tokens: int) -> None:
    """The examples of the providers' own guides."""
    image = Image("image/png", blob=BlobId("sha256:0"), width=size[0], height=size[1])
    assert image_tokens(image, model) == tokens


def test_large_pictures_are_shrunk_first() -> None:
    """No size, and no provider, makes a picture cost more than a few thousand tokens."""
    for model in ("anthropic:x", "openai:gpt-4o", "other:x", ""):
        assert 0 < image_tokens(Image(url="u", width=20_000, height=10_000), model) < 2_000
        assert 0 < image_tokens(Image(url="u", width=20_000, height=1), model) < 2_000
        assert image_tokens(Image(url="u"), model) > 500


def test_files_by_size_and_kind() -> None:
    """Text counts by its bytes, documents by a rough rule, unknown sizes as a few pages."""
    assert block_tokens(File("text/plain", url="u", size=3_800)) == 1_000
    assert 10_000 < block_tokens(File("application/pdf", url="u", size=750_000)) < 30_000
    assert block_tokens(File("application/pdf", url="u")) == 2_000


def test_tool_schemas() -> None:
    """A tool counts with name, description and schema."""
    tool = ToolDefinition(
        name="weather",
        description="The weather in a city.",
        parameters_schema={"type": "object", "properties": {"city": {"type": "string"}}},
    )
    assert 25 < schema_tokens(tool) < 60


_DATA = Path(os.environ.get("PALAVER_TEST_DATA", Path(__file__).parents[2].parent / "shared/data"))


@pytest.mark.skipif(not _DATA.is_dir(), reason="no test data beside the checkout")
def test_within_a_quarter_of_reported_usage() -> None:
    """Of long texts that OpenAI models wrote, estimate and reported output tokens agree."""
    ratios: list[float] = []
    with gzip.open(_DATA / "service_dialogues" / "tau2.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            if "gpt-4o" not in str(record["source"]):
                continue  # others report the tokens of thinking that is not in the text
            for message in record["messages"]:
                reported = (message.get("usage") or {}).get("completion_tokens", 0)
                plain = isinstance(message.get("content"), str) and not message.get("tool_calls")
                if plain and reported >= 50:
                    ratios.append(text_tokens(message["content"]) / reported)
    ratios.sort()
    assert ratios
    assert 0.75 < ratios[len(ratios) // 2] < 1.25
