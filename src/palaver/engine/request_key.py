"""What makes two requests the same one, whichever model they go to.

A key is a hash over the system prompt, the tools, the settings, the shape that is asked for and the
window's messages: what was said, called and returned, without ids, reasoning and whatever else only
its provider understands. The messages are hashed in a chain that is remembered for each
conversation, so a key costs what is new in it and not its length. That the window still begins with
what was hashed is seen by identity, as in the ledger.
"""

from collections import OrderedDict
from hashlib import blake2b

import msgspec

from palaver.domain.history import History
from palaver.domain.ids import ConversationId
from palaver.domain.messages import File, Image, Message, Refusal, Text, ToolCall, ToolResult
from palaver.providers.base import ModelRequest, ToolSpec

_CONVERSATIONS = 256
"""Chains remembered; one that was forgotten is hashed again from its beginning."""
_encode = msgspec.json.Encoder(order="deterministic").encode


class RequestKeys:
    """Keys of requests, of any number of conversations. Used from one thread."""

    def __init__(self) -> None:
        self._chains: OrderedDict[ConversationId | None, _Chain] = OrderedDict()
        self._tools: tuple[ToolSpec, ...] = ()
        self._tools_digest = b""

    def key(self, request: ModelRequest) -> bytes:
        """32 bytes."""
        whole = blake2b(digest_size=32)
        whole.update(self._chain(request.conversation).digest(History.of(request.messages)))
        whole.update(self._of_tools(request.tools))
        whole.update(_encode((request.system, request.settings, request.output)))
        return whole.digest()

    def forget(self, conversation: ConversationId) -> None:
        """Keep nothing of it."""
        self._chains.pop(conversation, None)

    def _chain(self, conversation: ConversationId | None) -> "_Chain":
        chain = self._chains.pop(conversation, None) or _Chain()
        self._chains[conversation] = chain
        while len(self._chains) > _CONVERSATIONS:
            self._chains.popitem(last=False)
        return chain

    def _of_tools(self, tools: tuple[ToolSpec, ...]) -> bytes:
        # By the identity of their schemas, which live as long as their tools: encoding dozens of
        # them for each message would be most of the work.
        if len(tools) != len(self._tools) or not all(map(_is_same, tools, self._tools)):
            self._tools = tools
            self._tools_digest = blake2b(_encode(tools), digest_size=32).digest()
        return self._tools_digest


class _Chain:
    """The hash of a growing list of messages."""

    def __init__(self) -> None:
        self._seen: History[Message] = History()
        self._before = self._last = b""
        """Without the last message, and with it."""

    def digest(self, messages: History[Message]) -> bytes:
        """The hash of all of them; costs what is new since the last time."""
        if messages is not self._seen:
            start = self._common(messages)
            for message in messages.since(start):
                self._before = self._last
                self._last = _linked(self._before, message)
            self._seen = messages
        return self._last

    def _common(self, messages: History[Message]) -> int:
        """How many of them need not be hashed again."""
        seen = self._seen
        if messages.starts_with(seen):
            return len(seen)
        if len(seen) > 1 and messages.starts_with(seen.first(len(seen) - 1)):
            self._last = self._before  # the last one has grown, as results of tools come
            return len(seen) - 1
        self._before = self._last = b""
        return 0


def _is_same(one: ToolSpec, other: ToolSpec) -> bool:
    return (
        one.schema is other.schema
        and one.name == other.name
        and one.description == other.description
    )


def _linked(before: bytes, message: Message) -> bytes:
    said = [_encode(part) for block in message.content if (part := _part(block)) is not None]
    return blake2b(b"\0".join((before, message.role.encode(), *said)), digest_size=32).digest()


def _part(block: object) -> object:
    """What of a block any model is sent; None for what only its maker reads."""
    match block:
        case Text(text=text) | Refusal(text=text):
            return text
        case Image() | File():
            return block
        case ToolCall(name=name, arguments=arguments):
            return name, arguments
        case ToolResult(name=name, content=content, failed=failed):
            return name, [_part(each) for each in content], failed
        case _:
            return None
