"""What LangChain's messages have no place for travels in `additional_kwargs["palaver"]`.

The envelope holds our message as plain JSON and a digest of what LangChain shows of it. On the way
back the envelope counts as long as the digest is right; when somebody has changed the message in
between, what is shown counts. Providers' adapters do not look at it.
"""

import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from langchain_core.messages import BaseMessage

from palaver.domain.messages import Message

KEY = "palaver"


def sealed(message: Message, shown: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The LangChain messages that show `message`, with the envelope on the first one."""
    plain = msgspec.to_builtins(message)
    for number, each in enumerate(shown):
        envelope: dict[str, Any] = {"part": number, "seen": _digest(each)}
        if number == 0:
            envelope |= {"message": plain, "parts": len(shown)}
        each.additional_kwargs[KEY] = envelope
    return list(shown)


def opened(messages: Sequence[BaseMessage], at: int) -> tuple[Message, int] | None:
    """Our message that begins at this place, and how many messages show it.

    None when there is no envelope, or when any of them is not as it was sealed.
    """
    head = _envelope(messages[at])
    count = head.get("parts")
    if "message" not in head or not isinstance(count, int) or at + count > len(messages):
        return None
    for number in range(count):
        each = messages[at + number]
        envelope = _envelope(each)
        if envelope.get("part") != number or envelope.get("seen") != _digest(each):
            return None
    try:
        return msgspec.convert(head["message"], Message), count
    except msgspec.ValidationError:
        return None  # of a version with other fields


def _envelope(message: BaseMessage) -> dict[str, Any]:
    found = message.additional_kwargs.get(KEY)
    return found if isinstance(found, dict) else {}


def _digest(message: BaseMessage) -> str:
    fields = ("content", "tool_calls", "invalid_tool_calls", "tool_call_id", "status")
    seen = [message.type, *(getattr(message, name, None) for name in fields)]
    text = json.dumps(seen, sort_keys=True, default=str)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
