"""Any list of messages becomes history that every provider takes, and says what was mended.

The order of the steps matters: text is made storable and blocks are put where they belong; results
find their calls (`pairing`); then what is empty goes, speakers are joined, and the user comes
first. After each step the promises of those before it still hold, so repairing twice changes
nothing more: a second repair has nothing to report.

Visible text is never lost. White space alone is no message, and thinking is no visible text.
"""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from palaver.domain.messages import (
    Block,
    Flag,
    Message,
    Reasoning,
    Refusal,
    Role,
    StopReason,
    Text,
)
from palaver.domain.state import tool_message_id
from palaver.domain.text import clean
from palaver.travel.base import Repair, RepairKind
from palaver.travel.pairing import Item, Pairing

BEGINNING = "(The conversation begins with the assistant.)"
"""What the user says where a source lets the assistant speak first."""


def repair(
    messages: Sequence[Message], *, records: Sequence[int] = ()
) -> tuple[tuple[Message, ...], tuple[Repair, ...]]:
    """`messages` as valid history, and what was mended for that.

    `records`: for each message its position at the source; by default its own. The result is empty
    where nothing was said. Ids stay; a tool message that had to be made is named after the
    assistant message that it answers. Where messages have ids, each is the parent of the next.
    """
    items = [Item(m, records[n] if records else n) for n, m in enumerate(messages)]
    mended, repairs = repair_items(items)
    return tuple(_linked([item.message for item in mended])), repairs


def repair_items(
    items: Sequence[Item], *, behind: Sequence[Message] = ()
) -> tuple[list[Item], tuple[Repair, ...]]:
    """The same with the position of each message; nothing is linked.

    `behind`: valid history that these messages follow. It stays as it is: its calls are answered,
    so their ids are taken, and the user has spoken.
    """
    made = Mended()
    taken = (call.id for message in behind for call in message.tool_calls)
    paired = Pairing(made.note, taken=taken).paired([made.cleaned(item) for item in items])
    ended = made.ends(made.joined(made.filled(paired)))
    return made.first_user(ended, begun=bool(behind)), tuple(made.repairs)


class Mended:
    """The steps on the way, and the list of what they did."""

    def __init__(self) -> None:
        self.repairs: list[Repair] = []

    def note(self, kind: RepairKind, record: int, detail: str = "") -> None:
        """Something was mended."""
        self.repairs.append(Repair(kind, record, detail))

    def cleaned(self, item: Item) -> Item:
        """Text that can be stored everywhere; an aborted message says that it is partial."""
        message, flags = item.message, list(item.message.flags)
        if message.stop is StopReason.ABORTED and Flag.PARTIAL not in flags:
            flags.append(Flag.PARTIAL)
            self.note(RepairKind.ABORTED_TURN, item.record)
        cleaned = [storable(block) for block in message.content]
        if any(lost for _, lost in cleaned):
            self.note(RepairKind.SANITISED_TEXT, item.record)
            if Flag.SANITISED not in flags:
                flags.append(Flag.SANITISED)
        message = replace(
            message,
            content=tuple(block for block, _ in cleaned),
            flags=tuple(flags),
            model=clean(message.model)[0],
            native_id=clean(message.native_id)[0],
        )
        return Item(message, item.record)

    def filled(self, items: Iterable[Item]) -> list[Item]:
        """Without messages that hold nothing."""
        kept = []
        for item in items:
            if is_blank(item.message.content):
                self.note(RepairKind.EMPTY_MESSAGE, item.record, str(item.message.role))
            else:
                kept.append(item)
        return kept

    def joined(self, items: Iterable[Item]) -> list[Item]:
        """One message where the assistant speaks twice in a row."""
        kept: list[Item] = []
        for item in items:
            last = kept[-1].message if kept else None
            if (
                last is not None
                and last.role is item.message.role is Role.ASSISTANT
                and last.stop is not StopReason.PAUSE
            ):
                kept[-1] = Item(_both(last, item.message), kept[-1].record)
                self.note(RepairKind.MERGED_MESSAGES, item.record)
            else:
                kept.append(item)
        return kept

    def ends(self, items: Iterable[Item]) -> list[Item]:
        """Without thinking behind which nothing came: providers refuse it."""
        kept = []
        for item in items:
            message = item.message
            if message.role is Role.ASSISTANT and message.stop is not StopReason.PAUSE:
                content = _without_loose_thinking(message.content)
                if content != message.content:
                    self.note(RepairKind.DROPPED_REASONING, item.record)
                    message = replace(message, content=content)
                if is_blank(content):
                    continue
            kept.append(Item(message, item.record))
        return kept

    def first_user(self, items: Sequence[Item], *, begun: bool = False) -> list[Item]:
        """A user who speaks before the assistant does."""
        kept: list[Item] = []
        for item in items:
            before = kept[-1] if kept else None
            if item.message.role is Role.ASSISTANT:
                if not begun:
                    said = Message(Role.USER, (Text(BEGINNING),), flags=(Flag.SYNTHETIC,))
                    kept.append(Item(said, item.record))
                    self.note(RepairKind.MISSING_USER, item.record)
                elif before is not None and before.message.role is Role.SYSTEM:
                    kept[-1] = Item(replace(before.message, role=Role.USER), before.record)
                    self.note(RepairKind.MISPLACED, before.record, "system text before the answer")
            begun = begun or item.message.role is not Role.SYSTEM
            kept.append(item)
        return kept


def storable(block: Block) -> tuple[Block, bool]:
    """The block in text that every store holds, and whether anything was lost by that."""
    changed: dict[str, object] = {}
    lost = False
    for name in block.__struct_fields__:
        value = getattr(block, name)
        if isinstance(value, str):
            text, damaged = clean(value)
            if text is not value:
                changed[name] = text
                lost = lost or damaged
        elif isinstance(value, tuple):
            inner = [storable(part) for part in value]
            changed[name] = tuple(part for part, _ in inner)
            lost = lost or any(damaged for _, damaged in inner)
    return (replace(block, **changed) if changed else block), lost


def is_blank(content: Sequence[Block]) -> bool:
    """Whether these blocks say nothing: there are none, or they are white space."""
    return all(_says_nothing(block) for block in content)


def _says_nothing(block: Block) -> bool:
    return isinstance(block, Text | Refusal) and not block.text.strip()


def _without_loose_thinking(content: tuple[Block, ...]) -> tuple[Block, ...]:
    last = max(
        (n for n, b in enumerate(content) if not (isinstance(b, Reasoning) or _says_nothing(b))),
        default=-1,
    )
    rest = tuple(block for block in content[last + 1 :] if not isinstance(block, Reasoning))
    return content[: last + 1] + rest


def _both(first: Message, second: Message) -> Message:
    """One message that says both, and ends as the second did."""
    flags = (*first.flags, *(flag for flag in second.flags if flag not in first.flags))
    same = not second.native_id or first.native_id == second.native_id
    return replace(
        first,
        content=first.content + second.content,
        stop=second.stop,
        model=second.model or first.model,
        flags=flags,
        native_id=first.native_id if same else second.native_id,
    )


def _linked(messages: Sequence[Message]) -> Iterable[Message]:
    before: Message | None = None
    for message in messages:
        linked = message
        if before is not None and before.id:
            id = message.id
            if not id and message.role is Role.TOOL:
                id = tool_message_id(before.id)
            if (id, before.id) != (message.id, message.parent):
                linked = replace(message, id=id, parent=before.id)
        yield linked
        before = linked
