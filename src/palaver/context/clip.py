"""Cutting one message that is too large by itself: its beginning and its end stay, ids stay.

The head says what something is, the tail how it ended; of a log or a listing the middle is the part
that can be asked for again.
"""

from collections.abc import Callable

import msgspec

from palaver.context.handles import handle
from palaver.domain.messages import Message, Text, ToolResult

_HEAD_SHARE = 0.6
_LEAST = 80
"""Characters that are kept of any text; less says nothing."""


def clip_text(text: str, length: int, position: int) -> str:
    """`text` with about `length` characters: the beginning, what was cut, the end."""
    if len(text) <= length:
        return text
    head = int(length * _HEAD_SHARE)
    tail = length - head
    start, end = text[:head], text[len(text) - tail :]
    cut = len(text) - head - tail
    # At the ends of lines, where that does not cost more than a tenth.
    if (at := start.rfind("\n")) > head * 0.9:
        start = start[:at]
    if 0 <= (at := end.find("\n")) < tail * 0.1:
        end = end[at + 1 :]
    return f"{start}\n[… {cut:,} characters cut; recall {handle(position)} gives them …]\n{end}"


def clip_results(
    message: Message, position: int, budget: int, count: Callable[[Message], int]
) -> Message | None:
    """The tool message with its results cut so that it has at most `budget` tokens.

    The largest are cut first; short ones stay whole. None when it cannot be done.
    """
    longest = max((len(result.text) for result in message.tool_results), default=0)
    low, high = 0, longest
    best: Message | None = None
    while low <= high:
        middle = (low + high) // 2
        clipped = _clipped(message, position, max(_LEAST, middle))
        if count(clipped) <= budget:
            best, low = clipped, middle + max(1, middle // 64)
        else:
            high = middle - 1
    return best


def _clipped(message: Message, position: int, length: int) -> Message:
    content = tuple(
        _clipped_result(block, position, length) if isinstance(block, ToolResult) else block
        for block in message.content
    )
    return msgspec.structs.replace(message, content=content)


def _clipped_result(result: ToolResult, position: int, length: int) -> ToolResult:
    if len(result.text) <= length:
        return result
    text = clip_text(result.text, length, position)
    others = tuple(block for block in result.content if not isinstance(block, Text))
    return msgspec.structs.replace(result, content=(Text(text), *others))
