"""The parts of an analysis that are looked at seldom: topics and identifiers.

They follow a path when they are asked for, and only over what is new since then, so a message that
comes costs nothing here. An analysis keeps the path that it speaks of, and may be asked later and
from another thread.
"""

from threading import Lock
from typing import TypeVar

from palaver.context.analysis import TopicStretch
from palaver.context.identifiers import decoded, scalars, written
from palaver.context.names import Identifier, IdentifierLedger
from palaver.context.topics import TopicTracker
from palaver.domain.history import History
from palaver.domain.messages import Message, Role

_ARGUMENTS = 300
"""Characters of calls that are read for their topic: what a tool is used on tells the matter."""


class OnDemand:
    """Follows the branches of one conversation."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._topics = _Topics()
        self._names = _Names()

    def topics(self, path: History[Message]) -> tuple[TopicStretch, ...]:
        """The topics of `path`."""
        with self._lock:
            self._topics = _followed(self._topics, path)
            return self._topics.stretches()

    def identifiers(self, path: History[Message]) -> tuple[Identifier, ...]:
        """The identifiers of `path`, the likeliest to be needed again first."""
        with self._lock:
            self._names = _followed(self._names, path)
            return self._names.ledger.ranked()


class _Topics:
    def __init__(self) -> None:
        self.path: History[Message] = History()
        self._tracker = TopicTracker()
        self._spoken: list[int] = []
        """Position of each utterance."""

    def add(self, message: Message, position: int) -> None:
        said = _said(message)
        if said:
            self._tracker.add((message.role, said))
            self._spoken.append(position)

    def stretches(self) -> tuple[TopicStretch, ...]:
        found: list[TopicStretch] = []
        for topic in self._tracker.topics():
            # What tools returned before the first word of the next topic belongs to this one.
            behind = topic.last + 1
            start = self._spoken[topic.first] if found else 0
            stop = self._spoken[behind] if behind < len(self._spoken) else len(self.path)
            found.append(
                TopicStretch(start, stop, topic.label, topic.thread, topic.resumes, topic.open)
            )
        return tuple(found)


class _Names:
    def __init__(self) -> None:
        self.path: History[Message] = History()
        self.ledger = IdentifierLedger()

    def add(self, message: Message, position: int) -> None:
        self.ledger.add(message, position)


Follower = TypeVar("Follower", _Topics, _Names)


def _followed(follower: Follower, path: History[Message]) -> Follower:
    """`follower` at the end of `path`, or a new one where it was on another branch."""
    known = follower.path
    if known and known[-1].role is Role.TOOL and not path.starts_with(known):
        # It may have more results now; what it said before is noted only once.
        known = known.first(len(known) - 1)
    if not path.starts_with(known):
        follower = type(follower)()
        known = follower.path
    for position, message in enumerate(path.since(len(known)), len(known)):
        follower.add(message, position)
    follower.path = path
    return follower


class OfPath:
    """What an `OnDemand` knows of one path. Two are equal when they know the same."""

    def __init__(self, source: OnDemand, path: History[Message]) -> None:
        self._source, self._path = source, path

    def topics(self) -> tuple[TopicStretch, ...]:
        """The topics of the path."""
        return self._source.topics(self._path)

    def identifiers(self) -> tuple[Identifier, ...]:
        """The identifiers of the path."""
        return self._source.identifiers(self._path)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, OfPath):
            return NotImplemented
        return self.topics() == other.topics() and self.identifiers() == other.identifiers()

    __hash__ = None  # type: ignore[assignment]


def _said(message: Message) -> str:
    """What counts as an utterance: words, and what tools were asked about; no results."""
    if message.role not in (Role.USER, Role.ASSISTANT):
        return ""
    asked = [
        written(member)
        for call in message.tool_calls
        for _, member in scalars(decoded(call.arguments))
    ]
    return " ".join([message.text, " ".join(asked)[:_ARGUMENTS]]).strip()
