"""Where a summary ends and the originals begin.

The cut lies between two units of the window, so no call is parted from its results. As little as
needed goes: the cut is the first at which the window would fit, moved on to the end of a topic, or
else of a turn, where one is near. It does not pass the latest request of the user, unless what came
after that request is itself too long (an agent that works for hours on one prompt): then the
request stays as it is, and what was done for it first is summarised, too. System messages, the
first and the latest request and what a person pinned stay whichever side they are on.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from palaver.context.draft import Draft, Task
from palaver.context.groups import Group, GroupKind
from palaver.context.handles import handle
from palaver.context.offline_window import Assembly, Unit, Window, joined, required
from palaver.domain.compaction import Item, Kept, LossRecord, Span, Tier
from palaver.domain.messages import Flag, Message, Role, Text

_WORTH = 2.0
"""Times its own length that a summary should stand for, where there is so much: a request to a
model for less is wasted soon."""
_TOPIC_NEAR, _TURN_NEAR = 0.15, 0.05
"""Share of the target that may be summarised beyond need, to end at a topic or a turn."""


class Head(msgspec.Struct, frozen=True):
    """What is to be summarised: of the first `cut` units of the window those that are not in
    `stays`."""

    window: Window
    cut: int
    stays: frozenset[int]
    tokens: int
    """Of what goes."""
    tokens_after: int
    """Of the window with a summary of the assumed length."""
    is_within_turn: bool = False
    """Whether it reaches beyond the latest request."""

    @property
    def gone(self) -> tuple[Unit, ...]:
        """The units that the summary stands for."""
        return tuple(u for i, u in enumerate(self.window.units[: self.cut]) if i not in self.stays)

    @property
    def stop(self) -> int:
        """The position on the path behind the last message that goes."""
        return max(span.stop for unit in self.gone for span in covered(unit))

    @property
    def previous(self) -> str:
        """What earlier compactions wrote in it, for people and models who never saw more."""
        return "\n\n".join(unit.first.message.text for unit in self.gone if unit.is_extract)

    @property
    def groups(self) -> tuple[Group, ...]:
        """Its originals, and those of what stays in between: all that a summary is written from."""
        units = self.window.units[: self.cut]
        return tuple(
            Group(unit.kind, span.start, span.stop)
            for unit in units
            if not unit.is_extract
            for span in covered(unit)
        )


def choose_head(
    task: Task,
    seen: Window,
    *,
    allowance: int,
    quoted: Mapping[int, int] | None = None,
    boundaries: Collection[int] = (),
) -> Head | None:
    """The least head whose summary of `allowance` tokens brings the window to the target.

    `quoted`: by position the tokens of what is quoted of it behind the summary. `boundaries`:
    positions at which topics begin. Where the target is out of reach, the largest
    head there may be; None when nothing can go.
    """
    units = seen.units
    stays = frozenset(required(units, task))
    latest = max((i for i in stays if units[i].kind is GroupKind.USER), default=None)
    after = _tokens_after(seen, stays, allowance, quoted or {})
    last = len(units) - 1
    ends = [last] if latest is None or latest == last else [latest, last]
    end = next((end for end in ends if after[end] <= task.target), ends[-1])
    enough = [i for i in range(end + 1) if after[i] <= task.target] or [end]
    gone = _tokens_gone(seen, stays)
    cut = next((i for i in enough if gone[i] >= _WORTH * allowance), enough[0])
    cut = _snapped(cut, end, seen, after, task.target, frozenset(boundaries))
    going = [i for i in range(cut) if i not in stays]
    if not going:
        return None
    return Head(
        window=seen,
        cut=cut,
        stays=frozenset(i for i in stays if i < cut),
        tokens=sum(units[i].tokens for i in going),
        tokens_after=after[cut],
        is_within_turn=latest is not None and cut > latest,
    )


def with_summary(
    head: Head, task: Task, summary: Message, sources: tuple[tuple[int, ...], ...], strategy: str
) -> Draft:
    """The window in which `summary` stands for `head`."""
    units = head.window.units
    kept = sorted(head.stays)
    leading = [i for i in kept if i < min(set(range(head.cut)) - head.stays)]
    made = Assembly()
    for i in leading:
        _keep(made, units[i])
    behind = [units[i] for i in kept if i not in leading] + list(units[head.cut :])
    gaps = _gaps(behind)
    gone = joined([span for unit in head.gone for span in covered(unit)])
    within = {span for gap in gaps.values() for span in _between(gone, gap)}
    made.write(summary, [s for s in gone if s not in within], task.count(summary), sources)
    for number, unit in enumerate(behind):
        if number in gaps and (spans := _between(gone, gaps[number])):
            marker = _marker(spans)
            made.write(marker, spans, task.count(marker))
        _keep(made, unit)
    covers = _trimmed(made.items, head.window.covers)
    return Draft(
        covers=covers,
        items=tuple(made.items),
        strategy=strategy,
        tiers=(Tier.SUMMARY,),
        tokens_before=head.window.tokens,
        tokens_after=made.tokens,
        loss=LossRecord(messages=_messages(head), tokens=head.tokens),
    )


def covered(unit: Unit) -> tuple[Span, ...]:
    """The positions that a unit stands for."""
    return joined([span for entry in unit.entries for span in entry.covers])


def _trimmed(items: list[Item], covers: int) -> int:
    """Takes originals off the end of `items`, where they stand anyway, and returns what is covered.

    So a summary that was prepared holds although the newest messages change meanwhile.
    """
    while items and isinstance(last := items[-1], Kept) and last.stop == covers:
        covers = last.start
        items.pop()
    return covers


def _messages(head: Head) -> int:
    """Originals that go; what an earlier compaction took is not counted again."""
    return sum(len(unit.entries) for unit in head.gone if not unit.is_extract)


def _tokens_after(
    seen: Window, stays: frozenset[int], allowance: int, quoted: Mapping[int, int]
) -> list[int]:
    """For each unit the tokens of the window that is cut before it."""
    rest = seen.tokens
    found = []
    for number, unit in enumerate(seen.units):
        found.append(rest + allowance)
        if number not in stays:
            spans = covered(unit)
            rest -= unit.tokens
            rest += sum(quoted.get(at, 0) for s in spans for at in range(s.start, s.stop))
    return found


def _tokens_gone(seen: Window, stays: frozenset[int]) -> list[int]:
    """For each unit the tokens of what goes when the window is cut before it."""
    found = [0]
    for number, unit in enumerate(seen.units):
        found.append(found[-1] + (0 if number in stays else unit.tokens))
    return found


def _snapped(
    cut: int,
    end: int,
    seen: Window,
    after: Sequence[int],
    target: int,
    boundaries: frozenset[int],
) -> int:
    turns = frozenset(u.first.position for u in seen.units if u.kind is GroupKind.USER)
    for near, starts in ((_TOPIC_NEAR, boundaries), (_TURN_NEAR, turns)):
        for i in range(cut, end + 1):
            if after[cut] - after[i] > near * target:
                break
            if seen.units[i].first.position in starts:
                return i
    return cut


def _keep(made: Assembly, unit: Unit) -> None:
    for entry in unit.entries:
        made.keep(entry)


def _gaps(units: Sequence[Unit]) -> dict[int, tuple[int, int]]:
    """By number the units that cannot follow the one before, and the positions in between.

    An assistant speaks only when it is spoken to; here what was said to it has gone.
    """
    found = {}
    for number in range(1, len(units)):
        before, unit = units[number - 1].entries[-1], units[number].first
        is_mute = before.message.role in (Role.ASSISTANT, Role.SYSTEM)
        if is_mute and unit.message.role is Role.ASSISTANT:
            found[number] = (before.position, unit.position)
    return found


def _between(spans: Sequence[Span], gap: tuple[int, int]) -> list[Span]:
    return [span for span in spans if gap[0] < span.start and span.stop <= gap[1]]


def _marker(spans: Sequence[Span]) -> Message:
    first, last = handle(spans[0].start), handle(spans[-1].stop - 1)
    text = f"({first}–{last} are in the summary above.)"
    return Message(Role.USER, (Text(text),), flags=(Flag.SYNTHETIC,))
