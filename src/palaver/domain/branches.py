"""Branches: the one path that is talked on, and the tails that were set aside.

A conversation is a tree of messages. Its *path* leads from the first message to the head; whatever
is not on it lies in tails, each behind the message where it leaves the path or another tail. Every
message is in exactly one of these places, so moving the head only moves tails about: it costs what
is moved, and nothing is ever lost.
"""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from palaver.domain.history import History
from palaver.domain.ids import MessageId
from palaver.domain.messages import Message


class Tail(msgspec.Struct, frozen=True):
    """Messages off the path; the first one answers `parent` (None: it begins the conversation)."""

    parent: MessageId | None
    messages: tuple[Message, ...]


Path: TypeAlias = History[Message]


def move(
    path: Path, aside: tuple[Tail, ...], head: MessageId | None
) -> tuple[Path, tuple[Tail, ...]]:
    """The path that ends at `head` (None: the empty one), and what is aside then.

    Raises KeyError when no message has this id.
    """
    if head is None:
        return _cut(path, aside, 0)
    at = _position(path, head)
    if at is not None:
        return _cut(path, aside, at + 1)
    tail = next((t for t in aside if any(m.id == head for m in t.messages)), None)
    if tail is None:
        raise KeyError(head)
    path, aside = move(path, tuple(t for t in aside if t is not tail), tail.parent)
    at = next(i for i, message in enumerate(tail.messages) if message.id == head)
    for message in tail.messages[: at + 1]:
        path = path.append(message)
    rest = tail.messages[at + 1 :]
    return path, (*aside, Tail(head, rest)) if rest else aside


def _cut(path: Path, aside: tuple[Tail, ...], length: int) -> tuple[Path, tuple[Tail, ...]]:
    if length == len(path):
        return path, aside
    parent = path[length - 1].id if length else None
    return path.first(length), (*aside, Tail(parent, tuple(path.since(length))))


def _position(path: Sequence[Message], id: MessageId) -> int | None:
    # From the end: people go back a few messages, rarely to the beginning.
    for back, message in enumerate(reversed(path), 1):
        if message.id == id:
            return len(path) - back
    return None


def leaves(path: Path, aside: tuple[Tail, ...]) -> tuple[Message, ...]:
    """The last message of every branch, the one of the path first."""
    ends = [path[-1]] if path else []
    parents = {tail.parent for tail in aside}
    ends += [t.messages[-1] for t in aside if t.messages[-1].id not in parents]
    return tuple(ends)


def answers_to(
    path: Path, aside: tuple[Tail, ...], parent: MessageId | None
) -> tuple[Message, ...]:
    """Every message that answers `parent` (None: that begins the conversation), by id, which is by
    age where the ids are ours."""
    found = [tail.messages[0] for tail in aside if tail.parent == parent]
    for line in (path, *(tail.messages for tail in aside)):
        found += _behind(line, parent)
    if parent is None and path:
        found.append(path[0])
    return tuple(sorted(found, key=lambda message: message.id))


def _behind(line: Sequence[Message], parent: MessageId | None) -> Sequence[Message]:
    at = None if parent is None else _position(line, parent)
    return () if at is None or at + 1 == len(line) else (line[at + 1],)
