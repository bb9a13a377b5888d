"""What a model is to the engine.

A `Model` turns a `ModelRequest` into a `ModelStream`: an asynchronous iterator over *batches* of
events. A batch is what one read from the network gave; a busy stream costs one step of the event
loop per read, not per token. Adjacent text of one read may be one event.

The contract, which `tests/providers` runs over every adapter:

* Exactly one `Finished` ends a good stream, and nothing follows it. Reading stops there.
* A stream that ends otherwise raises one `ProviderError` (StreamTruncated when the end marker is
  missing), never `Finished`.
* `CallCompleted` comes as soon as a call's arguments are known to be complete, at the latest right
  before `Finished`; calls complete in any order, `Finished.content` holds them in call order.
* `partial()` says at any time what has come: text, finished reasoning, complete calls.
* `aclose()` ends the provider's work within 50 ms by closing the connection; it may be called
  twice.
* Adapters make one attempt. Retrying is the engine's.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import msgspec

from palaver.domain.ids import BlobId, ConversationId
from palaver.domain.messages import Block, Message, StopReason, ToolCall
from palaver.domain.values import GenerationSettings, OutputSchema, Usage

BlobReader: TypeAlias = Callable[[BlobId], Awaitable[bytes]]
"""How adapters get at pictures and files; raises NotFound. Bound to the tenant of the request."""


class ToolSpec(msgspec.Struct, frozen=True):
    """A tool as a model sees it; `schema` is a JSON Schema of type object."""

    name: str
    description: str
    schema: dict[str, Any]


class ModelInfo(msgspec.Struct, frozen=True):
    """What is known about a model. Unknown numbers are None, never a guess."""

    name: str
    """`provider:model`."""
    window: int | None = None
    """Input and output tokens together."""
    max_output: int | None = None
    input_usd: float | None = None
    """US dollars per million tokens."""
    output_usd: float | None = None
    tools: bool = True
    images: bool = True
    files: bool = True
    reasoning: bool = False
    structured_output: bool = True
    prefill: bool = False
    """Whether a request may end with an assistant message that the model continues."""
    address: str = ""
    """Host (and port) that is asked; empty where there is none."""
    credential: str = ""
    """A fingerprint of the key that is used: equal keys have equal ones. Says nothing of the key.
    """


class ModelRequest(msgspec.Struct, frozen=True):
    """One call. `messages` is valid history: each call answered by the message behind it."""

    messages: Sequence[Message]
    system: str = ""
    tools: tuple[ToolSpec, ...] = ()
    settings: GenerationSettings = GenerationSettings()
    output: OutputSchema | None = None
    conversation: ConversationId | None = None
    """For the provider's cache routing; no content."""
    read_blob: BlobReader | None = None
    """Needed when a message refers to blobs."""


class TextPart(msgspec.Struct, frozen=True, gc=False):
    """Visible text. Refusal text comes as this too; `Finished.content` tells them apart."""

    text: str


class ReasoningPart(msgspec.Struct, frozen=True, gc=False):
    """Visible thinking."""

    text: str


class CallStarted(msgspec.Struct, frozen=True, gc=False):
    """A tool call began. Its id is final and unique in this message."""

    id: str
    name: str


class CallArguments(msgspec.Struct, frozen=True, gc=False):
    """More of the call's arguments."""

    id: str
    text: str


class CallCompleted(msgspec.Struct, frozen=True, gc=False):
    """The call's arguments are complete (not necessarily valid)."""

    call: ToolCall


class UsageKnown(msgspec.Struct, frozen=True, gc=False):
    """What is known about usage so far (the whole, not an increment)."""

    usage: Usage


class Finished(msgspec.Struct, frozen=True, gc=False):
    """The message is complete. `usage` is None when the provider reported none."""

    content: tuple[Block, ...]
    stop: StopReason
    usage: Usage | None = None
    native_id: str = ""
    request_id: str = ""
    model: str = ""
    """The provider's name for the model that answered, which may be more exact than the asked one.
    """
    sanitised: bool = False
    """Whether characters that cannot be stored were replaced by U+FFFD."""


ModelEvent: TypeAlias = (
    TextPart | ReasoningPart | CallStarted | CallArguments | CallCompleted | UsageKnown | Finished
)


class ModelStream(Protocol):
    """One attempt, under way."""

    @property
    def request_id(self) -> str:
        """The provider's, as soon as it is known."""
        ...

    def __aiter__(self) -> AsyncIterator[list[ModelEvent]]: ...

    def partial(self) -> tuple[Block, ...]:
        """What has come so far: text, reasoning that may be sent back, complete calls."""
        ...

    def usage(self) -> Usage | None:
        """What the provider has reported so far."""
        ...

    async def aclose(self) -> None:
        """Stop reading and close the connection."""
        ...


@runtime_checkable
class ResumableStream(Protocol):
    """A `ModelStream` whose provider works on when the connection breaks, and keeps the answer."""

    @property
    def can_resume(self) -> bool:
        """Whether the provider has the answer that this stream was reading."""
        ...

    def resumed(self) -> ModelStream:
        """The same answer from exactly where this stream broke: calls and reasoning under way go
        on, `partial` and `Finished.content` are of the whole."""
        ...

    def abandon(self) -> None:
        """Nobody will come back for the answer: the provider is told, without waiting."""
        ...


class Model(Protocol):
    """A model that can be talked to. `name` is `provider:model`."""

    @property
    def name(self) -> str:
        """`provider:model`."""
        ...

    @property
    def info(self) -> ModelInfo:
        """What is known about it."""
        ...

    def stream(self, request: ModelRequest) -> ModelStream:
        """Begin an attempt; nothing is sent before the first step of the iteration."""
        ...

    async def aclose(self) -> None:
        """Give connections back."""
        ...
