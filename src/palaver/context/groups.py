"""Atomic groups: what must stay together for history to stay valid.

An assistant message with calls and the tool message that answers them are one group; every other
message is a group of its own. A compaction cuts between groups only.
"""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from palaver.domain.messages import Message, Role


class GroupKind(StrEnum):
    """What a group is."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    """An assistant message that calls nothing."""
    TOOLS = "tools"
    """Calls and their results. The results may still be missing at the end of a history."""


class Group(msgspec.Struct, frozen=True, gc=False):
    """Messages at the positions `start` up to, not including, `stop`."""

    kind: GroupKind
    start: int
    stop: int


_KINDS = {
    Role.SYSTEM: GroupKind.SYSTEM,
    Role.USER: GroupKind.USER,
    Role.ASSISTANT: GroupKind.ASSISTANT,
    Role.TOOL: GroupKind.TOOLS,
}


def groups(messages: Sequence[Message], *, first: int = 0) -> list[Group]:
    """The groups of valid history, in order; positions count from `first`."""
    found: list[Group] = []
    for position, message in enumerate(messages, first):
        last = found[-1] if found else None
        if message.role is Role.TOOL and last is not None and last.kind is GroupKind.TOOLS:
            found[-1] = Group(GroupKind.TOOLS, last.start, position + 1)
        else:
            kind = GroupKind.TOOLS if message.tool_calls else _KINDS[message.role]
            found.append(Group(kind, position, position + 1))
    return found
