"""What a compaction made of a conversation's beginning: values for the log.

The record never shrinks; the *window*, which is what a model is sent, does. A `Compaction` says
what stands in the window for the first `covers` messages of the path: ranges that are kept as they
are, and messages that were written for others. Messages are named by their position on the path
(from 0); below `covers` positions cannot change, because a message's ancestors are fixed by its id.

    path     0 1 2 3 4 5 6 7 8 | 9 10 …        covers = 9
    items    kept 0 · written for 1–5 · kept 6–8
    window   0 · summary · 6 7 8 | 9 10 …
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Literal, TypeAlias

import msgspec

from palaver.domain.errors import InvalidTransition
from palaver.domain.history import History
from palaver.domain.ids import CompactionId, MessageId
from palaver.domain.messages import Message, Role
from palaver.domain.values import Usage


class Span(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Positions from `start` up to, not including, `stop`."""

    start: int
    stop: int


class Kept(msgspec.Struct, frozen=True, gc=False, tag="kept", tag_field="type"):
    """Messages of the path as they are: positions `start` up to, not including, `stop`."""

    start: int
    stop: int


class Written(msgspec.Struct, frozen=True, gc=False, tag="written", tag_field="type"):
    """A message that stands for others: a stub of a tool result, an extract, a summary."""

    message: Message
    covers: tuple[Span, ...]
    """What it stands for; the originals stay in the log."""
    sources: tuple[tuple[int, ...], ...] = ()
    """For each line of its text the positions that it comes from; empty where that is not known."""


Item: TypeAlias = Kept | Written


class Tier(StrEnum):
    """How something was made smaller, from the gentlest to the last resort."""

    CLEAR = "clear"
    """Superseded or old tool results became stubs."""
    SUMMARY = "summary"
    """A model wrote a summary."""
    EXTRACT = "extract"
    """Sentences and identifiers were chosen without a model."""
    CLIP = "clip"
    """A message that is too large by itself was cut in the middle."""


class CriticalFact(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Something that a compaction must not lose. `survives`: whether the window still holds it."""

    kind: str
    """`first_request`, `latest_request`, `pinned`, `constraint`, `correction`, `decision`,
    `unresolved_error`, `pending_call` or `identifier`."""
    text: str
    position: int
    survives: bool = True


class LossRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is now only in the archive, from where `recall` and `expand` bring it back."""

    messages: int = 0
    """Messages that the window no longer holds as they were."""
    tokens: int = 0
    results_cleared: int = 0
    sentences_dropped: int = 0
    identifiers: tuple[str, ...] = ()
    """Identifiers that the window no longer holds, the most used first; a bounded list."""
    identifiers_lost: int = 0
    """How many there are in all."""


class Compaction(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One compaction of one conversation. Token counts are of messages, without system prompt and
    tool schemas."""

    id: CompactionId
    covers: int
    """Messages of the path that `items` stand for, from the first."""
    upto: MessageId
    """The last of them; on a path that holds another message there this compaction says nothing."""
    items: tuple[Item, ...]
    strategy: str
    tiers: tuple[Tier, ...] = ()
    reason: Literal["auto", "manual", "overflow", "expand"] = "manual"
    tokens_before: int = 0
    tokens_after: int = 0
    source_hash: str = ""
    """Chain hash of the covered messages: what a prepared compaction was made from."""
    instructions: str = ""
    model: str = ""
    """Who wrote the summary; empty when no model did."""
    usage: Usage = Usage()
    facts: tuple[CriticalFact, ...] = ()
    loss: LossRecord = LossRecord()

    @property
    def summary(self) -> Message | None:
        """The written message that stands for most, where there is one."""
        widest = max((i for i in self.items if isinstance(i, Written)), key=_width, default=None)
        return None if widest is None else widest.message

    @property
    def ratio(self) -> float:
        """Tokens after by tokens before; 1.0 where nothing was counted."""
        return self.tokens_after / self.tokens_before if self.tokens_before else 1.0


def _width(item: Written) -> int:
    return sum(span.stop - span.start for span in item.covers)


def is_on(path: Sequence[Message], compaction: Compaction) -> bool:
    """Whether the path begins with the messages that `compaction` covers."""
    at = compaction.covers - 1
    return 0 <= at < len(path) and path[at].id == compaction.upto


def active(path: Sequence[Message], compactions: tuple[Compaction, ...]) -> Compaction | None:
    """The newest compaction that speaks of this path."""
    return next((c for c in reversed(compactions) if is_on(path, c)), None)


def window_of(path: History[Message], compaction: Compaction | None) -> History[Message]:
    """What a model is sent of `path`. Costs a walk over it; later messages are appended to it."""
    if compaction is None:
        return path
    return History(_messages(path, compaction))


def _messages(path: History[Message], compaction: Compaction) -> Iterator[Message]:
    for item in compaction.items:
        if isinstance(item, Written):
            yield item.message
        else:
            for position in range(item.start, item.stop):
                yield path[position]
    yield from path.since(compaction.covers)


def check(path: History[Message], compaction: Compaction) -> None:
    """Raise InvalidTransition unless `compaction` can stand for the beginning of `path`.

    Every covered position is in exactly one item, kept ones in order, and in the window each call
    is answered by the message behind it.
    """
    if not is_on(path, compaction):
        raise InvalidTransition("the compaction is of another branch, or of messages not yet there")
    spans: list[Span] = []
    last_kept = 0
    for item in compaction.items:
        if isinstance(item, Kept):
            if item.start < last_kept:
                raise InvalidTransition("a compaction keeps messages in their order")
            last_kept = item.stop
            spans.append(Span(item.start, item.stop))
        else:
            spans += item.covers
    _check_spans(spans, compaction.covers)
    _check_calls(window_of(path, compaction))


def _check_spans(spans: list[Span], covers: int) -> None:
    reached = 0
    for span in sorted(spans, key=lambda s: s.start):
        if span.start != reached or span.stop <= span.start:
            raise InvalidTransition("a compaction accounts for each message exactly once")
        reached = span.stop
    if reached != covers:
        raise InvalidTransition("a compaction accounts for each message exactly once")


def _check_calls(window: History[Message]) -> None:
    waiting: list[str] = []
    for message in window:
        answered = sorted(result.call_id for result in message.tool_results)
        if message.role is Role.TOOL and answered != waiting:
            raise InvalidTransition("a compaction must not part calls from their results")
        if message.role is not Role.TOOL and waiting:
            raise InvalidTransition("a compaction must not leave a call without its result")
        is_answer = message.role is Role.TOOL
        waiting = [] if is_answer else sorted(call.id for call in message.tool_calls)


def erased(compaction: Compaction) -> Compaction:
    """`compaction` without a word of what it stood for: the window is the path again."""
    return Compaction(
        id=compaction.id,
        covers=compaction.covers,
        upto=compaction.upto,
        items=(Kept(0, compaction.covers),),
        strategy=compaction.strategy,
        reason=compaction.reason,
        usage=compaction.usage,
        model=compaction.model,
    )
