"""What kind of failure something is: one word for policies, breakers, statistics and people.

The adapters translate what a provider says into a type (`providers/failures`), from the body first,
then the status, then the exception. This table gives each type its class and says what the class
means: whether it may pass by itself, whose fault it is, and whether another model could do better.
"""

from enum import StrEnum

import msgspec

from palaver.domain.errors import (
    AuthenticationFailed,
    CircuitBreakerOpenError,
    ConnectionFailed,
    ContentBlocked,
    ContextOverflow,
    ContextWindowExceeded,
    InvalidInput,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    ProtocolViolation,
    ProviderError,
    ProviderTimeout,
    QuotaExhausted,
    RateLimited,
    RequestTooLarge,
    ServerFailure,
    StoreError,
    StreamTruncated,
    ToolError,
)


class ErrorClassification(StrEnum):
    """The classes of failures."""

    NETWORK = "network"
    TIMEOUT = "timeout"
    RATE_LIMIT = "rate_limit"
    OVERLOAD = "overload"
    SERVER = "server"
    QUOTA = "quota"
    AUTH = "auth"
    PERMISSION = "permission"
    MODEL_GONE = "model_gone"
    CONTEXT_OVERFLOW = "context_overflow"
    INVALID_REQUEST = "invalid_request"
    REFUSAL = "refusal"
    TRUNCATION = "truncation"
    PROTOCOL = "protocol"
    UNAVAILABLE = "unavailable"
    """Left alone by its circuit breaker; nothing was sent."""
    TOOL = "tool"
    STORAGE = "storage"
    UNKNOWN = "unknown"


class Traits(msgspec.Struct, frozen=True):
    """What a class means."""

    passes: bool = False
    """It may be over in a moment: the same request may succeed."""
    counts: bool = False
    """It says that the other side is ill: circuit breakers count it."""
    elsewhere: bool = False
    """Another model or provider may do it."""
    credential: bool = False
    """It is about the key, not about the provider."""
    away: bool = False
    """The other side cannot be reached, or has no time for anybody; the request may be good."""


_C = ErrorClassification
_TRAITS: dict[ErrorClassification, Traits] = {
    _C.NETWORK: Traits(passes=True, counts=True, elsewhere=True, away=True),
    _C.TIMEOUT: Traits(passes=True, counts=True, elsewhere=True, away=True),
    _C.RATE_LIMIT: Traits(passes=True, counts=True, elsewhere=True, away=True),
    _C.OVERLOAD: Traits(passes=True, counts=True, elsewhere=True, away=True),
    _C.SERVER: Traits(passes=True, counts=True, elsewhere=True, away=True),
    _C.TRUNCATION: Traits(passes=True, counts=True, elsewhere=True, away=True),
    _C.PROTOCOL: Traits(passes=True, counts=True, elsewhere=True),
    _C.UNAVAILABLE: Traits(elsewhere=True, away=True),
    _C.QUOTA: Traits(elsewhere=True, credential=True),
    _C.AUTH: Traits(elsewhere=True, credential=True),
    _C.PERMISSION: Traits(elsewhere=True),
    _C.MODEL_GONE: Traits(elsewhere=True),
}

_TYPES: tuple[tuple[type[Exception], ErrorClassification], ...] = (
    (ConnectionFailed, _C.NETWORK),
    (ProviderTimeout, _C.TIMEOUT),
    (RateLimited, _C.RATE_LIMIT),
    (Overloaded, _C.OVERLOAD),
    (ServerFailure, _C.SERVER),
    (QuotaExhausted, _C.QUOTA),
    (AuthenticationFailed, _C.AUTH),
    (PermissionDenied, _C.PERMISSION),
    (ModelNotFound, _C.MODEL_GONE),
    (ContextOverflow, _C.CONTEXT_OVERFLOW),
    (ContextWindowExceeded, _C.CONTEXT_OVERFLOW),
    (RequestTooLarge, _C.INVALID_REQUEST),
    (InvalidRequest, _C.INVALID_REQUEST),
    (InvalidInput, _C.INVALID_REQUEST),
    (ContentBlocked, _C.REFUSAL),
    (StreamTruncated, _C.TRUNCATION),
    (ProtocolViolation, _C.PROTOCOL),
    (CircuitBreakerOpenError, _C.UNAVAILABLE),
    (ToolError, _C.TOOL),
    (StoreError, _C.STORAGE),
)


def classify(error: BaseException) -> ErrorClassification:
    """The class of any error; UNKNOWN for what Palaver does not know."""
    return next((kind for type_, kind in _TYPES if isinstance(error, type_)), _C.UNKNOWN)


def traits(kind: ErrorClassification) -> Traits:
    """What the class means. Of what is not known nothing good is assumed."""
    return _TRAITS.get(kind, Traits())


def is_unreachable(error: BaseException | None) -> bool:
    """Whether a failure says that a model could not be reached: not that of a key, a request, or
    of the turn's own time."""
    if isinstance(error, ProviderTimeout):
        return error.clock != "turn"
    if isinstance(error, CircuitBreakerOpenError):
        return error.cause not in _CREDENTIAL_CODES
    return error is not None and traits(classify(error)).away


_CREDENTIAL_CODES = frozenset(
    type_.code
    for type_, kind in _TYPES
    if issubclass(type_, ProviderError) and traits(kind).credential
)
"""With one of these as its cause a breaker is that of a key, which waiting does not mend."""
