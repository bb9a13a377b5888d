"""The state of a conversation: everything that folding its facts gives."""

from hashlib import blake2b

import msgspec

from palaver.domain.branches import Path, Tail
from palaver.domain.compaction import Compaction, active, window_of
from palaver.domain.history import History
from palaver.domain.ids import CallId, ConversationId, MessageId, TurnId
from palaver.domain.messages import Message, Role, ToolCall, ToolResult
from palaver.domain.outbox import QueuedPrompt
from palaver.domain.values import (
    ClientTool,
    OutputSchema,
    SessionMetadata,
    SuspendReason,
    Usage,
    UserPreferences,
)

_encoder = msgspec.json.Encoder()
EMPTY_HASH = ""
UNDOABLE_COMPACTIONS = 16
"""Newest compactions that undo goes back through; what older ones covered can still be recalled."""
INEFFECTIVE_LIMIT = 2
"""Failed automatic compactions in a row after which no more are made by themselves."""


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
    by_model: tuple[tuple[str, Usage], ...] = ()
    """The same usage by the model that was asked, in the order in which they were."""
    output: OutputSchema | None = None
    """The shape that its answer is to have."""
    tools: tuple[ClientTool, ...] = ()
    """Tools that its client runs."""
    own_tools: bool = True
    """Whether the model gets all of our own tools."""

    def is_clients(self, name: str) -> bool:
        """Whether the client runs the tool of this name."""
        return any(tool.name == name for tool in self.tools)


class Anchor(msgspec.Struct, frozen=True):
    """A count that a provider reported: the first `messages` messages of the window make `tokens`.

    It includes the system prompt and tool schemas of that request, which hardly change.
    """

    messages: int
    tokens: int


class Origin(msgspec.Struct, frozen=True):
    """Where a fork comes from: it shares that conversation's facts up to number `seq`."""

    conversation: ConversationId
    seq: int


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
    aside: tuple[Tail, ...] = ()
    """Branches off the path; see `branches`."""
    undone: tuple[MessageId, ...] = ()
    """Heads that redo goes back to, the next one last."""
    pins: tuple[MessageId, ...] = ()
    origin: Origin | None = None
    turn: OpenTurn | None = None
    usage: Usage = Usage()
    """Everything spent on this conversation, failed attempts included."""
    anchor: Anchor | None = None
    compactions: tuple[Compaction, ...] = ()
    """The newest ones, the latest last, of all branches; see `compaction`."""
    folded: History[Message] | None = None
    """The window, where a compaction stands for the beginning of the path; see `window`."""
    is_compaction_held: bool = False
    """A person took a compaction back: none is made by itself unless the window would overflow."""
    ineffective: int = 0
    """Automatic compactions in a row that changed nothing."""
    created_at: float = 0.0
    updated_at: float = 0.0
    read_only: bool = False
    outbox: tuple[QueuedPrompt, ...] = ()
    """Prompts that wait until a model can be reached, in the order in which they are sent."""
    resent: tuple[tuple[TurnId, TurnId], ...] = ()
    """Turns that reached nobody, with the turns in which their questions were sent again."""

    def resent_as(self, turn: TurnId) -> TurnId:
        """The turn that answers what `turn` was opened for: itself, or a later one."""
        again = dict(self.resent)
        while turn in again:
            turn = again[turn]
        return turn

    def with_message(self, message: Message) -> "ConversationState":
        """This conversation with `message` behind the last one."""
        return msgspec.structs.replace(
            self,
            messages=self.messages.append(message),
            folded=None if self.folded is None else self.folded.append(message),
            content_hash=next_hash(self.content_hash, message),
            hash_before_last=self.content_hash,
        )

    def with_last_message(self, message: Message) -> "ConversationState":
        """This conversation with its last message exchanged (a tool message that grew)."""
        return msgspec.structs.replace(
            self,
            messages=self.messages.replace_last(message),
            folded=None if self.folded is None else self.folded.replace_last(message),
            content_hash=next_hash(self.hash_before_last, message),
        )

    def with_path(self, path: Path, aside: tuple[Tail, ...]) -> "ConversationState":
        """This conversation on another path. Costs a walk over it, for the hash."""
        before, chain = EMPTY_HASH, EMPTY_HASH
        for message in path:
            before, chain = chain, next_hash(chain, message)
        return msgspec.structs.replace(
            self._windowed(path, self.compactions),
            messages=path,
            aside=aside,
            content_hash=chain,
            hash_before_last=before,
        )

    def with_compaction(self, compaction: Compaction) -> "ConversationState":
        """This conversation with a smaller window. Costs a walk over the window."""
        newest = (*self.compactions, compaction)[-UNDOABLE_COMPACTIONS:]
        return self.with_compactions(newest)

    def with_compactions(self, compactions: tuple[Compaction, ...]) -> "ConversationState":
        """This conversation with these compactions, of which the newest of the path counts."""
        return self._windowed(self.messages, compactions)

    def _windowed(self, path: Path, compactions: tuple[Compaction, ...]) -> "ConversationState":
        found = active(path, compactions)
        folded = None if found is None else window_of(path, found)
        anchor = self.anchor
        if anchor is not None:
            window = path if folded is None else folded
            is_same = found is self.compaction and _shares(self.window, window, anchor.messages)
            anchor = anchor if is_same else None
        return msgspec.structs.replace(self, compactions=compactions, folded=folded, anchor=anchor)

    @property
    def window(self) -> History[Message]:
        """What a model is sent of `messages`: all of them, or what a compaction made of them."""
        return self.messages if self.folded is None else self.folded

    @property
    def compaction(self) -> Compaction | None:
        """The compaction that made the window, or None."""
        return None if self.folded is None else active(self.messages, self.compactions)

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


def _shares(one: Path, other: Path, length: int) -> bool:
    """Whether two paths have their first `length` messages in common."""
    if length > len(one) or length > len(other):
        return False
    return length == 0 or one[length - 1] is other[length - 1]


def next_hash(before: str, message: Message) -> str:
    """The chain hash of a history that ends with `message`: 32 hexadecimal digits."""
    digest = blake2b(before.encode(), digest_size=16)
    digest.update(message.role.encode())
    digest.update(_encoder.encode(message.content))
    return digest.hexdigest()


def first_result(assistant: Message, result: ToolResult) -> Message:
    """The tool message that begins with `result` of a call of `assistant`."""
    return Message(Role.TOOL, (result,), tool_message_id(assistant.id), parent=assistant.id)


def with_result(message: Message, result: ToolResult, assistant: Message) -> Message:
    """The tool message with one more result, in call order and not in finish order: the same run
    must give the same prompt."""
    order = {call.id: i for i, call in enumerate(assistant.tool_calls)}
    results = sorted((*message.tool_results, result), key=lambda r: order[r.call_id])
    return msgspec.structs.replace(message, content=tuple(results))


def tool_message_id(assistant: MessageId) -> MessageId:
    """The id of the tool message that answers an assistant message."""
    return MessageId(f"{assistant}.results")
