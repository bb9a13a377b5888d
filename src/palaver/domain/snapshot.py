"""A folded state without its messages, so that opening a long conversation replays nothing.

Messages are not repeated in a snapshot: they are read straight from the log's message-bearing facts
(`MESSAGE_KINDS`), without hashing or checking them again. Facts after the snapshot are folded as
ever.
"""

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from palaver.domain.branches import Path, Tail, move
from palaver.domain.compaction import active, window_of
from palaver.domain.events import (
    HeadMoved,
    MessageAdded,
    MessageRedacted,
    Recorded,
    ToolResolved,
)
from palaver.domain.history import History
from palaver.domain.messages import Message, Role, ToolResult
from palaver.domain.redaction import redact
from palaver.domain.state import ConversationState, first_result, with_result

SNAPSHOT_VERSION = 4
"""Raised whenever the reducer's result for the same facts changes; older snapshots are ignored."""
MESSAGE_KINDS = ("message.added", "tool.resolved", "head.moved", "message.redacted")


class Snapshot(msgspec.Struct, frozen=True):
    """`body` is the state at `seq` with an empty history; `version` is `SNAPSHOT_VERSION`."""

    seq: int
    version: int
    body: bytes


def take(state: ConversationState) -> Snapshot:
    """The snapshot of `state`."""
    body = msgspec.json.encode({name: getattr(state, name) for name in _FIELDS})
    return Snapshot(state.seq, SNAPSHOT_VERSION, body)


def restore(snapshot: Snapshot, records: Iterable[Recorded]) -> ConversationState:
    """The state at `snapshot.seq`; `records` are its facts of `MESSAGE_KINDS`, in order.

    Raises msgspec.ValidationError when the body is not what this version wrote.
    """
    folded = msgspec.json.decode(snapshot.body, type=ConversationState)
    path, aside = _tree(records)
    whole = replace(folded, messages=path, aside=aside)
    found = active(path, whole.compactions)
    return whole if found is None else replace(whole, folded=window_of(path, found))


def _tree(records: Iterable[Recorded]) -> tuple[Path, tuple[Tail, ...]]:
    """The messages of the facts, on the path and beside it. A list grows cheaper than a History,
    and most conversations never leave their path."""
    path: list[Message] = []
    aside: tuple[Tail, ...] = ()
    for recorded in records:
        event = recorded.event
        if isinstance(event, MessageAdded):
            path.append(event.message)
        elif isinstance(event, ToolResolved):
            _gather(path, event.result)
        elif isinstance(event, HeadMoved):
            moved, aside = move(History(path), aside, event.head)
            path = list(moved)
        elif isinstance(event, MessageRedacted):  # tool messages are gathered, flags and all
            whole, aside = redact(History(path), aside, event.message)
            path = list(whole)
    return History(path), aside


def _gather(messages: list[Message], result: ToolResult) -> None:
    last = messages[-1]
    if last.role is Role.ASSISTANT:
        messages.append(first_result(last, result))
    else:
        messages[-1] = with_result(last, result, messages[-2])


_BESIDE = ("messages", "aside", "folded")
_FIELDS = tuple(name for name in ConversationState.__struct_fields__ if name not in _BESIDE)
