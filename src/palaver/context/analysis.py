"""What is known about a conversation beside its words: the values of an analysis.

All are frozen and share their past with the analyses before them, so one may be handed to a task in
the background while the conversation goes on. Messages are named by their position on the path.
"""

from functools import cached_property
from typing import Protocol

import msgspec

from palaver.context.names import Identifier
from palaver.context.tokens import Parts
from palaver.domain.compaction import CriticalFact
from palaver.domain.history import History
from palaver.domain.ids import CallId
from palaver.domain.messages import Role


class ToolUse(msgspec.Struct, frozen=True, gc=False):
    """A call and what became of it. `answered` is None while its result is missing."""

    call_id: CallId
    name: str
    arguments: str
    """As the model wrote them; the message's own text, not a copy."""
    requested: int
    answered: int | None = None
    failed: bool = False
    unknown: bool = False
    """It may or may not have happened: the process died meanwhile."""


class Superseded(msgspec.Struct, frozen=True, gc=False):
    """The use number `earlier` said what `later` says anew: same tool, same arguments."""

    earlier: int
    later: int


class TopicStretch(msgspec.Struct, frozen=True, gc=False):
    """A stretch on one matter: positions `start` up to, not including, `stop`."""

    start: int
    stop: int
    label: str = ""
    """A few words that tell it from the others, in the conversation's own language."""
    thread: int = 0
    """Stretches of one number are on one matter, with others between them."""
    resumes: int | None = None
    """Number of the stretch that this one goes back to."""
    is_open: bool = False
    """Whether its ends may still move."""


class Details(Protocol):
    """What is worked out only when somebody asks."""

    def topics(self) -> tuple[TopicStretch, ...]:
        """The topics, in order and without gaps."""
        ...

    def identifiers(self) -> tuple[Identifier, ...]:
        """The identifiers, the likeliest to be needed again first."""
        ...


class CriticalContext(msgspec.Struct, frozen=True):
    """What a compaction must not lose. Positions, oldest first, and quoted sentences."""

    system: tuple[int, ...] = ()
    first_request: int | None = None
    latest_request: int | None = None
    pinned: tuple[int, ...] = ()
    statements: History[CriticalFact] = History()
    """Constraints, corrections and decisions, in the words in which they were said."""
    unresolved_errors: tuple[ToolUse, ...] = ()
    """Failed calls that nothing made good; the newest ones."""
    pending: tuple[ToolUse, ...] = ()
    """Calls without result at the end of the path."""


class ConversationAnalysis(msgspec.Struct, frozen=True, dict=True):
    """A conversation of `length` messages, taken apart."""

    length: int = 0
    tokens: Parts = Parts()
    """Estimated, by category, without system prompt and tool schemas."""
    by_role: dict[Role, History[int]] = {}
    tools: History[ToolUse] = History()
    """In call order. A call of the newest group may be answered in a later analysis."""
    superseded: History[Superseded] = History()
    reused_ids: History[CallId] = History()
    """Ids under which more than one call was made."""
    unanswered: History[int] = History()
    """Numbers of uses that never got a result, though the conversation went on."""
    critical: CriticalContext = CriticalContext()
    details: Details | None = None

    @cached_property
    def topics(self) -> tuple[TopicStretch, ...]:
        """The topics, in order and without gaps. Worked out when first asked for, from what is new
        since the last time."""
        return () if self.details is None else self.details.topics()

    @cached_property
    def identifiers(self) -> tuple[Identifier, ...]:
        """The identifier ledger, the likeliest to be needed again first. Worked out as topics."""
        return () if self.details is None else self.details.identifiers()

    @property
    def total_tokens(self) -> int:
        """Of all messages."""
        return self.tokens.total

    @property
    def tool_requests(self) -> int:
        """How many calls were made."""
        return len(self.tools)

    @property
    def tool_share(self) -> float:
        """Calls and results by all tokens, 0 to 1."""
        parts = self.tokens
        return (parts.tool_calls + parts.tool_results) / parts.total if parts.total else 0.0

    @property
    def topic_transitions(self) -> int:
        """How often the matter changed."""
        return max(0, len(self.topics) - 1)

    @cached_property
    def tool_results(self) -> dict[CallId, tuple[ToolUse, ...]]:
        """Uses by id, in call order: real conversations reuse ids. A walk over them, once."""
        found: dict[CallId, tuple[ToolUse, ...]] = {}
        for use in self.tools:
            found[use.call_id] = (*found.get(use.call_id, ()), use)
        return found

    @property
    def errors(self) -> list[ToolUse]:
        """Uses that failed, made good or not."""
        return [use for use in self.tools if use.failed]

    @cached_property
    def threads(self) -> dict[int, tuple[TopicStretch, ...]]:
        """Topics by thread, so that interleaved matters stand together."""
        found: dict[int, tuple[TopicStretch, ...]] = {}
        for topic in self.topics:
            found[topic.thread] = (*found.get(topic.thread, ()), topic)
        return found

    def topic_map(self) -> list[str]:
        """A line for each topic: its messages as handles, what it is about, its thread."""
        shared = {number for number, topics in self.threads.items() if len(topics) > 1}
        return [
            f"m{topic.start + 1}–m{topic.stop}  {topic.label}"
            + (f"  (thread {topic.thread})" if topic.thread in shared else "")
            for topic in self.topics
        ]
