"""What is said: messages, made of content blocks.

A block that a provider sends and that has no type here is kept as it came (`Unknown`) and goes back
to the same provider unchanged. Wire names and shapes are the adapters' business; nothing here is
shaped after one provider.
"""

from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

from palaver.domain.ids import BlobId, CallId, MessageId


class Role(StrEnum):
    """Who speaks. `TOOL` messages hold the results of the assistant message before them."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class StopReason(StrEnum):
    """Why an assistant message ended. Only the first three are good: tool calls may run."""

    END_TURN = "end_turn"
    TOOL_USE = "tool_use"
    STOP_SEQUENCE = "stop_sequence"
    MAX_TOKENS = "max_tokens"
    REFUSAL = "refusal"
    CONTENT_FILTER = "content_filter"
    PAUSE = "pause"
    """The provider paused a long turn of its own tools; sending the history back continues it."""
    CONTEXT_FULL = "context_full"
    ABORTED = "aborted"
    """Ours: a person or a failure ended it; the message holds what had come until then."""
    OTHER = "other"

    @property
    def is_good(self) -> bool:
        """Whether the model ended this message as it meant to, so that its calls may run."""
        return self in (StopReason.END_TURN, StopReason.TOOL_USE, StopReason.STOP_SEQUENCE)


class Flag(StrEnum):
    """What a reader must know about a message beside its content."""

    SANITISED = "sanitised"
    """Characters that cannot be stored were replaced by U+FFFD."""
    PARTIAL = "partial"
    """The message was cut: abort, failure or crash."""
    SYNTHETIC = "synthetic"
    """Written by Palaver, not by a person or model (for example a result for an aborted call)."""
    REDACTED = "redacted"
    """Its content was erased on request."""
    OFFLINE = "offline"
    """Written by the offline responder, which is no language model."""
    CACHED = "cached"
    """An earlier answer to the same request, given again because no model could be reached."""
    JOINED = "joined"
    """Its stream broke and was continued; nothing is missing or twice at the joins."""
    JOIN_UNVERIFIED = "join_unverified"
    """Beside JOINED: nothing proves that no word is missing at one of the joins."""


# `gc=False`: these values hold no cycles, and a long conversation has tens of thousands of them;
# opening one took twice as long while the collector looked at each.
class _Block(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="type"):
    pass


class Text(_Block, frozen=True, tag="text"):
    """Text, Markdown by convention. `annotations`: citations as the provider's JSON, or empty."""

    text: str
    annotations: str = ""


class Image(_Block, frozen=True, tag="image"):
    """A picture, by blob or by address; exactly one of the two is set."""

    media_type: str = ""
    blob: BlobId | None = None
    url: str | None = None
    name: str = ""
    width: int = 0
    """Pixels; 0 where unknown. Providers price pictures by size."""
    height: int = 0


class File(_Block, frozen=True, tag="file"):
    """A document, by blob or by address; exactly one of the two is set."""

    media_type: str = ""
    blob: BlobId | None = None
    url: str | None = None
    name: str = ""
    size: int = 0
    """Bytes; 0 where unknown."""


class ToolCall(_Block, frozen=True, tag="tool_call"):
    """The model asks for a tool. `arguments` is JSON text exactly as the model wrote it.

    `origin` and `native` keep what a provider needs back beside id, name and arguments (an item id,
    a custom tool's kind) as JSON; other providers ignore it.
    """

    id: CallId
    name: str
    arguments: str = "{}"
    origin: str = ""
    native: str = ""

    def parsed(self) -> dict[str, Any]:
        """The arguments as an object. Raises ValueError when they are not a JSON object."""
        if not self.arguments.strip():
            return {}
        try:
            value = msgspec.json.decode(self.arguments)
        except msgspec.DecodeError as error:
            raise ValueError(f"the arguments are not valid JSON: {error}") from error
        if not isinstance(value, dict):
            raise ValueError("the arguments must be a JSON object")
        return value


ResultContent: TypeAlias = Text | Image | File


class ToolResult(_Block, frozen=True, tag="tool_result"):
    """The one answer to a call. `full` names the blob that holds the output when it was cut."""

    call_id: CallId
    name: str
    content: tuple[ResultContent, ...] = ()
    failed: bool = False
    full: BlobId | None = None
    unknown: bool = False
    """The tool had an effect under way when the process died: it may or may not have happened."""
    by_client: bool = False
    """The client ran the tool: the call and this are part of the history that it knows."""

    @property
    def text(self) -> str:
        """All text of the result."""
        return "".join(block.text for block in self.content if isinstance(block, Text))


class Reasoning(_Block, frozen=True, tag="reasoning"):
    """The model's thinking. What is opaque goes back to its provider unchanged.

    `signature`: Anthropic's proof. `encrypted`: redacted thinking or encrypted content.
    `origin`: the API that made it, for example `anthropic.messages`; others never receive it.
    `native`: the provider's item as JSON where its shape matters (Responses items), or empty.
    """

    text: str = ""
    signature: str = ""
    encrypted: str = ""
    id: str = ""
    origin: str = ""
    native: str = ""


class Refusal(_Block, frozen=True, tag="refusal"):
    """The model declined, in the provider's own form."""

    text: str


class Unknown(_Block, frozen=True, tag="unknown"):
    """A block of a kind that Palaver does not interpret, kept as the provider's JSON in `raw`."""

    origin: str
    kind: str
    raw: str


Block: TypeAlias = Text | Image | File | ToolCall | ToolResult | Reasoning | Refusal | Unknown


class Message(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One message. `parent` is the message that it answers; branches share their past."""

    role: Role
    content: tuple[Block, ...]
    id: MessageId = MessageId("")
    parent: MessageId | None = None
    model: str = ""
    """`provider:model` that wrote an assistant message."""
    stop: StopReason | None = None
    flags: tuple[Flag, ...] = ()
    native_id: str = ""
    """The provider's id of the message or response, for support requests and continuation."""

    @classmethod
    def user(cls, content: "str | tuple[Block, ...]", *, id: str = "") -> "Message":
        """A user message from text or blocks."""
        return cls(Role.USER, _blocks(content), MessageId(id))

    @classmethod
    def assistant(cls, content: "str | tuple[Block, ...]", *, id: str = "") -> "Message":
        """An assistant message from text or blocks."""
        return cls(Role.ASSISTANT, _blocks(content), MessageId(id))

    @property
    def text(self) -> str:
        """All visible text: text and refusal blocks, not reasoning, not tool traffic."""
        return "".join(b.text for b in self.content if isinstance(b, Text | Refusal))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls of an assistant message, in call order."""
        return tuple(b for b in self.content if isinstance(b, ToolCall))

    @property
    def tool_results(self) -> tuple[ToolResult, ...]:
        """The results in a tool message, in call order."""
        return tuple(b for b in self.content if isinstance(b, ToolResult))


def _blocks(content: "str | tuple[Block, ...]") -> tuple[Block, ...]:
    return (Text(content),) if isinstance(content, str) else content
