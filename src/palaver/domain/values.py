"""Small frozen values that events, state and interfaces share."""

from enum import StrEnum
from typing import Any, Literal

import msgspec


class Scope(msgspec.Struct, frozen=True):
    """On whose behalf something is done. Every store method takes one and checks ids against it."""

    tenant: str = "local"
    actor: str = "me"


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens of one model call, as reported. Categories do not overlap.

    `input` excludes what was read from or written to the provider's cache; `output` includes
    `reasoning`. `estimated` marks numbers that no provider reported.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_creation: int = 0
    reasoning: int = 0
    estimated: bool = False

    @property
    def prompt(self) -> int:
        """All tokens that the model read."""
        return self.input + self.cache_read + self.cache_creation

    @property
    def total(self) -> int:
        """All tokens, read and written."""
        return self.prompt + self.output

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input + other.input,
            self.output + other.output,
            self.cache_read + other.cache_read,
            self.cache_creation + other.cache_creation,
            self.reasoning + other.reasoning,
            self.estimated or other.estimated,
        )


class GenerationSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """How to sample. `None` leaves the provider's default."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    """Output tokens at most, reasoning included."""
    stop: tuple[str, ...] = ()
    seed: int | None = None
    reasoning: Literal["off", "low", "medium", "high"] | None = None
    """How much the model may think, in the providers' common steps."""
    tool_choice: str = ""
    """`auto` (same as empty), `none`, `required`, or a tool's name."""


class UserPreferences(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a person set for a conversation; changed by events only."""

    model: str = ""
    system: str = ""
    language: str = ""
    """BCP 47 tag that replies should be in, or empty."""
    approvals: Literal["ask", "allow", "deny"] = "ask"
    """What happens when a tool with an effect is called."""
    generation: GenerationSettings = GenerationSettings()


class SessionMetadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """What identifies a conversation to people and to the products built on it."""

    title: str = ""
    tags: tuple[str, ...] = ()
    archived: bool = False
    custom: dict[str, str] = {}


class OutputSchema(msgspec.Struct, frozen=True):
    """A JSON Schema that the reply must satisfy."""

    name: str
    schema: dict[str, Any]


class ClientTool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool that the client of a turn runs itself. Palaver shows it to the model, passes the
    model's calls on as they were made, and waits for the client's results."""

    name: str
    """1 to 64 letters, digits, `_` and `-`."""
    description: str = ""
    parameters_schema: dict[str, Any] = {}
    """JSON Schema of an object; empty: it takes no arguments."""


class Effect(StrEnum):
    """What running a tool does to the world; unknown counts as `EFFECT`."""

    READ = "read"
    IDEMPOTENT = "idempotent"
    EFFECT = "effect"


class ErrorInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as it is stored and sent: safe to show, says what to do. `code` is stable."""

    code: str
    message: str
    hint: str = ""
    retryable: bool = False
    retry_after_s: float | None = None
    request_id: str = ""
    attempts: int = 0


class TurnOutcome(StrEnum):
    """How a turn ended. Every turn ends in exactly one of these."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """The process that ran it died."""


class SuspendReason(StrEnum):
    """What a suspended turn waits for."""

    APPROVAL = "approval"
    CLIENT_TOOL_RESULT = "client_tool_result"
