"""The window that a compaction starts from, as atomic units, and the one that it makes.

Without an earlier compaction the window is the path. With one, what it wrote stands for what it
covers, so the work is that of the window and of what is new, however long the path is.
"""

from collections.abc import Iterator, Sequence

import msgspec

from palaver.context.draft import Draft, Task
from palaver.context.groups import GroupKind, groups
from palaver.domain.compaction import Item, Kept, LossRecord, Span, Tier, Written
from palaver.domain.messages import Flag, Message, Role, StopReason


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One message of the window. `item` is what an earlier compaction wrote; None: an original."""

    message: Message
    position: int
    """On the path; of what was written, the first position that it covers."""
    tokens: int
    item: Written | None = None

    @property
    def covers(self) -> tuple[Span, ...]:
        """The positions that it stands for."""
        if self.item is not None:
            return self.item.covers
        return (Span(self.position, self.position + 1),)


class Unit(msgspec.Struct, frozen=True, gc=False):
    """Entries that stay together: a call with its results, or one message."""

    kind: GroupKind
    entries: tuple[Entry, ...]

    @property
    def tokens(self) -> int:
        """Of all its messages."""
        return sum(entry.tokens for entry in self.entries)

    @property
    def first(self) -> Entry:
        """The message that it begins with."""
        return self.entries[0]

    @property
    def is_open(self) -> bool:
        """Whether it holds a call that is still without result."""
        message = self.entries[-1].message
        return message.role is Role.ASSISTANT and bool(message.tool_calls)

    @property
    def is_extract(self) -> bool:
        """Whether an earlier compaction wrote it in place of other messages."""
        return self.first.item is not None


class Window(msgspec.Struct, frozen=True):
    """Units in their order."""

    units: tuple[Unit, ...]
    covers: int
    """Messages of the path."""

    @property
    def tokens(self) -> int:
        """Of all messages."""
        return sum(unit.tokens for unit in self.units)


def window(task: Task) -> Window:
    """The window as it is before `task`."""
    entries = list(_entries(task))
    units: list[Unit] = []
    for group in groups([entry.message for entry in entries]):
        unit = Unit(group.kind, tuple(entries[group.start : group.stop]))
        if units and _goes_on(units[-1], unit):
            # A paused answer and what continues it are sent back as they came.
            units[-1] = Unit(unit.kind, (*units[-1].entries, *unit.entries))
        else:
            units.append(unit)
    return Window(tuple(units), len(task.messages))


def _goes_on(unit: Unit, following: Unit) -> bool:
    last = unit.entries[-1].message
    speaks = following.first.message.role is Role.ASSISTANT
    return speaks and last.role is Role.ASSISTANT and last.stop is StopReason.PAUSE


def _entries(task: Task) -> Iterator[Entry]:
    messages, count, covered = task.messages, task.count, 0
    if task.previous is not None:
        covered = task.previous.covers
        for item in task.previous.items:
            if isinstance(item, Written):
                at = min(span.start for span in item.covers)
                yield Entry(item.message, at, count(item.message), item)
            else:
                for position in range(item.start, item.stop):
                    yield Entry(messages[position], position, count(messages[position]))
    for position in range(covered, len(messages)):
        yield Entry(messages[position], position, count(messages[position]))


class Assembly:
    """Items in the order of the window that is being made."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.tokens = 0

    def keep(self, entry: Entry) -> None:
        """The message stays as it is."""
        self.tokens += entry.tokens
        if entry.item is not None:
            self.items.append(entry.item)
            return
        last = self.items[-1] if self.items else None
        if isinstance(last, Kept) and last.stop == entry.position:
            self.items[-1] = Kept(last.start, entry.position + 1)
        else:
            self.items.append(Kept(entry.position, entry.position + 1))

    def write(
        self,
        message: Message,
        covers: Sequence[Span],
        tokens: int,
        sources: tuple[tuple[int, ...], ...] = (),
    ) -> None:
        """`message` stands for the positions that it covers."""
        self.tokens += tokens
        self.items.append(Written(message, joined(covers), sources))

    def cover_too(self, covers: Sequence[Span], preface: str) -> None:
        """The newest message that begins with `preface` stands for these positions as well."""
        for at in range(len(self.items) - 1, -1, -1):
            item = self.items[at]
            if isinstance(item, Written) and item.message.text.startswith(preface):
                covered = joined((*item.covers, *covers))
                self.items[at] = Written(item.message, covered, item.sources)
                return


def joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    """`spans` in order, neighbours as one."""
    made: list[Span] = []
    for span in sorted(spans, key=lambda each: each.start):
        if made and made[-1].stop == span.start:
            made[-1] = Span(made[-1].start, span.stop)
        else:
            made.append(span)
    return tuple(made)


def drafted(
    task: Task, before: Window, made: Assembly, tiers: tuple[Tier, ...], loss: LossRecord
) -> Draft:
    """The proposal that `made` is."""
    return Draft(
        covers=before.covers,
        items=tuple(made.items),
        strategy="offline",
        tiers=tiers,
        tokens_before=before.tokens,
        tokens_after=made.tokens,
        loss=loss,
    )


def required(units: Sequence[Unit], task: Task) -> dict[int, str]:
    """The units that no compaction touches, by number, with what they are called."""
    spoken = [
        n for n, unit in enumerate(units) if unit.kind is GroupKind.USER and not unit.is_extract
    ]
    # What Palaver wrote in a person's place, to make an import valid, is nobody's request.
    own = [n for n in spoken if Flag.SYNTHETIC not in units[n].first.message.flags]
    spoken = own or spoken
    found = {n: "the system message" for n, u in enumerate(units) if u.kind is GroupKind.SYSTEM}
    for number, unit in enumerate(units):
        if any(entry.message.id in task.pins for entry in unit.entries if entry.message.id):
            found[number] = "a pinned message"
        elif unit.is_open:
            found[number] = "a call that waits for its result"
    if spoken:
        found[spoken[0]] = "the first message of the user"
        found[spoken[-1]] = "the latest message of the user"
    return found
