"""A conversation while a reader collects it: messages with their place, blobs, what was mended.

Messages form a tree; a reader of a plain list never notices. Each path from the beginning to a
leaf is repaired alone, the one that was talked on last first; what paths share is kept once. Ids
come from parent and content, so reading a file again gives the same ids.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from palaver.domain.ids import BlobId, MessageId
from palaver.domain.messages import Block, Message, Role
from palaver.domain.state import tool_message_id
from palaver.domain.text import clean
from palaver.travel.base import Imported, Repair, RepairKind
from palaver.travel.repair import repair

MAX_WORK = 200_000
"""Messages that are repaired for all branches together; what lies beyond is left out, and said."""
_encode = msgspec.json.Encoder().encode


class _Node(msgspec.Struct):
    message: Message
    record: int
    parent: int | None


class Draft:
    """What a reader knows by now. `finish` makes it a conversation."""

    def __init__(self, format: str) -> None:
        self.format = format
        self.title = self.model = self.system = ""
        self.created_at: float | None = None
        self.custom: dict[str, str] = {}
        self.blobs: dict[BlobId, bytes] = {}
        self.repairs: list[Repair] = []
        self._nodes: list[_Node] = []
        self.last: int | None = None
        """The place of the newest message; None at the beginning."""

    def say(
        self, role: Role, content: Iterable[Block], record: int, *, of: Message | None = None
    ) -> int:
        """A message behind the last one; `of` gives what it has beside role and content."""
        message = replace(of or Message(role, ()), role=role, content=tuple(content))
        self._nodes.append(_Node(message, record, self.last))
        self.last = len(self._nodes) - 1
        return self.last

    def change(self, place: int, message: Message) -> None:
        """Exchange the message that `say` put at `place`."""
        self._nodes[place].message = message

    def at(self, place: int) -> Message:
        """The message that `say` put at `place`."""
        return self._nodes[place].message

    def since(self, seconds: float | None) -> None:
        """It began at this time, unless an earlier record said so."""
        if self.created_at is None:
            self.created_at = seconds

    def note(self, kind: RepairKind, record: int, detail: str = "") -> None:
        """Something was mended while reading."""
        self.repairs.append(Repair(kind, record, clean(detail[:200])[0]))

    def keep(self, **custom: str) -> None:
        """What identifies it at its source; empty values are left out, the first one stays."""
        for name, value in custom.items():
            if value:
                self.custom.setdefault(name, clean(value)[0])

    def blob(self, content: bytes) -> BlobId:
        """The id of these bytes, which go with the conversation."""
        id = BlobId(f"sha256:{hashlib.sha256(content).hexdigest()}")
        self.blobs[id] = content
        return id

    def unpacked(self, encoded: str) -> BlobId | None:
        """The blob of base64 text; None where it is none."""
        try:
            content = base64.b64decode("".join(encoded.split()), validate=True)
        except (binascii.Error, ValueError):
            return None
        return self.blob(content) if content else None

    def finish(self) -> Imported | None:
        """The conversation, or None where nobody said anything."""
        tree = _Tree()
        repairs: dict[Repair, None] = dict.fromkeys(self.repairs)
        head: MessageId | None = None
        work = 0
        for place in self._ends():
            path = self._path(place)
            work += len(path)
            if tree.messages and work > MAX_WORK:
                self.note(RepairKind.UNKNOWN_RECORD, self._nodes[place].record, "a branch too many")
                continue
            made, mended = repair([n.message for n in path], records=[n.record for n in path])
            repairs |= dict.fromkeys(mended)
            end = tree.graft(made)
            head = head or end
        repairs |= dict.fromkeys(self.repairs)
        if head is None:
            return None
        return Imported(
            self.format,
            tuple(tree.messages),
            head,
            title=clean(" ".join(self.title.split()))[0],
            created_at=self.created_at,
            model=clean(self.model)[0],
            system=clean(self.system)[0],
            custom=self.custom,
            blobs=self.blobs,
            repairs=tuple(sorted(repairs, key=lambda r: r.record)),
        )

    def _ends(self) -> Iterator[int]:
        """The head, then the ends of the other branches, the newest first."""
        parents = {node.parent for node in self._nodes}
        if self.last is not None:
            yield self.last
        for place in reversed(range(len(self._nodes))):
            if place not in parents and place != self.last:
                yield place

    def _path(self, place: int | None) -> Sequence[_Node]:
        path = []
        while place is not None:
            path.append(self._nodes[place])
            place = self._nodes[place].parent
        return path[::-1]


class _Tree:
    """Messages of all paths, each one once, parents before children."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._placed: dict[bytes, MessageId] = {}
        self._ids: set[MessageId] = set()

    def graft(self, path: Iterable[Message]) -> MessageId | None:
        """The id of the path's last message; None for an empty path."""
        parent: MessageId | None = None
        before: Role | None = None
        for message in path:
            plain = replace(message, id=MessageId(""), parent=parent)
            key = _encode(plain)
            if key not in self._placed:
                id = self._new_id(key, parent if before is Role.ASSISTANT else None, message.role)
                self._placed[key] = id
                self.messages.append(replace(plain, id=id))
            parent, before = self._placed[key], message.role
        return parent

    def _new_id(self, key: bytes, assistant: MessageId | None, role: Role) -> MessageId:
        id = MessageId(f"im_{blake2b(key, digest_size=15).hexdigest()}")
        if role is Role.TOOL and assistant is not None:
            named = tool_message_id(assistant)
            id = id if named in self._ids else named
        self._ids.add(id)
        return id
