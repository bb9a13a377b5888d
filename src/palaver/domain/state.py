"""The state of a conversation: everything that folding its facts gives."""

from hashlib import blake2b

import msgspec

from palaver.domain.history import History
from palaver.domain.ids import CallId, ConversationId, MessageId, TurnId
from palaver.domain.messages import Message, Role, ToolCall
from palaver.domain.values import SessionMetadata, SuspendReason, Usage, UserPreferences

_encoder = msgspec.json.Encoder()
EMPTY_HASH = ""


class OpenTurn(msgspec.Struct, frozen=True, omit_defaults=True):
    """The turn that is running or held; at most one at a time."""

    id: TurnId
    held: SuspendReason | None = None
    waiting: tuple[CallId, ...] = ()
    """Calls that still need a decision or a client's result."""
    approved: tuple[CallId, ...] = ()
    denied: tuple[tuple[CallId, str], ...] = ()
    """Refused calls with what the person said about it."""
    claimed: tuple[CallId, ...] = ()
    """Effects under way: claimed, without result yet."""
    attempts: int = 0
    steps: int = 0
    """Assistant messages so far."""
    usage: Usage = Usage()


class Anchor(msgspec.Struct, frozen=True):
    """A count that a provider reported: the first `messages` messages make `tokens` tokens.

    It includes the system prompt and tool schemas of that request, which hardly change.
    """

    messages: int
    tokens: int


class ConversationState(msgspec.Struct, frozen=True, omit_defaults=True):
    """One conversation at one sequence number.

    `content_hash` depends on roles and content only, not on ids, numbers or times, so the same
    conversation has the same hash wherever it is stored.
    """

    id: ConversationId
    seq: int = 0
    messages: History[Message] = History()
    content_hash: str = EMPTY_HASH
    hash_before_last: str = EMPTY_HASH
    """The hash without the last message, which may still be growing (tool results)."""
    preferences: UserPreferences = UserPreferences()
    metadata: SessionMetadata = SessionMetadata()
    turn: OpenTurn | None = None
    usage: Usage = Usage()
    """Everything spent on this conversation, failed attempts included."""
    anchor: Anchor | None = None
    created_at: float = 0.0
    updated_at: float = 0.0
    read_only: bool = False

    def with_message(self, message: Message) -> "ConversationState":
        """This conversation with `message` behind the last one."""
        return msgspec.structs.replace(
            self,
            messages=self.messages.append(message),
            content_hash=next_hash(self.content_hash, message),
            hash_before_last=self.content_hash,
        )

    def with_last_message(self, message: Message) -> "ConversationState":
        """This conversation with its last message exchanged (a tool message that grew)."""
        return msgspec.structs.replace(
            self,
            messages=self.messages.replace_last(message),
            content_hash=next_hash(self.hash_before_last, message),
        )

    @property
    def last(self) -> Message | None:
        """The newest message."""
        return self.messages[-1] if self.messages else None

    @property
    def pending_calls(self) -> tuple[ToolCall, ...]:
        """Calls of the newest assistant message that have no result yet, in call order."""
        last = self.last
        if last is None or last.role is Role.USER:
            return ()
        if last.role is Role.ASSISTANT:
            return last.tool_calls
        if len(self.messages) < 2:
            return ()
        answered = {result.call_id for result in last.tool_results}
        return tuple(c for c in self.messages[-2].tool_calls if c.id not in answered)


def next_hash(before: str, message: Message) -> str:
    """The chain hash of a history that ends with `message`: 32 hexadecimal digits."""
    digest = blake2b(before.encode(), digest_size=16)
    digest.update(message.role.encode())
    digest.update(_encoder.encode(message.content))
    return digest.hexdigest()


def tool_message_id(assistant: MessageId) -> MessageId:
    """The id of the tool message that answers an assistant message."""
    return MessageId(f"{assistant}.results")
