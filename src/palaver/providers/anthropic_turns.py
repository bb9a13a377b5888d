"""The messages of a request as turns of two sides, kept while a conversation grows.

The API wants the sides to take turns and the user to begin, so neighbouring messages of one side
are one turn there. A request repeats all messages of the one before it: what was joined then is
kept, and only the new messages cost anything beyond copying bytes.
"""

import msgspec

from palaver.domain.history import History
from palaver.domain.messages import Message
from palaver.providers.anthropic_blocks import Renamed
from palaver.providers.fragments import Body, Pieces

_MARK = b',"cache_control":{"type":"ephemeral"}}'
_BEGINNING = b'{"type":"text","text":"(The conversation goes on.)"}'
_OPEN = 3
"""Turns at the end that may still grow or carry a cache mark: user, assistant, user."""


class _Turn(msgspec.Struct):
    speaks: bool
    """Whether it is the assistant's."""
    fragments: list[bytes]

    def encoded(self, *, mark: bool = False) -> bytes:
        head = b'{"role":"assistant","content":[' if self.speaks else b'{"role":"user","content":['
        blocks = b",".join(self.fragments)
        return head + (marked(blocks) if mark else blocks) + b"]}"


class Turns:
    """Messages are added in their order; `between` is a body with all of them so far."""

    def __init__(self) -> None:
        self.messages: History[Message] = History()
        """What has been added, without anything left out."""
        self.system: list[str] = []
        """System messages before the first turn; the API wants them elsewhere."""
        self.seen: set[str] = set()
        """Ids of calls so far."""
        self.renamed = Renamed()
        """Calls of the newest assistant message that go by another id."""
        self.size = 0
        """Bytes of all blocks."""
        self._done = Pieces()
        self._open: list[_Turn] = []

    @property
    def begun(self) -> bool:
        """Whether there is a turn."""
        return bool(self._open)

    def add(self, fragment: bytes, *, speaks: bool) -> None:
        """Blocks of the next message, joined by commas; empty ones change nothing."""
        if not fragment:
            return
        self.size += len(fragment)
        if self._open and self._open[-1].speaks is speaks:
            self._open[-1].fragments.append(fragment)
            return
        if speaks and not self._open:
            self._open.append(_Turn(False, [_BEGINNING]))
        self._open.append(_Turn(speaks, [fragment]))
        while len(self._open) > _OPEN:
            self._done.add(self._open.pop(0).encoded())

    def between(self, head: bytes, foot: bytes, *, last: bytes, mark: bool) -> Body:
        """`head`, the turns, and `foot`; `last` is the assistant's text that is to be continued.

        `mark`: put cache marks behind the two newest turns of the user.
        """
        turns = list(self._open)
        if last and turns and turns[-1].speaks:
            turns[-1] = _Turn(True, [*turns[-1].fragments, last])
        elif last:
            turns += (
                [_Turn(True, [last])]
                if turns
                else [
                    _Turn(False, [_BEGINNING]),
                    _Turn(True, [last]),
                ]
            )
        ends = [turn.encoded(mark=mark and not turn.speaks) for turn in turns]
        return self._done.between(head, foot, last=ends)


def marked(blocks: bytes) -> bytes:
    """The same blocks with a cache mark on the last one."""
    return blocks[:-1] + _MARK
