"""What LangChain, the SDKs below it and their HTTP client raise, as typed errors.

Exceptions are told by the names of their classes, so that no SDK is imported. An error that carries
the provider's body is read by `providers.failures`, which knows more than LangChain's classes do:
LangChain takes OpenAI's full window for a bad request, and errors within a stream come as bare SDK
errors, as ValueErrors with text, or as exceptions of httpx2.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from palaver.domain.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    ContentBlocked,
    ContextOverflow,
    InvalidRequest,
    ModelNotFound,
    PalaverError,
    PermissionDenied,
    ProtocolViolation,
    ProviderError,
    ProviderTimeout,
    RateLimited,
    ServerFailure,
    StreamTruncated,
)
from palaver.providers.failures import person_text, translate

_NAMED: dict[str, type[ProviderError]] = {
    "ContextOverflowError": ContextOverflow,
    "ModelAuthenticationError": AuthenticationFailed,
    "ModelPermissionDeniedError": PermissionDenied,
    "ModelNotFoundError": ModelNotFound,
    "ModelRateLimitError": RateLimited,
    "ModelInvalidRequestError": InvalidRequest,
    "ModelRefusalError": ContentBlocked,
    "ModelAPIError": ServerFailure,
    "ContentFilterFinishReasonError": ContentBlocked,
}
"""LangChain's own classes, for errors without status and body."""
_LATE = ("StreamChunkTimeoutError", "ModelTimeoutError", "TimeoutException", "APITimeoutError")
_LATE_TO_CONNECT = ("ConnectTimeout", "ConnectionTimeoutError", "ConnectTimeoutError")
_UNREACHED = ("ConnectError", "ProxyError", "ClientConnectorError")
_BROKEN = (
    *("ModelConnectionError", "APIConnectionError", "TransportError", "ClientError"),
    *("IncompleteRead", "OSError"),
)
_SDK_PROBLEM = re.compile(r"api[_ ]key|authentication method|credentials", re.IGNORECASE)
_CODED = re.compile(r"([a-z][a-z0-9_]{2,60}): (.*)", re.DOTALL)
_REPRESENTED = re.compile(r"code='([^']*)',? message=(['\"])(.*)\2", re.DOTALL)
_NO_CHUNKS = "No generation chunks were returned"


def translated(error: Exception, *, in_stream: bool, provider: str) -> PalaverError:
    """The typed error for anything that streaming a chat model raised."""
    if isinstance(error, PalaverError):
        return error
    found = _timeout(error, in_stream=in_stream) or _said(error, in_stream, provider)
    return found or _broken(error, in_stream=in_stream) or _ours(error, in_stream=in_stream)


def _timeout(error: Exception, *, in_stream: bool) -> ProviderError | None:
    names = _names(error)
    if any(name in names for name in _LATE_TO_CONNECT):
        return ProviderTimeout("no connection in time", clock="connect")
    if any(name in names for name in (*_LATE, "TimeoutError")):
        clock = "idle" if in_stream else "first_token"
        return ProviderTimeout("the provider was silent for too long", clock=clock)
    return None


def _said(error: Exception, in_stream: bool, provider: str) -> ProviderError | None:
    """What the provider itself said, where the exception carries it."""
    status, body = _status(error), getattr(error, "body", None)
    if body is None and isinstance(getattr(error, "response", None), dict):
        body = error.response  # type: ignore[attr-defined]  # botocore
    if body is None and status == 0:
        return _by_name(error, in_stream) or _coded(error, in_stream, provider)
    raw = body if isinstance(body, str) else json.dumps(body or {"message": text_of(error)})
    failure = translate(
        status or 200, _headers(error), raw.encode(), provider=provider, in_stream=in_stream
    )
    named = _by_name(error, in_stream)
    if isinstance(named, ContextOverflow) and not isinstance(failure, ContextOverflow):
        return named
    failure.request_id = failure.request_id or str(getattr(error, "request_id", "") or "")
    return failure


def _by_name(error: Exception, in_stream: bool) -> ProviderError | None:
    names = _names(error, causes=False)
    kind = next((kind for name, kind in _NAMED.items() if name in names), None)
    return None if kind is None else kind(text_of(error), in_stream=in_stream)


def _coded(error: Exception, in_stream: bool, provider: str) -> ProviderError | None:
    """Errors that ChatOpenAI raises as `ValueError("code: message")` while a response streams."""
    if type(error) is not ValueError:
        return None
    text = str(error)
    if _NO_CHUNKS in text:
        return StreamTruncated("the answer ended before it began")
    code, message = "", ""
    if found := _REPRESENTED.search(text):
        code, message = found[1], found[3]
    elif found := _CODED.fullmatch(text):
        code, message = found[1], found[2]
    if not code:
        return None
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    return translate(200, {}, body, provider=provider, in_stream=in_stream)


def _broken(error: Exception, *, in_stream: bool) -> ProviderError | None:
    names = _names(error)
    if any(name in names for name in _UNREACHED):
        return ConnectionFailed("the provider cannot be reached")
    if not any(name in names for name in _BROKEN):
        return None
    if in_stream:
        return StreamTruncated("the connection broke in mid-answer", in_stream=True)
    return ConnectionFailed("the connection broke before the answer began")


def _ours(error: Exception, *, in_stream: bool) -> ProviderError:
    """Not the network and not the provider: LangChain could not make or read something."""
    text = f"{type(error).__name__}: {text_of(error)}"
    if isinstance(error, json.JSONDecodeError) or in_stream:
        # What is unreadable now may be readable next time; a flaw of the adapter never is.
        again = isinstance(error, json.JSONDecodeError | UnicodeError)
        return ProtocolViolation(
            f"the answer cannot be read: {text}", in_stream=in_stream, should_retry=again
        )
    if _SDK_PROBLEM.search(text):
        return AuthenticationFailed("LangChain found no valid key for this model")
    return InvalidRequest(f"LangChain refuses the request: {text}")


def _names(error: BaseException, *, causes: bool = True) -> set[str]:
    """The names of the exception's classes, and of those that caused it."""
    found: set[str] = set()
    for each in _chain(error) if causes else (error,):
        found.update(kind.__name__ for kind in type(each).__mro__)
    return found


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__


def _status(error: Exception) -> int:
    response = getattr(error, "response", None)
    places = (error, response)
    for place in places:
        for name in ("status_code", "http_status", "code", "status"):
            value = getattr(place, name, None)
            if isinstance(value, int) and 100 <= value < 600:
                return value
    return 0


def _headers(error: Exception) -> dict[str, str]:
    headers = getattr(getattr(error, "response", None), "headers", None)
    if not isinstance(headers, Mapping):
        return {}
    return {str(name): str(value) for name, value in headers.items()}


def text_of(error: Exception) -> str:
    """What the exception says, short and without secrets."""
    said: Any = getattr(error, "message", None)
    return person_text(said if isinstance(said, str) and said else str(error))
