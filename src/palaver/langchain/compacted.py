"""An agent's messages as the window that its model is sent.

The agent's own list stays whole. What a compaction decided is stored beside it as text: which
messages stay, and what stands for the others. From the two the window can always be made again, in
another process, too, and byte by byte the same until the next compaction.
"""

from collections.abc import Sequence
from hashlib import blake2b

import msgspec
from langchain_core.messages import AnyMessage, BaseMessage

from palaver.context.arranging import Arrangement
from palaver.context.counting import Counter
from palaver.context.draft import Draft, Task
from palaver.context.kinds_langchain import LANGCHAIN
from palaver.context.pieces import Sizes, emitted, first_and_latest, record, shrunk
from palaver.domain.compaction import Compaction, Kept, Written
from palaver.domain.ids import MessageId
from palaver.domain.messages import Message


class Stored(msgspec.Struct, frozen=True):
    """A compaction, and which messages it is of."""

    given: int
    digest: str
    compaction: Compaction


class Reading:
    """Messages that were read; more of the same conversation are read on."""

    def __init__(self, counter: Counter) -> None:
        self.given: list[BaseMessage] = []
        self.messages: list[Message] = []
        self.arrangement = Arrangement()
        self.sizes = Sizes(self.arrangement.pieces, counter, LANGCHAIN)

    def goes_on(self, messages: Sequence[BaseMessage]) -> bool:
        """Whether `messages` begin with the very objects that were read."""
        known = self.given
        return len(messages) >= len(known) and all(map(_is, known, messages))

    def read(self, messages: Sequence[BaseMessage]) -> None:
        """Reads what is new. Calls that wait at the end are answered: a model is asked now."""
        for message in messages[len(self.given) :]:
            self.arrangement.add(message)
            self.given.append(message)
        self.arrangement.close()
        pieces = self.arrangement.pieces
        for at in self.arrangement.changed:
            if at < len(self.messages):
                self.sizes.drop(self.messages[at])
                self.messages[at] = pieces[at].message
                self.sizes.add(pieces[at])
        self.arrangement.changed.clear()
        for piece in pieces[len(self.messages) :]:
            self.messages.append(piece.message)
            self.sizes.add(piece)


class AgentWindow:
    """The window of one request."""

    def __init__(self, reading: Reading, counter: Counter, stored: str | None) -> None:
        self._reading, self._counter = reading, counter
        self.previous = _previous(stored, reading)

    @property
    def tokens(self) -> int:
        """Of all its messages."""
        messages, sizes, previous = self._reading.messages, self._reading.sizes, self.previous
        if previous is None:
            return sum(map(sizes, messages))
        tokens = sum(map(sizes, messages[previous.covers :]))
        for item in previous.items:
            if isinstance(item, Written):
                tokens += sizes(item.message)
            else:
                tokens += sum(map(sizes, messages[item.start : item.stop]))
        return tokens

    def task(self, target: int, instructions: str) -> Task:
        """To make it fit `target` tokens."""
        pieces = self._reading.arrangement.pieces
        return Task(
            messages=self._reading.messages,
            target=target,
            count=self._reading.sizes,
            pins=frozenset(MessageId(str(at)) for at in first_and_latest(pieces)),
            previous=self.previous,
            instructions=instructions,
        )

    def offline(self, target: int) -> Draft:
        """The window within `target` without a model. Raises ContextWindowExceeded."""
        pieces = self._reading.arrangement.pieces
        return shrunk(self.task(target, ""), pieces, self._counter, LANGCHAIN)[0]

    def take(self, draft: Draft) -> str:
        """The window is now that of `draft`. Returns what is to be stored."""
        pieces = self._reading.arrangement.pieces
        rest = (Kept(draft.covers, len(pieces)),) if draft.covers < len(pieces) else ()
        self.previous = record((*draft.items, *rest), pieces)
        given = self._reading.given
        stored = Stored(len(given), _digest(given), self.previous)
        return msgspec.json.encode(stored).decode()

    def messages(self) -> list[AnyMessage]:
        """What the model is to be sent."""
        pieces, previous = self._reading.arrangement.pieces, self.previous
        if previous is None:
            return [each for piece in pieces for each in piece.foreign]  # type: ignore[misc]
        made = emitted(previous.items, pieces, LANGCHAIN)
        made += [each for piece in pieces[previous.covers :] for each in piece.foreign]
        return made  # type: ignore[return-value]

    def originals(self, at: int) -> tuple[BaseMessage, ...]:
        """What stands behind the handle of position `at`; nothing where there is none."""
        pieces = self._reading.arrangement.pieces
        return pieces[at].foreign if 0 <= at < len(pieces) else ()  # type: ignore[return-value]


def _previous(stored: str | None, reading: Reading) -> Compaction | None:
    """What was stored, where it is of these messages; somebody may have changed them."""
    if not stored:
        return None
    try:
        found = msgspec.json.decode(stored, type=Stored)
    except msgspec.MsgspecError:
        return None  # of a version with other fields
    given = reading.given[: found.given]
    if len(given) < found.given or _digest(given) != found.digest:
        return None
    return found.compaction if found.compaction.covers <= len(reading.messages) else None


def _digest(messages: Sequence[BaseMessage]) -> str:
    digest = blake2b(digest_size=16)
    for message in messages:
        said = message.id or f"{message.type}\0{message.content!r}"
        digest.update(said.encode("utf-8", "replace") + b"\0")
    return digest.hexdigest()


def _is(one: object, other: object) -> bool:
    return one is other
