"""What a provider says when it refuses or fails, as one of our typed errors.

The body is asked first and the status second: the same 400 means a typing error, a full window or
an empty account, and a 429 may say that waiting will never help. The tables are in the order in
which they are asked; a new provider's word is a new row. Everything that reaches a person is short
and free of markup and secrets.
"""

import email.utils
import html
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import msgspec

from palaver.domain.errors import (
    AuthenticationFailed,
    ContentBlocked,
    ContextOverflow,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    ProtocolViolation,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    RequestTooLarge,
    ServerFailure,
)
from palaver.domain.text import clean
from palaver.system import SystemClock

MESSAGE_CHARS = 500
_CODE_CHARS = 100
Kind: TypeAlias = type[ProviderError]

_TEXTS: tuple[tuple[str, Kind], ...] = (
    (r"(incorrect|invalid|missing|expired) (x-)?api[ -]?key", AuthenticationFailed),
    (r"prompt is too long", ContextOverflow),
    (r"context[ _-]?(length|window)|maximum (context|prompt|input) length", ContextOverflow),
    (r"request too large.{0,200}tokens per min", ContextOverflow),
    (
        r"(input|prompt|messages?|tokens?)\b.{0,40}(?<!image )(is|are) too (long|large|many)",
        ContextOverflow,
    ),
    (r"too many (input |prompt )?tokens\b(?! per)", ContextOverflow),
    (r"token limit (was )?(reached|exceeded)|exceeds? the.{0,30}token limit", ContextOverflow),
    (r"input (length )?and `?max_tokens`? exceed", ContextOverflow),
    (
        r"credit balance|insufficient (credit|fund|balance)|exceeded your current quota",
        QuotaExhausted,
    ),
    (r"billing (hard )?limit|requires more credits|usage limits?\b.{0,60}regain", QuotaExhausted),
    (r"content (management|filter)|blocked by.{0,30}(filter|safety|polic)", ContentBlocked),
    (r"output blocked", ContentBlocked),
)
"""Sentences that mean one thing whatever the code beside them says. `rate_limit` has no row here:
the texts of refused requests quote it in links."""

_CODES: dict[str, Kind] = {
    "overloaded_error": Overloaded,
    "overloaded": Overloaded,
    "engine_overloaded": Overloaded,
    "server_is_overloaded": Overloaded,
    "slow_down": Overloaded,
    "unavailable": Overloaded,
    "service_unavailable": Overloaded,
    "capacity_exceeded": Overloaded,
    "insufficient_quota": QuotaExhausted,
    "quota_exceeded": QuotaExhausted,
    "billing_error": QuotaExhausted,
    "billing_hard_limit_reached": QuotaExhausted,
    "billing_not_active": QuotaExhausted,
    "insufficient_balance": QuotaExhausted,
    "context_length_exceeded": ContextOverflow,
    "model_context_window_exceeded": ContextOverflow,
    "too_many_prompt_tokens": ContextOverflow,
    "string_above_max_length": ContextOverflow,
    "request_too_large": RequestTooLarge,
    "invalid_api_key": AuthenticationFailed,
    "authentication_error": AuthenticationFailed,
    "unauthenticated": AuthenticationFailed,
    "unauthorized": AuthenticationFailed,
    "permission_error": PermissionDenied,
    "permission_denied": PermissionDenied,
    "unsupported_country_region_territory": PermissionDenied,
    "model_not_found": ModelNotFound,
    "deploymentnotfound": ModelNotFound,
    "content_filter": ContentBlocked,
    "content_policy_violation": ContentBlocked,
    "responsibleaipolicyviolation": ContentBlocked,
    "moderation_blocked": ContentBlocked,
    "cyber_policy": ContentBlocked,
    "data_inspection_failed": ContentBlocked,
    "image_content_policy_violation": ContentBlocked,
    "rate_limit_error": RateLimited,
    "rate_limit_exceeded": RateLimited,
    "ratelimitreached": RateLimited,
    "too_many_requests": RateLimited,
    "resource_exhausted": RateLimited,
    "tokens": RateLimited,
    "requests": RateLimited,
    "timeout_error": ServerFailure,
    "server_error": ServerFailure,
    "internal_error": ServerFailure,
    "internal_server_error": ServerFailure,
    "vector_store_timeout": ServerFailure,
}
"""Codes and types, in lower case. Vague ones (`invalid_request_error`, `api_error`,
`not_found_error`) are absent: the status says more."""

_VAGUE: dict[str, Kind] = {
    "invalid_request_error": InvalidRequest,
    "invalid_prompt": InvalidRequest,
    "not_found_error": ModelNotFound,
    "api_error": ServerFailure,
    "error": ServerFailure,
}
"""For errors without a status of their own, as within a stream."""

_STATUSES: dict[int, Kind] = {
    401: AuthenticationFailed,
    402: QuotaExhausted,
    403: PermissionDenied,
    404: ModelNotFound,
    408: ServerFailure,
    409: ServerFailure,
    413: RequestTooLarge,
    425: ServerFailure,
    429: RateLimited,
    451: ContentBlocked,
    498: Overloaded,  # Groq: flex tier at capacity
    503: Overloaded,
    529: Overloaded,
}

_WRONG_ADDRESS = "There is no such page: check the provider's address (base URL)."
_patterns = tuple((re.compile(text, re.IGNORECASE | re.DOTALL), kind) for text, kind in _TEXTS)
_SECRET = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|pplx|r8|hf|ghp|tgp|csk|fw|nvapi)[-_][A-Za-z0-9_\-]{8,}"
    r"|\bAIza[A-Za-z0-9_\-]{20,}"
    r"|\beyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-.]{10,}"
    r"|(?<=bearer )[A-Za-z0-9._~+/\-]{8,}=*",
    re.IGNORECASE,
)
_SECRET_CHARS = 8
"""Shorter ones are no keys (loopback servers take any), and would blank parts of words."""
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<(script|style)\b.*?</\1>|<[^>]+>", re.IGNORECASE | re.DOTALL)
_SOON = re.compile(r"try again in ((?:\d+(?:\.\d+)?(?:ms|h|m|s))+)", re.IGNORECASE)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class _Said(msgspec.Struct):
    """What the body of an error says, whatever its shape."""

    message: str = ""
    codes: tuple[str, ...] = ()
    status: int = 0
    structured: bool = True


def translate(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    provider: str,
    hidden: Iterable[str] = (),
    in_stream: bool = False,
) -> ProviderError:
    """The typed error for a refused request, or for an error object that came within a stream.

    Within a stream `status` is that of the response (200) and says nothing. `hidden` are secrets
    of the request; they and everything that looks like a key are blacked out of the message.
    """
    said = _said(body)
    failed = status if status >= 300 else said.status
    kind = _kind(failed, said)
    names = {name.lower(): value for name, value in headers.items()}
    if status < 400:
        names = {name: value for name, value in names.items() if "retry" not in name}
    wait = retry_after_s(names)
    return kind(
        person_text(said.message, hidden=hidden) or f"the provider answered with status {failed}",
        hint=_WRONG_ADDRESS if failed == 404 and not said.structured else "",
        status=status,
        request_id=request_id(names),
        retry_after_s=_said_wait(said.message) if wait is None and kind is RateLimited else wait,
        should_retry={"true": True, "false": False}.get(names.get("x-should-retry", "").lower()),
        in_stream=in_stream,
        provider=provider,
        provider_code=next(iter(said.codes), ""),
    )


def request_id(headers: Mapping[str, str]) -> str:
    """The provider's id of a request, from headers with lower-case names; empty if none came."""
    for name in ("request-id", "x-request-id", "apim-request-id", "x-kong-request-id"):
        if found := headers.get(name):
            return found
    return ""


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the provider asks to wait, from headers with lower-case names; None if unsaid.

    `retry-after-ms` is more exact than `retry-after`; a zero there (Azure sends one beside
    `Retry-After: 1`) says nothing. A date is taken relative to the response's own `date`, so that
    a wrong clock here does not matter; without that header it is taken relative to ours.
    """
    exact = _number(headers.get("retry-after-ms", ""))
    if exact:
        return exact / 1000
    said = headers.get("retry-after", "")
    seconds = _number(said)
    if seconds is not None or not said:
        return seconds
    try:
        until = email.utils.parsedate_to_datetime(said).timestamp()
        answered = headers.get("date")
        now = email.utils.parsedate_to_datetime(answered).timestamp() if answered else None
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, until - (SystemClock().now() if now is None else now))


def person_text(text: str, *, hidden: Iterable[str] = ()) -> str:
    """`text` on one line, without markup and secrets, at most `MESSAGE_CHARS` characters."""
    if "<" in text and re.search(r"<(!doctype|html|head|body|title|h1)\b", text, re.IGNORECASE):
        title = _TITLE.search(text)
        text = html.unescape(title[1] if title else _TAG.sub(" ", text))
    for secret in hidden:
        if len(secret) >= _SECRET_CHARS:
            text = text.replace(secret, "…")
    text = " ".join(_SECRET.sub("…", clean(text)[0]).split())
    return text if len(text) <= MESSAGE_CHARS else text[: MESSAGE_CHARS - 1] + "…"


def _kind(status: int, said: _Said) -> Kind:
    for pattern, kind in _patterns:
        # An overflow or a blocked prompt is a refusal; the same words in a 500 are an accident.
        if status < 500 and pattern.search(said.message):
            return kind
    for code in said.codes:
        if code.lower() in _CODES:
            return _CODES[code.lower()]
    if status == 404 and not said.structured:
        return InvalidRequest
    if status in _STATUSES:
        return _STATUSES[status]
    if status >= 500:
        return ServerFailure
    if status >= 400:
        return InvalidRequest
    if status >= 300:
        return ProtocolViolation
    return next((_VAGUE[c.lower()] for c in said.codes if c.lower() in _VAGUE), ServerFailure)


def _said(body: bytes) -> _Said:
    text = body.decode("utf-8", "replace")
    try:
        plain = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return _Said(text, structured=False)
    if isinstance(plain, list) and plain:
        plain = plain[0]
    if isinstance(plain, str):
        return _Said(plain)
    if not isinstance(plain, dict):
        return _Said()
    return _Said(_message(plain), tuple(_codes(plain)), _status(plain))


def _levels(plain: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The objects that may hold message and code, innermost first."""
    for name in ("error", "detail", "response"):
        inner = plain.get(name)
        if isinstance(inner, list) and inner:
            inner = inner[0]
        if isinstance(inner, dict):
            yield from _levels(inner)
    yield plain


def _message(plain: dict[str, Any]) -> str:
    for level in _levels(plain):
        for name in ("message", "msg", "error", "detail"):
            if isinstance(level.get(name), str) and level[name]:
                return str(level[name])
    return ""


def _codes(plain: dict[str, Any]) -> Iterator[str]:
    for level in _levels(plain):
        for name in ("code", "type", "status"):
            value = level.get(name)
            if isinstance(value, str) and value and not value.isdigit():
                yield clean(value)[0][:_CODE_CHARS]


def _status(plain: dict[str, Any]) -> int:
    for level in _levels(plain):
        for name in ("status_code", "code", "status"):
            value = level.get(name)
            if isinstance(value, str) and value.isdigit():
                value = int(value)
            if isinstance(value, int) and 400 <= value < 600:
                return value
    return 0


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return max(0.0, value) if math.isfinite(value) else None


def _said_wait(message: str) -> float | None:
    found = _SOON.search(message)
    if found is None:
        return None
    return sum(float(n) * _SECONDS[unit.lower()] for n, unit in _SPAN.findall(found[1]))
