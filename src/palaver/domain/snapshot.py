"""A folded state without its messages, so that opening a long conversation replays nothing.

Messages are not repeated in a snapshot: they are read straight from the log's message-bearing facts
(`MESSAGE_KINDS`), without hashing or checking them again. Facts after the snapshot are folded as
ever.
"""

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from palaver.domain.events import MessageAdded, Recorded, ToolResolved
from palaver.domain.history import History
from palaver.domain.messages import Message, Role
from palaver.domain.state import ConversationState, tool_message_id

SNAPSHOT_VERSION = 1
"""Raised whenever the reducer's result for the same facts changes; older snapshots are ignored."""
MESSAGE_KINDS = ("message.added", "tool.resolved")


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
    return replace(folded, messages=History(_messages(records)))


def _messages(records: Iterable[Recorded]) -> list[Message]:
    messages: list[Message] = []
    for recorded in records:
        event = recorded.event
        if isinstance(event, MessageAdded):
            messages.append(event.message)
        elif isinstance(event, ToolResolved):
            _gather(messages, event)
    return messages


def _gather(messages: list[Message], event: ToolResolved) -> None:
    last = messages[-1]
    if last.role is Role.ASSISTANT:
        messages.append(
            Message(Role.TOOL, (event.result,), tool_message_id(last.id), parent=last.id)
        )
        return
    order = {call.id: i for i, call in enumerate(messages[-2].tool_calls)}
    results = sorted((*last.tool_results, event.result), key=lambda r: order[r.call_id])
    messages[-1] = replace(last, content=tuple(results))


_FIELDS = tuple(name for name in ConversationState.__struct_fields__ if name != "messages")
