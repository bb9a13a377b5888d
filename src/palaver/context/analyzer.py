"""Takes a conversation apart while it grows: each message is read once.

Reading a message (counting it, looking for what binds) costs what the message is long. Folding what
was read into an analysis costs next to nothing, so after an undo or a switch of branches the fold
is made anew from what is known, and only messages behind the divergence are read. What is asked for
seldom (topics, identifiers) is worked out only then.
"""

from collections.abc import Callable, Collection, Sequence

import msgspec

from palaver.context.analysis import ConversationAnalysis, CriticalContext, Details
from palaver.context.critical import Statement, statements
from palaver.context.on_demand import OfPath, OnDemand
from palaver.context.tokens import Parts, message_tokens
from palaver.context.tool_uses import ToolFold
from palaver.domain.compaction import CriticalFact
from palaver.domain.history import History
from palaver.domain.ids import MessageId
from palaver.domain.messages import Flag, Message, Role

Estimate = Callable[[Message], Parts]


class ConversationAnalyzer:
    """Analyses one conversation, whichever of its branches is shown to it."""

    def __init__(self, *, estimate: Estimate = message_tokens) -> None:
        self._estimate = estimate
        self._path: History[Message] = History()
        self._read: list[_Reading] = []
        self._fold = _Fold()
        self._on_demand = OnDemand()

    def analyse(
        self, path: Sequence[Message], *, pins: Collection[MessageId] = ()
    ) -> ConversationAnalysis:
        """The analysis of `path`, which is valid history whose last calls may be unanswered.

        Costs what is new in it; on another branch, what lies behind the divergence.
        """
        messages = History.of(path)
        if not messages.starts_with(self._path) and not self._has_grown(messages):
            self._return_to(_shared(self._path, messages))
        for message in messages.since(len(self._path)):
            self._take(message)
        self._path = messages
        return self._fold.analysis(pins, OfPath(self._on_demand, messages))

    def _has_grown(self, messages: History[Message]) -> bool:
        """Whether only the last message is another one, a tool message with more results; if so it
        is taken in."""
        before = len(self._path) - 1
        if before < 0 or not messages.starts_with(self._path.first(before)):
            return False
        last = messages[before] if before < len(messages) else None
        if last is None or last.role is not Role.TOOL or not _continues(self._path[before], last):
            return False
        reading = self._reading(last)
        self._fold.grow(last, self._read[-1], reading)
        self._read[-1] = reading
        self._path = messages.first(before + 1)
        return True

    def _return_to(self, length: int) -> None:
        del self._read[length:]
        self._path = self._path.first(length)
        self._fold = _Fold()
        for message, reading in zip(self._path, self._read, strict=True):
            self._fold.add(message, reading)

    def _take(self, message: Message) -> None:
        reading = self._reading(message)
        self._read.append(reading)
        self._fold.add(message, reading)

    def _reading(self, message: Message) -> "_Reading":
        return _Reading(self._estimate(message), statements(message))


class _Reading(msgspec.Struct, frozen=True, gc=False):
    tokens: Parts
    statements: tuple[Statement, ...]


class _Fold:
    """What the readings of a path add up to."""

    def __init__(self) -> None:
        self._length = 0
        self._tokens = Parts()
        self._tools = ToolFold()
        self._by_role: dict[Role, History[int]] = {role: History() for role in Role}
        self._positions: dict[MessageId, int] = {}
        self._statements: History[CriticalFact] = History()
        self._system: tuple[int, ...] = ()
        self._first: int | None = None
        self._latest: int | None = None

    def add(self, message: Message, reading: _Reading) -> None:
        position = self._length
        self._length += 1
        self._tokens += reading.tokens
        self._by_role[message.role] = self._by_role[message.role].append(position)
        self._positions[message.id] = position
        for found in reading.statements:
            fact = CriticalFact(found.kind, found.text, position)
            self._statements = self._statements.append(fact)
        if message.role is Role.SYSTEM:
            self._system = (*self._system, position)
        elif message.role is Role.USER and Flag.SYNTHETIC not in message.flags:
            self._first = position if self._first is None else self._first
            self._latest = position
        self._tools.add(message, position)

    def grow(self, message: Message, before: _Reading, reading: _Reading) -> None:
        """The last message, a tool message, has more results now."""
        self._tokens += reading.tokens - before.tokens
        self._tools.add(message, self._length - 1)

    def analysis(self, pins: Collection[MessageId], details: Details) -> ConversationAnalysis:
        pinned = sorted(self._positions[id] for id in pins if id in self._positions)
        tools = self._tools
        return ConversationAnalysis(
            length=self._length,
            tokens=self._tokens,
            by_role=dict(self._by_role),
            tools=tools.uses,
            superseded=tools.superseded,
            reused_ids=tools.reused_ids,
            unanswered=tools.unanswered,
            critical=CriticalContext(
                system=self._system,
                first_request=self._first,
                latest_request=self._latest,
                pinned=tuple(pinned),
                statements=self._statements,
                unresolved_errors=tools.unresolved,
                pending=tools.pending,
            ),
            details=details,
        )


def _continues(before: Message, after: Message) -> bool:
    known = set(after.tool_results)
    return before.id == after.id and all(result in known for result in before.tool_results)


def _shared(one: History[Message], other: History[Message]) -> int:
    """How many messages two paths have in common from the first: the same, or equal ones."""
    for length, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine is not theirs and mine != theirs:
            return length
    return min(len(one), len(other))
