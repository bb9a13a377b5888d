"""The parts of an analysis that are looked at seldom: topics and identifiers.

They follow a path when they are asked for, and only over what is new since then, so a message that
comes costs nothing here. An analysis keeps the path that it speaks of, and may be asked later and
from another thread.
"""

from collections.abc import Iterable
from threading import Lock

from palaver.context.analysis import TopicStretch
from palaver.context.identifiers import decoded, scalars, written
from palaver.context.names import Identifier, IdentifierLedger
from palaver.context.topics import Topic, TopicTracker
from palaver.domain.history import History
from palaver.domain.messages import Message, Role

_ARGUMENTS = 300
"""Characters of calls that are read for their topic: what a tool is used on tells the matter."""


class OnDemand:
    """Follows the branches of one conversation."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._restart()

    def _restart(self) -> None:
        self._path: History[Message] = History()
        self._tracker = TopicTracker()
        self._names = IdentifierLedger()
        self._spoken: list[int] = []
        """Position of each utterance."""

    def topics(self, path: History[Message]) -> tuple[TopicStretch, ...]:
        """The topics of `path`."""
        with self._lock:
            self._follow(path)
            return self._stretches(self._tracker.topics(), len(path))

    def identifiers(self, path: History[Message]) -> tuple[Identifier, ...]:
        """The identifiers of `path`, the likeliest to be needed again first."""
        with self._lock:
            self._follow(path)
            return self._names.ranked()

    def _follow(self, path: History[Message]) -> None:
        known = self._path
        if known and known[-1].role is Role.TOOL and not path.starts_with(known):
            # It may have more results now; what it said before is noted only once.
            known = known.first(len(known) - 1)
        if not path.starts_with(known):
            self._restart()
            known = self._path
        for position, message in enumerate(path.since(len(known)), len(known)):
            said = _said(message)
            if said:
                self._tracker.add((message.role, said))
                self._spoken.append(position)
            self._names.add(message, position)
        self._path = path

    def _stretches(self, topics: Iterable[Topic], length: int) -> tuple[TopicStretch, ...]:
        found: list[TopicStretch] = []
        for topic in topics:
            # What tools returned before the first word of the next topic belongs to this one.
            start = self._spoken[topic.first] if found else 0
            stop = self._spoken[topic.last + 1] if topic.last + 1 < len(self._spoken) else length
            found.append(
                TopicStretch(start, stop, topic.label, topic.thread, topic.resumes, topic.open)
            )
        return tuple(found)


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
