"""What requests hold of a conversation, as it was encoded: a turn does not encode it again.

A request repeats every message of the one before it. A message is encoded once, and joined once
with its neighbours; a body is what was joined, the newest messages and a small head. No old message
is looked at: whether a request goes on from what is kept, the histories' shared chunks tell.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from operator import eq
from typing import Generic, Protocol, TypeAlias, TypeVar

from palaver.domain.history import History
from palaver.domain.ids import ConversationId
from palaver.domain.messages import Message
from palaver.providers.base import ToolSpec

RUN_BYTES = 128 * 1024
"""Fragments are joined when they make this much: at most so much is copied for each request. Halves
of it cost a fifth more to send."""
KEPT_BYTES = 32 * 1024 * 1024
"""For each model: some 40 conversations of 200,000 tokens. Their messages stay alive with them."""
KEPT_CONVERSATIONS = 1024
_PATIENCE = 2
"""Requests of the same conversation after which an unused sequence is let go."""

Body: TypeAlias = list[bytes]
"""A request's body in pieces, so that nobody has to join them."""
V = TypeVar("V")


class Pieces:
    """The elements of a JSON array that grows."""

    def __init__(self) -> None:
        self.size = 0
        """Bytes of all elements."""
        self._joined: list[bytes] = []
        self._new: list[bytes] = []
        self._fresh = 0

    def add(self, element: bytes) -> None:
        """One more at the end."""
        if self._fresh >= RUN_BYTES:
            # The comma behind them can be there already, because another element follows.
            self._joined.append(b",".join([*self._new, b""]))
            self._new, self._fresh = [], 0
        self._new.append(element)
        self._fresh += len(element)
        self.size += len(element)

    def between(
        self, head: bytes, foot: bytes, *, first: bytes = b"", last: Sequence[bytes] = ()
    ) -> Body:
        """`head`, the elements between `first` and those of `last`, and `foot`."""
        if first:
            head += first + b"," if self.size or last else first
        end = b",".join([*self._new, *last])
        if not self._joined:
            return [b"".join((head, end, foot))]
        return [head, *self._joined, end + foot]


class EncodedMessages(Pieces):
    """The messages of a sequence; what fits between them is the API's business."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: History[Message] = History()
        """What has been added."""


class Encoded(Protocol):
    """A sequence of messages in the form of an API."""

    messages: History[Message]

    @property
    def size(self) -> int:
        """Bytes of all messages."""
        ...


E = TypeVar("E", bound=Encoded)


class Kept(Generic[E]):
    """The newest requests' messages; the conversations that were quiet for longest leave first.

    A conversation may have several sequences (a summary is asked for, two requests overlap); those
    that are not gone on with are let go a few requests later.
    """

    def __init__(self, new: Callable[[], E], *, capacity: int = KEPT_BYTES) -> None:
        self._new, self._capacity = new, capacity
        self._kept: OrderedDict[ConversationId | None, list[tuple[E, int]]] = OrderedDict()
        self.size = 0
        """Bytes kept."""

    def __len__(self) -> int:
        """Sequences kept."""
        return sum(map(len, self._kept.values()))

    def take(self, conversation: ConversationId | None, messages: History[Message]) -> E:
        """The most that is kept of the beginning of `messages`, perhaps nothing.

        It is the caller's until it is `put` back: another request may come while it grows.
        """
        kept = self._kept.get(conversation, [])
        fitting = [entry for entry in kept if messages.starts_with(entry[0].messages)]
        if not fitting:
            return self._new()
        longest = max(fitting, key=lambda entry: len(entry[0].messages))
        kept.remove(longest)
        self.size -= longest[0].size
        return longest[0]

    def put(self, conversation: ConversationId | None, encoded: E) -> None:
        """Keep `encoded`, and let others go until all fit."""
        others = self._kept.pop(conversation, [])
        self._kept[conversation] = [(encoded, 0)]
        self.size += encoded.size
        for other, unused in others:
            if unused < _PATIENCE:
                self._kept[conversation].append((other, unused + 1))
            else:
                self.size -= other.size
        while self.size > self._capacity or len(self._kept) > KEPT_CONVERSATIONS:
            _, quiet = self._kept.popitem(last=False)
            self.size -= sum(old.size for old, _ in quiet)


class Latest(Generic[V]):
    """The encoding of something that every request has and that seldom changes."""

    def __init__(self, encode: Callable[[V], bytes], *, same: Callable[[V, V], bool] = eq) -> None:
        self._encode, self._same = encode, same
        self._latest: tuple[V, bytes] | None = None

    def of(self, value: V) -> bytes:
        """`value` encoded, at once if it is the same as the last one."""
        if self._latest is None or not self._same(self._latest[0], value):
            self._latest = value, self._encode(value)
        return self._latest[1]


def same_tools(some: tuple[ToolSpec, ...], others: tuple[ToolSpec, ...]) -> bool:
    """Whether they say the same: schemas are compared by identity, 1 and true are equal else."""
    return some is others or (
        len(some) == len(others)
        and all(
            one.schema is other.schema
            and one.name == other.name
            and one.description == other.description
            for one, other in zip(some, others, strict=True)
        )
    )
