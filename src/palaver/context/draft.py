"""What a compaction is asked for, and what it proposes: the seam between the tiers."""

from collections.abc import Callable, Sequence

import msgspec

from palaver.domain.compaction import Compaction, CriticalFact, Item, LossRecord, Tier
from palaver.domain.ids import MessageId
from palaver.domain.messages import Message

CountMessage = Callable[[Message], int]
"""Tokens of one message, its overhead included. The same counter for before and after."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A path of messages that is to fit `target` tokens in the window."""

    messages: Sequence[Message]
    """The path, from its first message: the originals, whatever earlier compactions made of them.
    Valid history; its end may hold calls that are still without result."""
    target: int
    """Tokens of all messages in the window afterwards; system prompt and tools are not among them.
    """
    count: CountMessage
    pins: frozenset[MessageId] = frozenset()
    previous: Compaction | None = None
    """What the window is made of now. Its choices bound the work: of what it covers, only what it
    kept or quoted is looked at again, always in the originals."""
    instructions: str = ""
    """What a person wants kept or dropped, in words."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal. `items` stand for the first `covers` messages (see `domain.compaction`)."""

    covers: int
    items: tuple[Item, ...]
    strategy: str
    tiers: tuple[Tier, ...]
    tokens_before: int
    """Of the window as it was, which `previous` may have made smaller than the path."""
    tokens_after: int
    facts: tuple[CriticalFact, ...] = ()
    loss: LossRecord = LossRecord()
