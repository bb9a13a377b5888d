"""What the writer of a summary gets to read: the messages as text, within its window.

Everything is shown that the model had: who spoke, each call with its arguments, each result with
its error flag. What does not fit is made smaller in steps, the gentlest first: long results of
tools are clamped to their beginning and end, then those in the middle of the history are left out
(its beginning says what is wanted, its end where things stand), and if that is not enough the
history is read in several parts.
"""

from collections.abc import Sequence

import msgspec

from palaver.context.groups import Group
from palaver.context.handles import handle
from palaver.context.tokens import text_tokens
from palaver.domain.messages import (
    File,
    Image,
    Message,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
)

_CLAMPS = (8_000, 2_000, 600)
"""Characters of a result, tried in this order."""
_HEAD_SHARE = 0.6
_MOST_OMITTED = 0.5
"""Of the groups with results; when more would be left out, the history is read in parts instead."""
_MOST_PARTS = 12
_LONGEST = 40_000
"""Characters of one message that a person or model wrote; nobody wrote more by hand."""


class Entry(msgspec.Struct, frozen=True):
    """One group as text, and its size in tokens."""

    text: str
    tokens: int


def parts(messages: Sequence[Message], groups: Sequence[Group], room: int) -> list[str]:
    """The groups as texts of at most `room` tokens each (estimated): one where they fit.

    More than twelve are never made: what is still too much then is clamped to fit.
    """
    entries: list[Entry] = []
    for clamp in (None, *_CLAMPS):
        entries = [entry(messages, group, clamp=clamp) for group in groups]
        if _size(entries) <= room:
            return [_joined(entries)]
    omitted = _middle_out(messages, groups, entries, room)
    if omitted is not None:
        return [_joined(omitted)]
    return [_joined(part) for part in _split(entries, room)]


def entry(messages: Sequence[Message], group: Group, *, clamp: int | None) -> Entry:
    """A group as text: a line for each thing said or done, with handles."""
    lines = [
        line
        for position in range(group.start, group.stop)
        for line in _lines(messages[position], position, clamp)
    ]
    text = "\n".join(lines)
    return Entry(text, text_tokens(text) + 1)


def clamped(text: str, size: int | None) -> str:
    """The beginning and the end of `text`, which say most, where it is longer than `size`."""
    if size is None or len(text) <= size:
        return text
    head = int(size * _HEAD_SHARE)
    tail = size - head
    left_out = len(text) - size
    return f"{text[:head]}\n[… {left_out} characters left out …]\n{text[len(text) - tail :]}"


def _lines(message: Message, position: int, clamp: int | None) -> list[str]:
    name = handle(position)
    lines: list[str] = []
    for block in message.content:
        match block:
            case Text(text=text) | Refusal(text=text):
                lines.append(f"[{name}] {message.role}: {clamped(text, _LONGEST)}")
            case ToolCall(name=tool, arguments=arguments):
                lines.append(f"[{name}] calls {tool} {clamped(arguments, clamp)}")
            case ToolResult():
                lines.append(f"[{name}] {_result(block, clamp)}")
            case Image() | File():
                lines.append(f"[{name}] {message.role} attached {_attached(block)}")
            case Reasoning() | Unknown():
                continue  # the words that followed the thinking are the record of it
    return lines


def _result(result: ToolResult, clamp: int | None) -> str:
    state = "failed" if result.failed else "outcome unknown" if result.unknown else "result"
    if clamp == 0:
        return f"{state} of {result.name}: [left out, {len(result.text)} characters]"
    shown = [_attached(block) for block in result.content if not isinstance(block, Text)]
    return " ".join([f"{state} of {result.name}:", clamped(result.text, clamp), *shown])


def _attached(block: Image | File) -> str:
    kind = "an image" if isinstance(block, Image) else "a file"
    return f"[{kind} {block.name or block.media_type}]".replace(" ]", "]")


def _size(entries: Sequence[Entry]) -> int:
    return sum(entry.tokens for entry in entries)


def _joined(entries: Sequence[Entry]) -> str:
    return "\n".join(entry.text for entry in entries)


def _middle_out(
    messages: Sequence[Message], groups: Sequence[Group], entries: Sequence[Entry], room: int
) -> list[Entry] | None:
    """`entries` with as many results left out of the middle as needed; None if too many are."""
    with_results = [i for i, group in enumerate(groups) if group.stop - group.start > 1]
    middle = len(groups) / 2
    order = sorted(with_results, key=lambda i: abs(i - middle))
    smaller, size = list(entries), _size(entries)
    for i in order[: int(len(order) * _MOST_OMITTED)]:
        bare = entry(messages, groups[i], clamp=0)
        size -= smaller[i].tokens - bare.tokens
        smaller[i] = bare
        if size <= room:
            return smaller
    return None


def _split(entries: Sequence[Entry], room: int) -> list[list[Entry]]:
    needed = max(1, -(-_size(entries) // room))
    if needed > _MOST_PARTS:
        entries = [
            _fitted(e, max(64, e.tokens * room * _MOST_PARTS // _size(entries))) for e in entries
        ]
    found: list[list[Entry]] = [[]]
    size = 0
    for each in (_fitted(entry, room) for entry in entries):
        if size + each.tokens > room and found[-1]:
            found.append([])
            size = 0
        found[-1].append(each)
        size += each.tokens
    return found


def _fitted(entry: Entry, room: int) -> Entry:
    if entry.tokens <= room:
        return entry
    text = entry.text
    for _ in range(8):
        text = clamped(text, max(80, int(len(text) * 0.9 * room / max(1, text_tokens(text)))))
        if text_tokens(text) < room:
            break
    return Entry(text, text_tokens(text) + 1)
