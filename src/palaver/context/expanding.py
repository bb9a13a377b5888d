"""From a handle back to the originals: to read them, or to put them into the window again."""

import re
from collections.abc import Sequence

from msgspec.structs import replace

from palaver.context.draft import CountMessage
from palaver.context.groups import groups
from palaver.context.handles import position_of
from palaver.domain.compaction import Compaction, Item, Kept, Span, Written, window_of
from palaver.domain.errors import InvalidInput, NotFound
from palaver.domain.history import History
from palaver.domain.ids import CompactionId
from palaver.domain.messages import Message
from palaver.domain.state import ConversationState

_BETWEEN = re.compile(r"\s*(?:-|–|—|\.\.+|to|bis)\s*")


def positions(path: Sequence[Message], name: str) -> range:
    """The positions that a handle names: `m12`, or a range, `m3-m9`. Raises NotFound."""
    ends = _BETWEEN.split(name.strip().strip("[]"))
    named = [position_of(end if end[:1] == "m" else f"m{end}") for end in ends]
    first, last = named[0], named[-1]
    if first is None or last is None or len(ends) > 2 or first > last or last >= len(path):
        raise NotFound(
            f"there are no messages {name!r}",
            hint=f"Handles go from m1 to m{len(path)}; a range is m3-m9." if path else "",
        )
    return range(first, last + 1)


def originals(path: History[Message], name: str) -> tuple[Message, ...]:
    """The messages that a handle names, as they were said. Raises NotFound."""
    return tuple(path[at] for at in positions(path, name))


def expanded(
    state: ConversationState, name: str, id: CompactionId, count: CountMessage
) -> Compaction:
    """The present compaction with these messages in the window again, calls with their results.

    Raises NotFound, and InvalidInput when the window holds them as they are.
    """
    path, present = state.messages, state.compaction
    wanted = set(positions(path, name))
    if present is None or not (wanted & _written(present)):
        raise InvalidInput(f"the window holds {name} as it is")
    back = _whole(path, present, wanted) & _written(present)
    items = _inserted([kept for i in present.items if (kept := _without(i, back))], _runs(back))
    compaction = replace(
        present,
        id=id,
        items=tuple(items),
        reason="expand",
        tokens_before=sum(map(count, state.window)),
        loss=replace(present.loss, messages=max(0, present.loss.messages - len(back))),
    )
    after = sum(map(count, window_of(path, compaction)))
    return replace(compaction, tokens_after=after)


def _written(compaction: Compaction) -> set[int]:
    written = (i for i in compaction.items if isinstance(i, Written))
    return {at for item in written for at in _covered(item)}


def _covered(item: Written) -> set[int]:
    return {at for span in item.covers for at in range(span.start, span.stop)}


def _whole(path: History[Message], compaction: Compaction, wanted: set[int]) -> set[int]:
    """`wanted` with whatever must not be parted from it: calls and results, and what one written
    call or result stands for."""
    bonds = [set(range(g.start, g.stop)) for g in groups(path)]
    bonds += [_covered(i) for i in compaction.items if isinstance(i, Written) and _is_stub(i)]
    grown = set(wanted)
    while True:
        more = {at for bond in bonds if bond & grown for at in bond} - grown
        if not more:
            return grown
        grown |= more


def _is_stub(item: Written) -> bool:
    return bool(item.message.tool_calls or item.message.tool_results)


def _without(item: Item, back: set[int]) -> Item | None:
    if isinstance(item, Kept):
        return item
    left = _runs(_covered(item) - back)
    # What each line comes from stays true: the lines are not rewritten.
    return replace(item, covers=tuple(left)) if left else None


def _runs(positions: set[int]) -> list[Span]:
    found: list[Span] = []
    for at in sorted(positions):
        if found and found[-1].stop == at:
            found[-1] = Span(found[-1].start, at + 1)
        else:
            found.append(Span(at, at + 1))
    return found


def _inserted(items: list[Item], spans: list[Span]) -> list[Item]:
    for span in spans:
        behind = (n for n, item in enumerate(items) if _begins(item) > span.start)
        items.insert(next(behind, len(items)), Kept(span.start, span.stop))
    return items


def _begins(item: Item) -> int:
    return item.start if isinstance(item, Kept) else item.covers[0].start
