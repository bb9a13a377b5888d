"""Cutting one message that is too large by itself: its beginning and its end stay, ids stay.

The head says what something is, the tail how it ended; of a log or a listing the middle is the part
that can be asked for again. What has to be repeated exactly is named where it was cut out.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from palaver.context.handles import handle
from palaver.context.identifiers import identifiers
from palaver.domain.ids import CallId
from palaver.domain.messages import Message, Text, ToolResult

_HEAD_SHARE = 0.6
_NAMES_SHARE = 0.3
"""Of the characters that are kept: identifiers from the part that is cut out."""
_LEAST = 80
"""Characters that are kept of any text; less says nothing."""
_STEPS = 12
_SLICE = 20_000
"""Characters that are searched at once: other threads wait while a pattern is."""
_BOUNDS = " \n\t,;"


class Clipping(msgspec.Struct, frozen=True):
    """A text that may be cut, with its identifiers and where each stands first."""

    text: str
    names: tuple[tuple[int, str], ...]
    handle: str

    @classmethod
    def of(cls, text: str, position: int) -> "Clipping":
        """The text of the message at `position`."""
        found: dict[str, int] = {}
        for start in range(0, len(text), _SLICE):
            for name in identifiers(text[start : start + _SLICE]):
                if name not in found:
                    found[name] = text.find(name, start)
        return cls(text, tuple((at, name) for name, at in found.items()), handle(position))

    def clipped(self, length: int) -> str:
        """About `length` characters: the beginning, what was cut out, the end."""
        text = self.text
        if len(text) <= length:
            return text
        room = int(length * (1 - _NAMES_SHARE)) if self.names else length
        head, tail = _bounds(text, room)
        start, end = text[:head], text[len(text) - tail :]
        gone = [name for at, name in self.names if head <= at < len(text) - tail]
        named = _fitting(gone, length - room)
        cut = len(text) - head - tail
        said = f"; it names {named}" if named else ""
        return f"{start}\n[… {cut:,} characters cut{said}; recall {self.handle} …]\n{end}"


def clip_text(text: str, length: int, position: int) -> str:
    """`text` with about `length` characters, as one message's text is cut."""
    return Clipping.of(text, position).clipped(length)


def clip_results(
    message: Message, position: int, budget: int, count: Callable[[Message], int]
) -> Message | None:
    """The tool message with its results cut so that it has at most `budget` tokens.

    The longest are cut first; short ones stay whole. None when it cannot be done.
    """
    clippings = {r.call_id: Clipping.of(r.text, position) for r in message.tool_results}
    low, high = 0, max((len(each.text) for each in clippings.values()), default=0)
    best: Message | None = None
    for _ in range(_STEPS):
        if low > high:
            break
        middle = (low + high) // 2
        clipped = _clipped(message, clippings, max(_LEAST, middle))
        if count(clipped) <= budget:
            best, low = clipped, middle + 1
        else:
            high = middle - 1
    return best


def _clipped(message: Message, clippings: Mapping[CallId, Clipping], length: int) -> Message:
    content = tuple(
        _clipped_result(block, clippings[block.call_id], length)
        if isinstance(block, ToolResult)
        else block
        for block in message.content
    )
    return msgspec.structs.replace(message, content=content)


def _clipped_result(result: ToolResult, clipping: Clipping, length: int) -> ToolResult:
    if len(clipping.text) <= length:
        return result
    others = tuple(block for block in result.content if not isinstance(block, Text))
    return msgspec.structs.replace(result, content=(Text(clipping.clipped(length)), *others))


def _bounds(text: str, length: int) -> tuple[int, int]:
    """Characters of the head and of the tail; neither ends within a word if that costs little."""
    head = int(length * _HEAD_SHARE)
    tail = length - head
    bound = max(text.rfind(sign, head - head // 10, head) for sign in _BOUNDS)
    if bound >= 0:
        head = bound + 1
    start = len(text) - tail
    found = (text.find(sign, start, start + tail // 10) for sign in _BOUNDS)
    bound = min((at for at in found if at >= 0), default=-1)
    if bound >= 0:
        tail = len(text) - bound - 1
    return head, tail


def _fitting(names: Sequence[str], length: int) -> str:
    kept: list[str] = []
    for name in names:
        length -= len(name) + 2
        if length < 0:
            break
        kept.append(name)
    return ", ".join(kept)
