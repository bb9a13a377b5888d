"""Where conversations of others lie, beside the checkout; without them their tests skip."""

import os
from collections.abc import Sequence
from pathlib import Path

from palaver.domain.messages import Message
from palaver.domain.state import EMPTY_HASH, next_hash
from palaver.travel.base import Imported

BESIDE = Path(__file__).parents[2].parent / "shared" / "data"
DATA = Path(os.environ.get("PALAVER_TEST_DATA") or BESIDE)
FOLDERS = ("coding_agents", "chats", "service_dialogues")


def files() -> list[Path]:
    """All files of conversations; none where the folder is absent."""
    return sorted(path for folder in FOLDERS for path in (DATA / folder).rglob("*.gz"))


def path_of(conversation: Imported) -> list[Message]:
    """The messages from the first one to the head."""
    known = {message.id: message for message in conversation.messages}
    path: list[Message] = []
    at = conversation.head
    while at is not None:
        path.append(known[at])
        at = known[at].parent
    return path[::-1]


def content_hash(messages: Sequence[Message]) -> str:
    """The chain hash of a conversation with these messages."""
    made = EMPTY_HASH
    for message in messages:
        made = next_hash(made, message)
    return made
