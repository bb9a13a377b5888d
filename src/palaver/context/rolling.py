"""A window that stays within its budget while a conversation goes on for ever.

Between compactions it only grows at its end, so a provider's cache of the prefix holds. What an
append costs depends on the message, what a compaction costs on the window; neither on how long the
conversation has become. Every original stays, and can be asked for by the handles in the window.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from palaver.context.arranging import Arrangement
from palaver.context.counting import Counter
from palaver.context.draft import Draft, Task
from palaver.context.handles import handle, position_of
from palaver.context.identifiers import texts
from palaver.context.kinds import Foreign, Kind
from palaver.context.pieces import Sizes, is_extract, record, shrunk
from palaver.domain.compaction import Compaction
from palaver.domain.errors import ContextWindowExceeded, InvalidInput, NotFound
from palaver.domain.ids import MessageId
from palaver.domain.messages import Message

M = TypeVar("M")
TRIGGER = 0.85
TARGET = 0.6
"""As conversations have them (`CompactionSettings`)."""
_AGAIN = 0.05
"""Of the budget: so much must have come before what could not shrink is tried again."""
_EXCERPT = 200


class Found(msgspec.Struct, frozen=True):
    """An original that holds what was searched for."""

    handle: str
    excerpt: str
    messages: tuple[Any, ...]


class Window(Generic[M]):
    """A conversation within `budget_tokens`, of whatever kind of message is appended.

    When it has more than `trigger` of the budget, it is compacted to at most `target` of it (both
    as shares). `count` and `model` as for `compact`. Not for several threads at a time.
    """

    def __init__(
        self,
        budget_tokens: int,
        *,
        trigger: float = TRIGGER,
        target: float = TARGET,
        count: Callable[[Any], float] | object | None = None,
        model: str = "",
    ) -> None:
        if not 0 < target <= trigger <= 1:
            raise InvalidInput(
                f"trigger {trigger} and target {target} are no shares of the budget",
                hint="0 < target <= trigger <= 1, for example 0.6 and 0.85.",
            )
        self._budget, self._trigger, self._target = budget_tokens, trigger, target
        self._counter = Counter(count, model=model)
        self._arrangement = Arrangement()
        self._given: list[M] = []
        self._messages: list[Message] = []
        self._kind: Kind | None = None
        self._sizes: Sizes | None = None
        self._shown: list[Foreign] = []
        self._prefix = 0
        """Objects of `_shown` that the newest compaction made."""
        self._tokens = 0
        self._added = 0
        """What the counter adds for a list as such."""
        self._previous: Compaction | None = None
        self._users: list[int] = []
        """The positions of the first and the latest message of the user."""
        self._refused = 0
        self._compactions = 0

    def append(self, message: M) -> None:
        """The conversation has gone on by `message`; the window is compacted if that is due.

        Raises InvalidInput for what is no message; the window is as before then.
        """
        self._arrangement.add(message)
        self._given.append(message)
        self._take()
        if self.tokens > self._due():
            self._shrink()

    def messages(self) -> list[M]:
        """What a model is to be sent: valid history, within the budget.

        While calls wait for their results, their message and the results that are there stand at
        the end, as given. Raises ContextWindowExceeded when what must stay is larger than the
        budget; its `part` says what that is.
        """
        if self.tokens > self._budget:
            self._shrink(must=True)
        return [*self._shown, *self._arrangement.waiting()]  # type: ignore[list-item]

    def originals(self) -> list[M]:
        """Everything that was appended, in its order."""
        return list(self._given)

    def recall(self, name: str) -> tuple[M, ...]:
        """The originals behind a handle such as `m12`: a message, or all results of one.

        Raises NotFound where there is none.
        """
        at = position_of(name)
        if at is None or not 0 <= at < len(self._messages):
            raise NotFound(f"there is no message {name!r}")
        return self._arrangement.pieces[at].foreign  # type: ignore[return-value]

    def search(self, text: str, *, limit: int = 10) -> list[Found]:
        """Originals that hold most of the words of `text`, the best and newest first."""
        found = excerpts(self._messages, text, limit=limit)
        return [Found(handle(at), said, self.recall(handle(at))) for at, said in found]

    @property
    def tokens(self) -> int:
        """Of the window, by its counter; what is not sent yet included."""
        waiting = sum(map(self._counter.message, self._arrangement.waiting()))
        return self._tokens + waiting + (self._added if self._shown else 0)

    @property
    def compactions(self) -> int:
        """How often it was compacted."""
        return self._compactions

    def _take(self) -> None:
        """What is new in the arrangement enters the window."""
        pieces = self._arrangement.pieces
        if self._sizes is None and pieces:
            self._kind = pieces[0].kind
            self._sizes = Sizes(pieces, self._counter, self._kind)
            first = pieces[0].foreign
            alone = sum(map(self._counter.message, first))
            self._added = max(0, self._counter.messages(first) - alone)
        for at in range(len(self._messages), len(pieces)):
            piece = pieces[at]
            self._messages.append(piece.message)
            self._shown += piece.foreign
            self._tokens += self._sized(at)
            if piece.is_from_user and not is_extract(piece.message):
                self._users = [*self._users[:1], at]
        if self._arrangement.changed:
            self._retake()

    def _sized(self, at: int) -> int:
        assert self._sizes is not None
        return self._sizes.add(self._arrangement.pieces[at])

    def _retake(self) -> None:
        """Late results have replaced pieces behind the newest compaction."""
        pieces, changed = self._arrangement.pieces, self._arrangement.changed
        assert self._sizes is not None
        for at in changed:
            self._tokens -= self._sizes.drop(self._messages[at])
            self._messages[at] = pieces[at].message
            self._tokens += self._sized(at)
        changed.clear()
        del self._shown[self._prefix :]
        for piece in pieces[self._arrangement.fixed :]:
            self._shown += piece.foreign

    def _due(self) -> float:
        """Tokens above which the window is compacted."""
        if self._arrangement.is_waiting:
            return self._budget  # soon there will be results that can be cleared
        return max(self._trigger * self._budget, self._refused)

    def _shrink(self, *, must: bool = False) -> None:
        refusal: ContextWindowExceeded | None = None
        waiting = sum(map(self._counter.message, self._arrangement.waiting()))
        is_over = self.tokens > self._budget
        for share in (self._target, *((self._trigger, 1.0) if is_over else ())):
            try:
                draft, shown = self._shrunk(int(self._budget * share) - waiting)
            except ContextWindowExceeded as error:
                refusal = error
                continue
            self._accept(draft, shown)
            return
        self._refused = int(self.tokens + _AGAIN * self._budget)
        if must and refusal is not None:
            raise refusal

    def _shrunk(self, target: int) -> tuple[Draft, list[Foreign]]:
        assert self._sizes is not None
        assert self._kind is not None
        task = Task(
            messages=self._messages,
            target=target,
            count=self._sizes,
            pins=frozenset(MessageId(str(at)) for at in self._users),
            previous=self._previous,
        )
        return shrunk(task, self._arrangement.pieces, self._counter, self._kind)

    def _accept(self, draft: Draft, shown: list[Foreign]) -> None:
        if not draft.tiers:
            return
        self._previous = record(draft.items, self._arrangement.pieces)
        self._shown, self._prefix = shown, len(shown)
        self._tokens = draft.tokens_after
        self._arrangement.fixed = len(self._messages)
        self._refused = 0
        self._compactions += 1


def excerpts(messages: Sequence[Message], text: str, *, limit: int) -> list[tuple[int, str]]:
    """Positions of messages that hold most of the words of `text`, the best and newest first, each
    with what it says around them. Costs a walk over all."""
    words = dict.fromkeys(text.casefold().split())
    ranked: list[tuple[int, int, str]] = []
    for at, message in enumerate(messages):
        said = "\n".join(texts(message))
        folded = said.casefold()
        if hits := sum(word in folded for word in words):
            ranked.append((hits, at, said))
    best = sorted(ranked, key=lambda each: each[:2], reverse=True)[:limit]
    return [(at, _excerpt(said, words)) for _, at, said in best]


def _excerpt(said: str, words: dict[str, None]) -> str:
    folded = said.casefold()
    at = min(found for word in words if (found := folded.find(word)) >= 0)
    start = max(0, min(at, len(said)) - _EXCERPT // 4)
    return " ".join(said[start : start + _EXCERPT].split())
