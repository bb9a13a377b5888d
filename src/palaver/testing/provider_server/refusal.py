"""What is refused, in the providers' own words and formats.

Rules raise `Refused` in the terms of their API; scripted `ProviderError`s are brought into the same
form here. Texts follow what the providers answered in 2025 and 2026.
"""

from typing import Any, NoReturn

from palaver.domain.errors import (
    AuthenticationFailed,
    ContentBlocked,
    ContextOverflow,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    RequestTooLarge,
    ServerFailure,
)


class Refused(Exception):
    """The request is answered with an error. `kind` and `code` are the provider's."""

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message
        self.param, self.code, self.headers = param, code, headers or {}


def bad(message: str, *, param: str | None = None, code: str | None = None) -> NoReturn:
    """Refuse with status 400."""
    raise Refused(400, "invalid_request_error", message, param=param, code=code)


def anthropic_body(refused: Refused, request_id: str) -> dict[str, Any]:
    """The JSON of an Anthropic error."""
    error = {"details": None, "type": refused.kind, "message": refused.message}
    if refused.status < 500:
        del error["details"]
    return {"type": "error", "error": error, "request_id": request_id}


def openai_body(refused: Refused, request_id: str = "") -> dict[str, Any]:
    """The JSON of an OpenAI error."""
    return {
        "error": {
            "message": refused.message,
            "type": refused.kind,
            "param": refused.param,
            "code": refused.code,
        }
    }


_ANTHROPIC: dict[type[ProviderError], tuple[int, str, str]] = {
    RateLimited: (429, "rate_limit_error", ""),
    Overloaded: (529, "overloaded_error", ""),
    ServerFailure: (500, "api_error", ""),
    QuotaExhausted: (400, "invalid_request_error", ""),
    AuthenticationFailed: (401, "authentication_error", ""),
    PermissionDenied: (403, "permission_error", ""),
    ModelNotFound: (404, "not_found_error", ""),
    InvalidRequest: (400, "invalid_request_error", ""),
    ContextOverflow: (400, "invalid_request_error", ""),
    RequestTooLarge: (413, "request_too_large", ""),
    ContentBlocked: (400, "invalid_request_error", ""),
}
_OPENAI: dict[type[ProviderError], tuple[int, str, str]] = {
    RateLimited: (429, "requests", "rate_limit_exceeded"),
    Overloaded: (503, "service_unavailable_error", "server_is_overloaded"),
    ServerFailure: (500, "server_error", "server_error"),
    QuotaExhausted: (429, "insufficient_quota", "insufficient_quota"),
    AuthenticationFailed: (401, "invalid_request_error", "invalid_api_key"),
    PermissionDenied: (403, "invalid_request_error", "unsupported_country_region_territory"),
    ModelNotFound: (404, "invalid_request_error", "model_not_found"),
    InvalidRequest: (400, "invalid_request_error", ""),
    ContextOverflow: (400, "invalid_request_error", "context_length_exceeded"),
    RequestTooLarge: (413, "invalid_request_error", ""),
    ContentBlocked: (400, "invalid_request_error", "content_policy_violation"),
}
_WORDS: dict[type[ProviderError], tuple[str, str]] = {
    Overloaded: ("Overloaded", "The server is currently overloaded, please try again later."),
    QuotaExhausted: (
        "Your credit balance is too low to access the Anthropic API.",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    ContextOverflow: (
        "prompt is too long: 200016 tokens > 200000 maximum",
        "This model's maximum context length is 128000 tokens. Please reduce the length.",
    ),
    ContentBlocked: (
        "Output blocked by content filtering policy",
        "Your request was rejected as a result of our safety system.",
    ),
}
"""Where the wording is what a client goes by: the first is Anthropic's, the second OpenAI's."""

_STATUS_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def scripted(error: ProviderError, *, openai: bool) -> Refused:
    """A scripted failure as this provider would put it. `error.status` wins where it is set."""
    table, which = (_OPENAI, 1) if openai else (_ANTHROPIC, 0)
    status, kind, code = table.get(
        type(error), (500, "server_error" if openai else "api_error", "")
    )
    words = _WORDS.get(type(error))
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = f"{error.retry_after_s:g}"
    if error.should_retry is not None:
        headers["x-should-retry"] = str(error.should_retry).lower()
    message = words[which] if words else error.message
    code = error.provider_code or code
    return Refused(error.status or status, kind, message, code=code or None, headers=headers)


def for_status(status: int, *, openai: bool) -> Refused:
    """What a provider says with this status when nothing more is known."""
    if openai:
        kind = "server_error" if status >= 500 else "invalid_request_error"
        return Refused(status, kind, f"The request failed with status {status}.")
    kind = _STATUS_KINDS.get(status, "api_error")
    return Refused(status, kind, "Overloaded" if status == 529 else f"Error {status}")
