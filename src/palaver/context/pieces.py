"""From pieces to a task, and from a draft back to the caller's objects."""

from collections.abc import Collection, Sequence

from msgspec.structs import replace

from palaver.context import offline
from palaver.context.arranging import Piece
from palaver.context.counting import Counter
from palaver.context.draft import Draft, Task
from palaver.context.extractive_material import PREFACE
from palaver.context.kinds import Foreign, Given, Kind
from palaver.domain.compaction import Compaction, Item, Kept, Span, Written
from palaver.domain.errors import ContextWindowExceeded
from palaver.domain.ids import CompactionId, MessageId
from palaver.domain.messages import Message, Role, ToolResult

_ROUNDS = 12


class Sizes:
    """What each message counts: pieces as they came, what was written in its kind."""

    def __init__(self, pieces: Sequence[Piece], counter: Counter, kind: Kind) -> None:
        self._pieces, self._counter, self._kind = pieces, counter, kind
        self._known: dict[int, tuple[Message, int]] = {}

    def add(self, piece: Piece) -> int:
        """The tokens of a piece, which are known from now on."""
        tokens = self._counter.piece(piece.message, piece.foreign)
        # The message is kept with them, so that no other one gets its address.
        self._known[id(piece.message)] = (piece.message, tokens)
        return tokens

    def drop(self, message: Message) -> int:
        """Forget a message; returns what it counted."""
        return self._known.pop(id(message), (message, 0))[1]

    def __call__(self, message: Message) -> int:
        """Tokens of any message of a task or a draft."""
        known = self._known.get(id(message))
        if known is not None:
            return known[1]
        return sum(map(self._counter.message, written(message, self._pieces, self._kind)))


def shrunk(
    task: Task, pieces: Sequence[Piece], counter: Counter, kind: Kind
) -> tuple[Draft, list[Foreign]]:
    """The draft for `task`, and the objects of its window, which the counter of the caller says to
    be within `task.target`. Raises ContextWindowExceeded.
    """
    budget = target = task.target
    tokens = 0
    for _ in range(_ROUNDS):
        try:
            draft = offline.compact(replace(task, target=target))
        except ContextWindowExceeded as error:
            needed = max(error.tokens + budget - target, budget + 1)
            raise ContextWindowExceeded(
                tokens=needed, window=budget, hint=error.hint, part=error.part
            ) from None
        made = emitted(draft.items, pieces, kind)
        made += [each for piece in pieces[draft.covers :] for each in piece.foreign]
        tokens = counter.messages(made)
        if tokens <= budget:
            return draft, made
        # Counters of lists may add something for the list, or round for it as a whole.
        target -= max(tokens - budget, 1)
    raise ContextWindowExceeded(tokens=tokens, window=budget, part="what the counter adds")


def emitted(items: Sequence[Item], pieces: Sequence[Piece], kind: Kind) -> list[Foreign]:
    """The caller's objects for these items, and new ones of the same kind for what was written."""
    made: list[Foreign] = []
    for item in items:
        if isinstance(item, Kept):
            for at in range(item.start, item.stop):
                made += pieces[at].foreign
        else:
            made += written(item.message, pieces, kind)
    return made


def written(message: Message, pieces: Sequence[Piece], kind: Kind) -> tuple[Foreign, ...]:
    """What a compaction wrote, in the kind of what it stands for."""
    if not message.id:
        return (kind.user(message.text),)
    piece = pieces[int(message.id)]
    if piece.message is message:
        return piece.foreign  # it came in as what an earlier compaction wrote
    results = {result.call_id: result for result in message.tool_results}
    return piece.kind.answers([_told(each, results[each.call.id]) for each in piece.given])


def _told(given: Given, result: ToolResult) -> Given:
    return replace(given, result=result, is_changed=given.is_changed or result != given.result)


def is_extract(message: Message) -> bool:
    """Whether an earlier compaction wrote it, as far as its text tells."""
    return message.role is Role.USER and message.text.partition("\n")[0] == PREFACE


def first_and_latest(pieces: Sequence[Piece]) -> tuple[int, ...]:
    """The positions of the first and the latest message that a person wrote."""
    said = [n for n, p in enumerate(pieces) if p.is_from_user and not is_extract(p.message)]
    return (said[0], said[-1]) if said else ()


def earlier(pieces: Sequence[Piece], pins: Collection[MessageId]) -> Compaction | None:
    """What earlier compactions wrote in a list that went on: quoted again, and no word of a user.

    None where there is nothing of that.
    """
    items: list[Item] = []
    for at, piece in enumerate(pieces):
        if is_extract(piece.message) and piece.message.id not in pins:
            items.append(Written(piece.message, (Span(at, at + 1),)))
        else:
            items.append(Kept(at, at + 1))
    return record(items, pieces) if any(isinstance(i, Written) for i in items) else None


def record(items: Sequence[Item], pieces: Sequence[Piece]) -> Compaction:
    """`items`, which stand for all pieces, as what the next compaction starts from."""
    return Compaction(
        id=CompactionId(""),
        covers=len(pieces),
        upto=pieces[-1].message.id,
        items=tuple(items),
        strategy="offline",
    )
