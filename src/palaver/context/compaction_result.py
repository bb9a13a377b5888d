"""What a compaction would do, and what it did: values for people, logs and tests."""

from collections.abc import Sequence

import msgspec

from palaver.context.draft import Draft
from palaver.context.head import Head
from palaver.context.strategy import Choice
from palaver.context.summariser import Round
from palaver.domain.compaction import CriticalFact, Kept, LossRecord, Tier, Written
from palaver.domain.errors import ContextWindowExceeded
from palaver.domain.messages import Message, Role
from palaver.domain.values import Usage


class Attempt(msgspec.Struct, frozen=True):
    """A tier that was tried or passed over, and why it was left; empty for the one that served."""

    tier: Tier
    because: str = ""


class Plan(msgspec.Struct, frozen=True):
    """What would be done, known without asking anybody."""

    draft: Draft | None
    """Without a model; where a model is to write, the window that stands if it fails. None when
    what must stay does not fit."""
    choice: Choice
    head: Head | None = None
    """What a model would summarise; None where clearing results is enough, or nothing can go."""
    attempts: tuple[Attempt, ...] = ()

    @property
    def tokens_after(self) -> int | None:
        """Of the window afterwards; with a summary of the length that is asked for."""
        if self.head is not None:
            return self.head.tokens_after
        return None if self.draft is None else self.draft.tokens_after


class CompactionResult(msgspec.Struct, frozen=True):
    """A window that was made smaller, with everything that is known of how."""

    draft: Draft
    """The proposal; without tiers where nothing could be done, see `refusal`."""
    compacted_messages: tuple[Message, ...]
    """The window: what a model is sent."""
    strategy: str
    because: str
    """Why this strategy."""
    attempts: tuple[Attempt, ...]
    rounds: tuple[Round, ...] = ()
    """Requests to the model that writes, the useless ones, too."""
    model: str = ""
    summary_message: Message | None = None
    """What stands for most of what went: a summary, or an extract."""
    refusal: ContextWindowExceeded | None = None
    """Why the window is as it was: what must stay is too large. Its hint names the largest part."""

    @property
    def original_tokens(self) -> int:
        """Of the window before."""
        return self.draft.tokens_before

    @property
    def compacted_tokens(self) -> int:
        """Of the window now."""
        return self.draft.tokens_after

    @property
    def compression_ratio(self) -> float:
        """Tokens now by tokens before; 1.0 where nothing was counted."""
        return self.compacted_tokens / self.original_tokens if self.original_tokens else 1.0

    @property
    def preserved_context(self) -> tuple[CriticalFact, ...]:
        """The critical facts that the window holds."""
        return tuple(fact for fact in self.draft.facts if fact.survives)

    @property
    def loss(self) -> LossRecord:
        """What is now only in the archive."""
        return self.draft.loss

    @property
    def usage(self) -> Usage:
        """Of all requests to the model that writes."""
        return sum((round.usage for round in self.rounds), Usage())


def window_messages(draft: Draft, path: Sequence[Message]) -> tuple[Message, ...]:
    """What a model is sent of `path` when `draft` stands for its beginning."""
    found: list[Message] = []
    for item in draft.items:
        if isinstance(item, Kept):
            found += [path[at] for at in range(item.start, item.stop)]
        else:
            found.append(item.message)
    found += [path[at] for at in range(draft.covers, len(path))]
    return tuple(found)


def widest(draft: Draft) -> Message | None:
    """What was written in place of most messages; stubs of results do not count."""
    texts = [i for i in draft.items if isinstance(i, Written) and i.message.role is Role.USER]
    widest = max(texts, key=lambda i: sum(s.stop - s.start for s in i.covers), default=None)
    return None if widest is None else widest.message
