"""What a tool is: its description to the model, its bounds, and the context of a call."""

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

from palaver.domain.clock import Clock
from palaver.domain.ids import BlobId, CallId, ConversationId, TurnId
from palaver.domain.messages import Message, ResultContent
from palaver.domain.values import Effect, Scope


class ToolExecutionType(StrEnum):
    """Where a tool runs."""

    LOCAL = "local"
    REMOTE = "remote"
    HYBRID = "hybrid"
    """Remote, with a local stand-in while the remote side is unreachable."""


class ToolRetryPolicy(msgspec.Struct, frozen=True):
    """How often a failing call is tried again. Of an `EFFECT` only what raised NotExecuted is."""

    attempts: int = 1
    """All tries together; 1 means no retry."""
    wait_s: float = 0.5
    factor: float = 2.0


class ToolDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A tool's name, schema and bounds. Unknown effect counts as `EFFECT`: asks, runs once."""

    name: str
    """1 to 64 letters, digits, `_` and `-`: what every provider accepts."""
    description: str
    parameters_schema: dict[str, Any]
    execution_type: ToolExecutionType = ToolExecutionType.LOCAL
    is_enabled: bool = True
    is_hidden: bool = False
    """Callable, but not listed to people."""
    only_compacted: bool = False
    """Offered to models only while a compaction stands for a part of the conversation."""
    argument_hint: str = ""
    """What people type after the name, for example `<city>`."""
    timeout_s: float | None = None
    """Seconds; None takes the setting."""
    retry_policy: ToolRetryPolicy = ToolRetryPolicy()
    effect: Effect = Effect.EFFECT
    is_exclusive: bool = False
    """Never runs beside another tool of the same turn."""
    needs_approval: bool | None = None
    """None: `EFFECT` asks, others don't."""

    @property
    def asks(self) -> bool:
        """Whether a person must allow each call."""
        return self.effect is Effect.EFFECT if self.needs_approval is None else self.needs_approval

    @property
    def may_start_early(self) -> bool:
        """Whether a valid call may run while the model still speaks: harmless, and not asking."""
        return self.effect is not Effect.EFFECT and not self.asks and not self.is_exclusive


Progress: TypeAlias = Callable[[str, float | None], None]
"""`progress(text, fraction)`: shown to clients while the tool runs; fraction 0 to 1 or None."""
Keep: TypeAlias = Callable[[bytes], Awaitable[BlobId]]
"""Stores bytes in the tenant's blob store."""


class ExecutionContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool may know about the call it serves."""

    scope: Scope
    conversation: ConversationId
    turn: TurnId
    call_id: CallId
    history: Sequence[Message]
    """The conversation up to the call. Data, read only."""
    clock: Clock
    progress: Progress
    keep: Keep
    idempotency_key: str = ""
    """The same for every try of this call, and for the same call of the same step when its message
    is made anew: after a restart, or a stream that broke. About 50 characters."""


class ToolOutput(msgspec.Struct, frozen=True):
    """What a tool may return when text is not enough."""

    content: tuple[ResultContent, ...]
    failed: bool = False


Execute: TypeAlias = Callable[[dict[str, Any], ExecutionContext], Awaitable[Any]]
"""Runs a call with validated arguments. Returns text, a JSON-able value, or a ToolOutput."""


class Tool:
    """A definition with the function that runs it; subclasses override `execute` instead."""

    def __init__(self, definition: ToolDefinition, execute: Execute | None = None) -> None:
        self.definition = definition
        self._execute = execute

    async def execute(self, arguments: dict[str, Any], context: ExecutionContext) -> Any:
        """Run one call. Raises ToolError for a failure that it can name; others are translated."""
        if self._execute is None:
            raise NotImplementedError("give an `execute` function or override this method")
        return await self._execute(arguments, context)
