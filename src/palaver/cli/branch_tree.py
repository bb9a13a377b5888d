"""The branches of a conversation as a tree, a line for each piece without a fork."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from palaver.cli.numbering import children, ordered_leaves
from palaver.cli.safe import columns, one_line
from palaver.domain.ids import MessageId
from palaver.domain.messages import Message, Role
from palaver.domain.state import ConversationState

WHO = {Role.USER: "you", Role.ASSISTANT: "model", Role.SYSTEM: "system", Role.TOOL: "tools"}
DEEPEST = 24
"""Columns of lines before the text; a tree that is deeper is not indented further."""


class Stretch(msgspec.Struct, frozen=True):
    """Messages that follow each other without a fork; `first` and `last` are their numbers."""

    messages: tuple[Message, ...]
    first: int
    last: int

    @property
    def end(self) -> MessageId:
        """Its last message."""
        return self.messages[-1].id


Answers = Mapping[MessageId | None, Sequence[Message]]


def tree(state: ConversationState, *, width: int | None, unicode: bool = True) -> list[str]:
    """The lines; `*` marks where the conversation stands, `[n]` are the numbers of branches."""
    answers = children(state)
    here = None if state.last is None else state.last.id
    numbers = {leaf.id: i for i, leaf in enumerate(ordered_leaves(state), 1)}
    shown: list[str] = []
    # Deepest first would need recursion; a stack holds what is still to be drawn, in order.
    left = _begun(answers.get(None, ()), 0, "", unicode=unicode)
    while left:
        message, before, branch, below = left.pop()
        stretch = _stretch(message, before, answers, here)
        mark = "*" if stretch.end == here else " "
        number = f"[{numbers[stretch.end]}] " if stretch.end in numbers else ""
        head = f"{mark} {branch}{number}{_span(stretch)} "
        shown.append(head + _preview(stretch, columns(head), width))
        left += _begun(answers.get(stretch.end, ()), stretch.last, below, unicode=unicode)
    return shown


Begun = tuple[Message, int, str, str]


def _begun(answers: Sequence[Message], before: int, lead: str, *, unicode: bool) -> list[Begun]:
    """What is to be drawn below, the last one first."""
    tee, corner, bar = ("├─ ", "└─ ", "│  ") if unicode else ("|- ", "`- ", "|  ")
    if columns(lead) >= DEEPEST:
        lead = lead[: DEEPEST - 3] if len(answers) else lead
    begun: list[Begun] = []
    for i, message in enumerate(answers):
        is_last = i == len(answers) - 1
        if before == 0 and len(answers) == 1:
            begun.append((message, before, "", ""))
        else:
            branch = lead + (corner if is_last else tee)
            begun.append((message, before, branch, lead + ("   " if is_last else bar)))
    return begun[::-1]


def _stretch(first: Message, before: int, answers: Answers, here: MessageId | None) -> Stretch:
    messages = list(_walk(first, answers, here))
    spoken = sum(1 for message in messages if message.role is not Role.TOOL)
    return Stretch(tuple(messages), before + 1, before + spoken)


def _walk(first: Message, answers: Answers, here: MessageId | None) -> Iterator[Message]:
    message = first
    while True:
        yield message
        following = answers.get(message.id, ())
        if len(following) != 1 or message.id == here:
            return
        message = following[0]


def _span(stretch: Stretch) -> str:
    if stretch.last <= stretch.first:
        return str(stretch.first)
    return f"{stretch.first}-{stretch.last}"


def _preview(stretch: Stretch, used: int, width: int | None) -> str:
    first = stretch.messages[0]
    calls = "".join(f"[{call.name}] " for call in first.tool_calls) if not first.text else ""
    text = calls + next((m.text for m in stretch.messages if m.text.strip()), "")
    room = 60 if width is None else max(20, width - used - len(WHO[first.role]) - 2)
    return f"{WHO[first.role]}: {one_line(text.strip() or '(no text)', room)}"
