"""What the choice of a strategy promises: the counts of the specification, and one's own."""

import pytest
from msgspec.structs import replace

from palaver.context.analysis import ConversationAnalysis, Details, TopicStretch
from palaver.context.analyzer import ConversationAnalyzer
from palaver.context.names import Identifier
from palaver.context.strategy import CompactionStrategy, Matter, Strategies
from palaver.domain.errors import ConfigurationError
from palaver.domain.messages import Message
from palaver.settings import CompactionSettings
from tests.context.summaries import work

SETTINGS = CompactionSettings()


class Topics(Details):
    """So many topics of two messages each."""

    def __init__(self, number: int) -> None:
        self._number = number

    def topics(self) -> tuple[TopicStretch, ...]:
        return tuple(TopicStretch(2 * i, 2 * i + 2, f"matter {i}") for i in range(self._number))

    def identifiers(self) -> tuple[Identifier, ...]:
        return ()


def matter(*, tools: int = 0, topics: int = 1, tool_share: float = 0.0) -> Matter:
    messages = list(work(tools)) if tools else [Message.user("Hello")]
    known = ConversationAnalyzer().analyse(messages)
    analysis: ConversationAnalysis = replace(known, details=Topics(topics))
    return Matter(analysis, 10_000, 1_000, round(1_000 * tool_share))


@pytest.mark.parametrize(
    "tools,topics,expected",
    [
        (10, 6, CompactionStrategy.CHRONOLOGICAL_SUMMARY),
        (11, 6, CompactionStrategy.PRESERVE_TOOL_CONTEXT),
        (10, 7, CompactionStrategy.TOPIC_BASED_SUMMARIZATION),
        (11, 7, CompactionStrategy.PRESERVE_TOOL_CONTEXT),
    ],
)
def test_the_counts_of_the_specification(tools: int, topics: int, expected: str) -> None:
    """More than ten requests preserve tools, more than five changes of topic go by topic."""
    settings = replace(SETTINGS, selection="counts")
    choice = Strategies().choose(matter(tools=tools, topics=topics), settings)
    assert choice.strategy.name == expected
    assert choice.because


@pytest.mark.parametrize(
    "share,topics,expected",
    [
        (0.5, 1, CompactionStrategy.PRESERVE_TOOL_CONTEXT),
        (0.49, 3, CompactionStrategy.TOPIC_BASED_SUMMARIZATION),
        (0.49, 2, CompactionStrategy.CHRONOLOGICAL_SUMMARY),
    ],
)
def test_the_shares(share: float, topics: int, expected: str) -> None:
    """The other rule: half of the tokens in tools, or three closed topics."""
    settings = replace(SETTINGS, selection="shares")
    choice = Strategies().choose(matter(tool_share=share, topics=topics), settings)
    assert choice.strategy.name == expected


@pytest.mark.parametrize(
    "tools,share,topics,expected",
    [
        (11, 0.1, 1, CompactionStrategy.PRESERVE_TOOL_CONTEXT),
        (1, 0.5, 7, CompactionStrategy.PRESERVE_TOOL_CONTEXT),
        (1, 0.1, 7, CompactionStrategy.TOPIC_BASED_SUMMARIZATION),
        (1, 0.1, 3, CompactionStrategy.TOPIC_BASED_SUMMARIZATION),
        (10, 0.49, 2, CompactionStrategy.CHRONOLOGICAL_SUMMARY),
    ],
)
def test_either_rule_is_enough(tools: int, share: float, topics: int, expected: str) -> None:
    """By default what one of them tells counts, tools before topics."""
    found = matter(tools=tools, tool_share=share, topics=topics)
    assert Strategies().choose(found, SETTINGS).strategy.name == expected


def test_thresholds_are_settings() -> None:
    """Every number of the choice can be set."""
    settings = replace(SETTINGS, tool_requests=2)
    chosen = Strategies().choose(matter(tools=3), settings).strategy.name
    assert chosen == CompactionStrategy.PRESERVE_TOOL_CONTEXT
    settings = replace(SETTINGS, topic_transitions=0)
    chosen = Strategies().choose(matter(topics=2), settings).strategy.name
    assert chosen == CompactionStrategy.TOPIC_BASED_SUMMARIZATION


class Legal:
    """A strategy of one's own."""

    name = "legal"

    def emphasis(self, matter: Matter) -> str:
        return f"Quote each clause of the {matter.stop} messages."


def test_a_strategy_of_ones_own() -> None:
    """It is handed in, chosen by name, here or in the settings, and known to nobody else."""
    own = Strategies([Legal()])
    assert own.names[-1] == "legal"
    assert own.choose(matter(), SETTINGS, asked="legal").strategy.name == "legal"
    assert own.choose(matter(), replace(SETTINGS, strategy="legal")).strategy.name == "legal"
    with pytest.raises(ConfigurationError) as caught:
        Strategies().choose(matter(), SETTINGS, asked="legal")
    assert "chronological_summary" in caught.value.hint


def test_what_is_asked_for_comes_first() -> None:
    """A name in the call wins over the settings, `auto` over none."""
    settings = replace(SETTINGS, strategy="topic_based_summarization")
    asked = "preserve_tool_context"
    assert Strategies().choose(matter(), settings, asked=asked).strategy.name == asked
    assert Strategies().choose(matter(), settings, asked="auto").strategy.name == settings.strategy


def test_each_strategy_dwells_on_something_else() -> None:
    """Tools: calls and failures; topics: the map with handles; else the order of time."""
    found = {
        name: Strategies().named(name).emphasis(matter(tools=3, topics=2))
        for name in CompactionStrategy
    }
    assert "Tool outcomes" in found[CompactionStrategy.PRESERVE_TOOL_CONTEXT]
    assert "[m1–m2] matter 0" in found[CompactionStrategy.TOPIC_BASED_SUMMARIZATION]
    assert "[m3–m4] matter 1" in found[CompactionStrategy.TOPIC_BASED_SUMMARIZATION]
    assert "order" in found[CompactionStrategy.CHRONOLOGICAL_SUMMARY]
