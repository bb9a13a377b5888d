"""Which kind of summary suits a conversation, and what each kind is told to dwell on.

The choice goes by what is to be summarised. The specification counts: more than ten tool requests
preserve what tools said, more than five changes of topic go by topic, the rest goes by time. The
other rule weighs: half of the tokens in tools, three topics that are closed. On 310 service
dialogues the counts alone passed over 159 in which four of five values that later calls needed had
come from tools, and the shares took them; so by default either rule is enough. All of it are
settings; a strategy of one's own is an object with a name that is handed in.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Protocol

import msgspec

from palaver.context.analysis import ConversationAnalysis, TopicStretch
from palaver.context.handles import handle
from palaver.domain.errors import ConfigurationError
from palaver.settings import CompactionSettings


class CompactionStrategy(StrEnum):
    """The strategies that come with Palaver."""

    PRESERVE_TOOL_CONTEXT = "preserve_tool_context"
    """Calls and what came of them are kept in most detail."""
    TOPIC_BASED_SUMMARIZATION = "topic_based_summarization"
    """A paragraph for each topic."""
    CHRONOLOGICAL_SUMMARY = "chronological_summary"
    """What happened, in order."""


class Matter(msgspec.Struct, frozen=True):
    """What is to be summarised: the messages of a conversation before position `stop`."""

    analysis: ConversationAnalysis
    stop: int
    tokens: int = 0
    tool_tokens: int = 0
    """Of `tokens`, in calls and results."""

    @property
    def tool_requests(self) -> int:
        """Calls in it."""
        return sum(use.requested < self.stop for use in self.analysis.tools)

    @property
    def topics(self) -> list[TopicStretch]:
        """Topics that begin in it."""
        return [topic for topic in self.analysis.topics if topic.start < self.stop]

    @property
    def closed_topics(self) -> int:
        """Topics that lie wholly in it."""
        return sum(topic.stop <= self.stop for topic in self.analysis.topics)

    @property
    def tool_share(self) -> float:
        """Calls and results by all tokens, 0 to 1."""
        return self.tool_tokens / self.tokens if self.tokens else 0.0


class Strategy(Protocol):
    """A kind of summary. `name` is what settings, logs and people call it."""

    @property
    def name(self) -> str:
        """Unique among the strategies that are at hand."""
        ...

    def emphasis(self, matter: Matter) -> str:
        """What the writer of the summary is told beside the common rules."""
        ...


class Choice(msgspec.Struct, frozen=True):
    """A strategy and the reason for it, in words for a person."""

    strategy: Strategy
    because: str


class Strategies:
    """The strategies that are at hand: ours, and those that were handed in."""

    def __init__(self, own: Iterable[Strategy] = ()) -> None:
        self._named: dict[str, Strategy] = {known.name: known for known in (*_OURS, *own)}

    @property
    def names(self) -> tuple[str, ...]:
        """What can be asked for, beside `auto`."""
        return tuple(self._named)

    def named(self, name: str) -> Strategy:
        """The strategy of this name. Raises ConfigurationError when there is none."""
        try:
            return self._named[name]
        except KeyError:
            raise ConfigurationError(
                f"there is no compaction strategy called {name!r}",
                hint=f"There are: auto, {', '.join(self._named)}.",
            ) from None

    def choose(self, matter: Matter, settings: CompactionSettings, *, asked: str = "") -> Choice:
        """The strategy that was asked for, here or in the settings, else the one that suits.

        Raises ConfigurationError for a name that nobody knows.
        """
        for name, by in ((asked, "it was asked for"), (settings.strategy, "the settings say so")):
            if name and name != "auto":
                return Choice(self.named(name), by)
        suited, because = CompactionStrategy.CHRONOLOGICAL_SUMMARY, "it has few tools and topics"
        for name, holds, reason in _rules(matter, settings):
            if holds:
                suited, because = name, reason
                break
        return Choice(self.named(suited), because)


def _rules(
    matter: Matter, settings: CompactionSettings
) -> Iterator[tuple[CompactionStrategy, bool, str]]:
    """Strategies with whether they suit and why, the first of which counts."""
    counts, shares = settings.selection != "shares", settings.selection != "counts"
    tools = CompactionStrategy.PRESERVE_TOOL_CONTEXT
    requests = matter.tool_requests
    yield tools, counts and requests > settings.tool_requests, f"tools were called {requests} times"
    share = matter.tool_share
    yield tools, shares and share >= settings.tool_share, f"{share:.0%} of it are calls and results"
    by_topic = CompactionStrategy.TOPIC_BASED_SUMMARIZATION
    changes = max(0, len(matter.topics) - 1)
    is_many = counts and changes > settings.topic_transitions
    yield by_topic, is_many, f"the topic changed {changes} times"
    closed = matter.closed_topics
    yield by_topic, shares and closed >= settings.closed_topics, f"{closed} topics are closed"


class _PreserveToolContext:
    name = CompactionStrategy.PRESERVE_TOOL_CONTEXT.value

    def emphasis(self, matter: Matter) -> str:
        failed = [use for use in matter.analysis.errors if use.requested < matter.stop]
        told = (
            "Give most room to what tools did. Under `## Tool outcomes` write a line for each call "
            "that still matters: the tool, the arguments that identify what it acted on, and what "
            "came out, with exact values, paths, ids, counts and exit codes. Join calls that were "
            "repeated, and give the newest result. Say what changed the outside world and what "
            "only looked."
        )
        if failed:
            told += f" {len(failed)} calls failed; say for each why, and what was done about it."
        return told


class _ByTopic:
    name = CompactionStrategy.TOPIC_BASED_SUMMARIZATION.value

    def emphasis(self, matter: Matter) -> str:
        listed = "\n".join(f"- {_range(t, matter.stop)} {t.label}".rstrip() for t in matter.topics)
        return (
            "Add a section `## Topics` behind the goal: one line for each of the topics below, in "
            "this order, that begins with its range of handles and says what was asked, what was "
            "found or settled, and what is open. Topics of one matter that was taken up again "
            f"refer to each other.\n{listed}"
        )


class _Chronological:
    name = CompactionStrategy.CHRONOLOGICAL_SUMMARY.value

    def emphasis(self, matter: Matter) -> str:
        return (
            "Under `## Progress` tell what happened in its order, oldest first, a line for each "
            "step, with more detail the newer it is; say what led to what."
        )


_OURS: tuple[Strategy, ...] = (_PreserveToolContext(), _ByTopic(), _Chronological())


def _range(topic: TopicStretch, stop: int) -> str:
    return f"[{handle(topic.start)}–{handle(min(topic.stop, stop) - 1)}]"
