"""A tree of messages as it was read becomes a tree in which every path is valid history.

The path that was talked on last is repaired first. Another branch is repaired from where it leaves
what is there already; only where it leaves in the middle of a round of tools its whole path is
repaired again, since what stands before then depends on what follows. What paths share is kept
once. Ids come from parent and content, so reading a file again gives the same ids.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from palaver.domain.ids import MessageId
from palaver.domain.messages import Message, Role, ToolResult
from palaver.domain.state import tool_message_id
from palaver.travel.base import Repair, RepairKind
from palaver.travel.pairing import Item
from palaver.travel.repair import is_blank, repair_items

MAX_WORK = 200_000
"""Messages that are repaired for all branches together; what lies beyond is left out, and said."""
_encode = msgspec.json.Encoder().encode


class Node(msgspec.Struct):
    """A message as it was read, its position at the source, and the place of its parent."""

    message: Message
    record: int
    parent: int | None


class Grafting:
    """`head` repairs the tree; `messages` (parents first) and `repairs` hold what came of it."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.messages: list[Message] = []
        self.repairs: list[Repair] = []
        self._nodes = nodes
        self._placed: dict[bytes, Message] = {}
        self._known: dict[MessageId, Message] = {}
        self._settled: dict[int, MessageId | None] = {}
        """By place: the last message of the repaired path that ends there, where it is sure."""

    def head(self, last: int) -> MessageId | None:
        """The id of the last message of the path that ends at `last`; None for an empty one."""
        end: MessageId | None = None
        work = 0
        for leaf in self._leaves(last):
            above, tail = self._loose(leaf)
            work += len(tail)
            if self.messages and work > MAX_WORK:
                record = self._nodes[leaf].record
                self.repairs.append(Repair(RepairKind.UNKNOWN_RECORD, record, "a branch too many"))
                continue
            grafted = self._graft(above, tail)
            end = end or grafted
        return end

    def _leaves(self, last: int) -> Iterator[int]:
        """The head, then the ends of the other branches, the newest first."""
        parents = {node.parent for node in self._nodes}
        yield last
        for place in reversed(range(len(self._nodes))):
            if place not in parents and place != last:
                yield place

    def _loose(self, leaf: int) -> tuple[int | None, list[int]]:
        """What of the path to `leaf` has to be repaired, and the place where it leaves the rest."""
        tail: list[int] = []
        at: int | None = leaf
        while at is not None and at not in self._settled:
            tail.append(at)
            at = self._nodes[at].parent
        tail.reverse()
        if at is None or self._leaves_cleanly(at, tail):
            return at, tail
        before: list[int] = []
        while at is not None:
            before.append(at)
            at = self._nodes[at].parent
        return None, before[::-1] + tail

    def _leaves_cleanly(self, above: int, tail: Sequence[int]) -> bool:
        """Whether the branch does not touch what stands before it."""
        said = [self._nodes[place].message for place in tail]
        if not said or not (_asks(self._nodes[above].message) or _asks(said[0])):
            return False
        called = {call.id for message in said for call in message.tool_calls}
        return all(result.call_id in called for message in said for result in message.tool_results)

    def _graft(self, above: int | None, tail: Sequence[int]) -> MessageId | None:
        """Repair `tail` and put it behind `above`. Returns the id of the path's last message."""
        parent = self._settled[above] if above is not None else None
        items = [Item(self._nodes[place].message, n) for n, place in enumerate(tail)]
        mended, repairs = repair_items(items, behind=self._path(parent))
        self.repairs += (
            Repair(found.kind, self._nodes[tail[found.record]].record, found.detail)
            for found in repairs
        )
        ends: dict[int, MessageId | None] = {-1: parent}
        for item in mended:
            parent = self._place(item.message, parent)
            ends[item.record] = parent
        self._settle(tail, ends)
        return parent

    def _settle(self, tail: Sequence[int], ends: dict[int, MessageId | None]) -> None:
        """Note where branches may leave: what asks ends what stands before it."""
        end = ends[-1]
        for number, place in enumerate(tail):
            end = ends.get(number, end)
            follows = tail[number + 1] if number + 1 < len(tail) else None
            if _asks(self._nodes[place].message) or (
                follows is not None and _asks(self._nodes[follows].message)
            ):
                self._settled.setdefault(place, end)

    def _path(self, end: MessageId | None) -> list[Message]:
        path = []
        while end is not None:
            path.append(self._known[end])
            end = path[-1].parent
        return path[::-1]

    def _place(self, message: Message, parent: MessageId | None) -> MessageId:
        plain = replace(message, id=MessageId(""), parent=parent)
        key = _encode(plain)
        if key not in self._placed:
            placed = replace(plain, id=self._new_id(key, parent, message.role))
            self._placed[key] = self._known[placed.id] = placed
            self.messages.append(placed)
        return self._placed[key].id

    def _new_id(self, key: bytes, parent: MessageId | None, role: Role) -> MessageId:
        if role is Role.TOOL and parent is not None:
            named = tool_message_id(parent)
            if named not in self._known:
                return named
        return MessageId(f"im_{blake2b(key, digest_size=15).hexdigest()}")


def _asks(message: Message) -> bool:
    """Whether the user says something here, and answers no call: nothing reaches across it."""
    if message.role is not Role.USER or is_blank(message.content):
        return False
    return not any(isinstance(block, ToolResult) for block in message.content)
