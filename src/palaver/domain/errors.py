"""Everything that can be raised at a caller, in one tree.

    PalaverError
    ├── InvalidInput                    the caller's value is wrong; nothing was done
    ├── NotFound                        no such thing for this tenant
    ├── Conflict
    │   ├── StaleWriter                 somebody else appended first
    │   ├── ConversationBusy            a turn is running
    │   ├── TurnTakenOver               another process ended or continues the turn
    │   ├── IdempotencyMismatch         the key was used for another message
    │   ├── AlreadyAnswered             the call has another result
    │   └── ActionBlocked               a middleware said no
    ├── InvalidTransition               a fact that cannot follow the ones before it
    ├── ReadOnlyConversation            written by a newer Palaver
    ├── ContextWindowExceeded           the turn would not fit the model's window
    ├── StepLimitReached                the model asked for tools too many times
    ├── TurnFailure                     a turn that failed elsewhere, as it was stored
    ├── PromptKept                      no model can be reached; the prompt waits in the outbox
    ├── NotAuthenticated                no key, or none that opens anything
    ├── PermissionRefused               the key is good and does not allow this
    ├── QuotaExceeded                   the key's limit of requests, tokens, turns or money
    ├── ConfigurationError              a key, a model or a setting is missing or wrong
    ├── StoreError
    │   ├── StoreFull                   no space left; nothing was acknowledged
    │   ├── StoreReadOnly
    │   ├── StoreBusy                   another process held the file too long
    │   ├── StoreFailed                 the disk did not confirm a write; no more are tried
    │   └── StoreCorrupt
    ├── ToolError
    │   ├── ToolNotFoundError
    │   ├── ToolDisabledError
    │   ├── ToolArgumentsError
    │   ├── ToolTimeoutError
    │   └── ToolExecutionError
    │       └── NotExecuted             it certainly did not run; safe to try again
    └── ProviderError
        ├── ConnectionFailed            refused, unreachable, DNS, TLS, reset before an answer
        ├── ProviderTimeout             `clock` says which: connect, first_token, idle, turn
        ├── RateLimited
        ├── Overloaded
        ├── ServerFailure
        ├── QuotaExhausted
        ├── AuthenticationFailed
        ├── PermissionDenied
        ├── ModelNotFound
        ├── InvalidRequest
        ├── ContextOverflow             the provider counted more tokens than fit
        ├── RequestTooLarge
        ├── ContentBlocked
        ├── CircuitBreakerOpenError     it failed a moment ago and is left alone; nothing was sent
        ├── StreamTruncated             the stream ended without its end marker
        └── ProtocolViolation           what came is not the protocol

`code` is stable and machine-readable. `str(error)` is for people and never holds a secret.
"""

from collections.abc import Sequence
from typing import ClassVar

from palaver.domain.ids import MessageId
from palaver.domain.values import ErrorInfo


class PalaverError(Exception):
    """The root. `hint` says what to do next."""

    code: ClassVar[str] = "error"
    default_hint: ClassVar[str] = ""
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint

    def info(self) -> ErrorInfo:
        """This error as a value that may be stored and shown."""
        return ErrorInfo(self.code, self.message, self.hint, self.retryable)


class InvalidInput(PalaverError):
    """The caller's value is wrong; nothing was done."""

    code = "invalid_input"


class NotFound(PalaverError):
    """No such conversation, turn, message or blob for this tenant."""

    code = "not_found"


class Conflict(PalaverError):
    """What was asked for does not fit what is there."""

    code = "conflict"


class StaleWriter(Conflict):
    """The log has grown since the caller looked at it. Read again, then decide again."""

    code = "stale_writer"
    default_hint = "Read the conversation again and repeat the change on its present state."
    retryable = True

    def __init__(self, *, expected: int, actual: int) -> None:
        super().__init__(f"expected the log to end at {expected}, it ends at {actual}")
        self.expected, self.actual = expected, actual


class ConversationBusy(Conflict):
    """A turn is running or waits for an answer."""

    code = "conversation_busy"
    default_hint = "Wait for the turn to end, cancel it, or send with on_busy='queue'."
    retryable = True


class TurnTakenOver(Conflict):
    """The turn is no longer this process's: another one ended it, or goes on with it."""

    code = "turn_taken_over"
    default_hint = "Follow the turn, or read the conversation again; nothing that was said is lost."


class IdempotencyMismatch(Conflict):
    """The idempotency key was used before, for something else."""

    code = "idempotency_mismatch"
    default_hint = "Use a new key for a new message."


class AlreadyAnswered(Conflict):
    """The call has a result, and it is another one."""

    code = "already_answered"
    default_hint = "A call is answered once; the conversation holds the result that counts."


class ActionBlocked(Conflict):
    """A middleware refused the action."""

    code = "action_blocked"


class InvalidTransition(PalaverError):
    """A fact that cannot follow the facts before it."""

    code = "invalid_transition"


class ReadOnlyConversation(PalaverError):
    """The log holds events of a newer version; it can be read, not continued."""

    code = "read_only"
    default_hint = "Upgrade Palaver to continue this conversation, or export it."


class ContextWindowExceeded(PalaverError):
    """The turn would not fit the model's context window, even when all is left out that can be.
    Nothing was sent. `hint` names the part that takes most room."""

    code = "context_window_exceeded"
    default_hint = "Start a new conversation, shorten the message, or choose a larger model."

    def __init__(self, *, tokens: int, window: int, hint: str = "", part: str = "") -> None:
        super().__init__(
            f"this turn needs about {tokens:,} tokens and the window holds {window:,}", hint=hint
        )
        self.tokens, self.window = tokens, window
        self.part = part
        """What takes most room of all that cannot shrink; empty where that was not looked for."""


class StepLimitReached(PalaverError):
    """The model asked for tools more often than one turn allows."""

    code = "step_limit"
    default_hint = "Ask it to go on, or raise the limit of steps."


class TurnFailure(PalaverError):
    """A turn that failed in another process or earlier: all that is known is what was stored."""

    code = "turn_failed"

    def __init__(self, stored: ErrorInfo) -> None:
        super().__init__(stored.message, hint=stored.hint)
        self.stored = stored

    def info(self) -> ErrorInfo:
        """What was stored."""
        return self.stored


class PromptKept(PalaverError):
    """No model can be reached now. The prompt is durable in the conversation's outbox, under the id
    `prompt`, and is sent when a model answers again."""

    code = "prompt_kept"
    default_hint = "It is sent when the model answers again; `palaver outbox` shows it."

    def __init__(self, message: str, *, prompt: MessageId, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.prompt = prompt


class NotAuthenticated(PalaverError):
    """There is no key, or none that opens anything. Why it does not is not said: whether a key is
    unknown, revoked or expired is nobody's business who does not have it."""

    code = "not_authenticated"
    default_hint = "Send a valid key; `palaver keys create --name NAME` makes one."

    def __init__(self, message: str = "the key is not valid", *, hint: str = "") -> None:
        super().__init__(message, hint=hint)


class PermissionRefused(PalaverError):
    """The key is good and does not allow this."""

    code = "permission_refused"

    def __init__(self, permission: str) -> None:
        super().__init__(
            f"the key does not allow this: it lacks `{permission}`",
            hint=f"Use a key that was made with --scope {permission}.",
        )
        self.permission = permission


class QuotaExceeded(PalaverError):
    """The key's own limit, not a provider's. `limit` names it: requests_per_minute,
    tokens_per_minute, concurrent_turns or usd_per_day. Nothing was done."""

    code = "quota_exceeded"
    retryable = True
    default_hint = "Wait a little, or have the key's limits raised."

    def __init__(self, limit: str, *, allowed: float, retry_after_s: float) -> None:
        super().__init__(f"the key's limit is reached: {limit} = {allowed:g}")
        self.limit, self.allowed, self.retry_after_s = limit, allowed, retry_after_s

    def info(self) -> ErrorInfo:
        """This error as a value, with the time after which it is worth to try again."""
        return ErrorInfo(
            self.code, self.message, self.hint, self.retryable, retry_after_s=self.retry_after_s
        )


class ConfigurationError(PalaverError):
    """A key, a model name or a setting is missing or wrong."""

    code = "configuration"


class StoreError(PalaverError):
    """The store could not do it. What was not acknowledged was not stored."""

    code = "store_error"


class StoreFull(StoreError):
    """No space is left. Nothing was acknowledged; reading goes on."""

    code = "storage_full"
    default_hint = "Free some disk space and try again; nothing was lost."
    retryable = True


class StoreReadOnly(StoreError):
    """The file or folder cannot be written."""

    code = "storage_read_only"
    default_hint = "Check the permissions of the data folder."


class StoreBusy(StoreError):
    """Another process held the file for too long."""

    code = "storage_busy"
    default_hint = "Another program keeps the database locked; close it and try again."
    retryable = True


class StoreFailed(StoreError):
    """The disk did not confirm that something was written, so nobody knows what is on it. Nothing
    more is written until the file is opened anew; reading goes on."""

    code = "storage_failed"
    default_hint = (
        "Look at the disk (its space, its cables, the system's log), then start the program again."
    )


class StoreCorrupt(StoreError):
    """The file is damaged. It was left as it is."""

    code = "storage_corrupt"
    default_hint = (
        "Run `palaver doctor --repair FILE`: it saves what can be read and keeps the damaged file. "
        "Or restore a backup."
    )


class ToolError(PalaverError):
    """A tool call failed. `suggestions` are written for the model."""

    code = "tool_error"

    def __init__(self, message: str, *, hint: str = "", suggestions: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.suggestions = tuple(suggestions)


class ToolNotFoundError(ToolError):
    """No tool has this name."""

    code = "tool_not_found"


class ToolDisabledError(ToolError):
    """The tool exists and is switched off."""

    code = "tool_disabled"


class ToolArgumentsError(ToolError):
    """The arguments do not satisfy the tool's schema."""

    code = "tool_arguments"


class ToolTimeoutError(ToolError):
    """The tool took longer than it may."""

    code = "tool_timeout"


class ToolExecutionError(ToolError):
    """The tool ran and failed."""

    code = "tool_failed"


class NotExecuted(ToolExecutionError):
    """The tool certainly did nothing; trying again is safe."""

    code = "tool_not_executed"


class ProviderError(PalaverError):
    """A model provider's failure, in our terms.

    `status`: HTTP status, 0 where none came. `request_id`: the provider's, for its support.
    `retry_after_s`: when the provider said to come back. `in_stream`: whether content had begun.
    """

    code = "provider_error"
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        status: int = 0,
        request_id: str = "",
        retry_after_s: float | None = None,
        should_retry: bool | None = None,
        in_stream: bool = False,
        provider: str = "",
        provider_code: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.status, self.request_id, self.retry_after_s = status, request_id, retry_after_s
        self.should_retry, self.in_stream = should_retry, in_stream
        self.provider, self.provider_code = provider, provider_code
        self.attempts = 0

    def info(self) -> ErrorInfo:
        """This failure as a value, with the provider's own words on retrying."""
        return ErrorInfo(
            self.code,
            self.message,
            self.hint,
            self.can_retry,
            self.retry_after_s,
            self.request_id,
            self.attempts,
        )

    @property
    def can_retry(self) -> bool:
        """Whether another attempt may succeed: the provider's own word first, then the class."""
        return self.retryable if self.should_retry is None else self.should_retry


class ConnectionFailed(ProviderError):
    """No connection, or it broke before an answer came."""

    code = "network"
    retryable = True
    default_hint = "Check the network and the provider's address, then try again."


class ProviderTimeout(ProviderError):
    """One of the clocks ran out. `clock`: connect, first_token, idle or turn."""

    code = "timeout"
    retryable = True

    def __init__(self, message: str, *, clock: str, in_stream: bool = False) -> None:
        super().__init__(message, in_stream=in_stream)
        self.clock = clock


class RateLimited(ProviderError):
    """Too many requests or tokens for now."""

    code = "rate_limited"
    retryable = True
    default_hint = "Wait a little, or use another model."


class Overloaded(ProviderError):
    """The provider has no capacity for now."""

    code = "overloaded"
    retryable = True
    default_hint = "The provider is overloaded; try again or use another model."


class ServerFailure(ProviderError):
    """The provider failed inside."""

    code = "provider_failed"
    retryable = True
    default_hint = "The provider failed; try again."


class QuotaExhausted(ProviderError):
    """The account has no credit or quota left; waiting does not help."""

    code = "quota_exhausted"
    default_hint = "Check the plan and billing of the provider account."


class AuthenticationFailed(ProviderError):
    """The key is missing, wrong or revoked."""

    code = "provider_auth"
    default_hint = "Check the provider's API key; `palaver doctor` shows which one is used."


class PermissionDenied(ProviderError):
    """The key is valid and may not do this."""

    code = "provider_permission"
    default_hint = "The key may not use this model or feature; check the account's permissions."


class ModelNotFound(ProviderError):
    """The provider does not know the model."""

    code = "model_not_found"
    default_hint = "Check the model's name; `palaver models` lists known ones."


class InvalidRequest(ProviderError):
    """The provider refuses the request as it is."""

    code = "bad_request"


class ContextOverflow(ProviderError):
    """The provider counted more tokens than the model's window holds."""

    code = "context_overflow"
    default_hint = "Start a new conversation, shorten the message, or choose a larger model."


class RequestTooLarge(ProviderError):
    """The request has more bytes than the provider accepts."""

    code = "request_too_large"
    default_hint = "Attach less, or smaller files."


class ContentBlocked(ProviderError):
    """The provider's filter refused input or output."""

    code = "content_blocked"


class CircuitBreakerOpenError(ProviderError):
    """The provider failed several calls in a row and is left alone for a while. Nothing was sent.

    `retry_after_s` says when it is tried again; `cause` is the code of the last failure."""

    code = "circuit_open"
    retryable = True
    default_hint = "Wait, or use another model; it is tried again by itself."

    def __init__(self, name: str, *, retry_after_s: float, cause: str = "") -> None:
        because = f" ({cause})" if cause else ""
        super().__init__(
            f"{name} has failed several times{because} and is tried again in "
            f"{max(1, round(retry_after_s))} s",
            retry_after_s=retry_after_s,
        )
        self.name, self.cause = name, cause


class StreamTruncated(ProviderError):
    """The stream ended without its end marker: the answer is not complete."""

    code = "stream_truncated"
    retryable = True
    default_hint = "The connection ended early; ask again to get the whole answer."


class ProtocolViolation(ProviderError):
    """What came is not what the protocol says."""

    code = "provider_protocol"
    retryable = True
