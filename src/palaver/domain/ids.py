"""Names of things. An id is text without meaning; only `system.new_id` makes new ones."""

import re
from typing import NewType

ConversationId = NewType("ConversationId", str)
MessageId = NewType("MessageId", str)
TurnId = NewType("TurnId", str)
CallId = NewType("CallId", str)
"""A tool call's id, as the provider gave it. Unique within one assistant message, not beyond:
real conversations reuse them."""
OwnerId = NewType("OwnerId", str)
"""One running process that owns turns."""
CompactionId = NewType("CompactionId", str)
BlobId = NewType("BlobId", str)
"""`sha256:` followed by 64 hexadecimal digits."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")


def is_id(text: str) -> bool:
    """Whether `text` may serve as an id: 1 to 128 characters that are safe in paths and URLs."""
    return _ID.fullmatch(text) is not None
