"""The messages of a request as turns of two sides, kept while a conversation grows.

The API wants the sides to take turns and the user to begin, so neighbouring messages of one side
are one turn there. A request repeats all messages of the one before it: what was joined then is
kept, and only the new messages cost anything beyond copying bytes.
"""

from collections.abc import Sequence
from operator import is_

import msgspec

from palaver.domain.messages import Message
from palaver.providers.anthropic_blocks import Renamed

_MARK = b',"cache_control":{"type":"ephemeral"}}'
_BEGINNING = b'{"type":"text","text":"(The conversation goes on.)"}'
_RUN = 512
"""Finished turns that are joined into one piece."""
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
    """Messages are added in their order; `joined` is the request's list of messages so far."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        """What has been added, without anything left out."""
        self.system: list[str] = []
        """System messages before the first turn; the API wants them elsewhere."""
        self.seen: set[str] = set()
        """Ids of calls so far."""
        self.renamed = Renamed()
        """Calls of the newest assistant message that go by another id."""
        self.size = 0
        """Bytes of all blocks."""
        self._done: list[bytes] = []
        self._open: list[_Turn] = []

    @property
    def begun(self) -> bool:
        """Whether there is a turn."""
        return bool(self._open)

    def begins(self, messages: Sequence[Message]) -> bool:
        """Whether `messages` are these very messages, and perhaps more."""
        return len(self.messages) <= len(messages) and all(map(is_, self.messages, messages))

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
            self._done.append(self._open.pop(0).encoded() + b",")
            if len(self._done) == _RUN:
                self._done = [b"".join(self._done)]

    def joined(self, last: bytes, *, mark: bool) -> list[bytes]:
        """The turns in pieces; `last` is the assistant's text that is to be continued, if any.

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
        ends = b",".join(turn.encoded(mark=mark and not turn.speaks) for turn in turns)
        return [*self._done, ends]


def marked(blocks: bytes) -> bytes:
    """The same blocks with a cache mark on the last one."""
    return blocks[:-1] + _MARK
