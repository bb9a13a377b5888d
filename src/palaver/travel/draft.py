"""A conversation while a reader collects it: messages with their place, blobs, what was mended.

Messages form a tree; a reader of a plain list never notices. `grafting` repairs each path of it.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable

from msgspec.structs import replace

from palaver.domain.ids import BlobId
from palaver.domain.messages import Block, Message, Role
from palaver.domain.text import clean
from palaver.travel.base import Imported, Repair, RepairKind
from palaver.travel.grafting import Grafting, Node


class Draft:
    """What a reader knows by now. `finish` makes it a conversation."""

    def __init__(self, format: str) -> None:
        self.format = format
        self.title = self.model = self.system = ""
        self.created_at: float | None = None
        self.custom: dict[str, str] = {}
        self.blobs: dict[BlobId, bytes] = {}
        self.repairs: list[Repair] = []
        self._nodes: list[Node] = []
        self.last: int | None = None
        """The place of the newest message; None at the beginning."""

    def say(
        self, role: Role, content: Iterable[Block], record: int, *, of: Message | None = None
    ) -> int:
        """A message behind the last one; `of` gives what it has beside role and content."""
        message = replace(of or Message(role, ()), role=role, content=tuple(content))
        self._nodes.append(Node(message, record, self.last))
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
        grafted = Grafting(self._nodes)
        head = grafted.head(self.last) if self.last is not None else None
        repairs = dict.fromkeys((*self.repairs, *grafted.repairs))
        if head is None:
            return None
        return Imported(
            self.format,
            tuple(grafted.messages),
            head,
            title=clean(" ".join(self.title.split()))[0],
            created_at=self.created_at,
            model=clean(self.model)[0],
            system=clean(self.system)[0],
            custom=self.custom,
            blobs=self.blobs,
            repairs=tuple(sorted(repairs, key=lambda r: r.record)),
        )
