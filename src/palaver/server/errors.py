"""Errors as clients get them: one shape (RFC 9457), whatever went wrong and wherever."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from msgspec.structs import replace
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from palaver import log
from palaver.domain.errors import InvalidInput, PalaverError, QuotaExceeded
from palaver.domain.values import ErrorInfo

PROBLEM_JSON = "application/problem+json"


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong and what to do about it. `code` is stable; texts are for people."""

    type: str
    title: str
    status: int
    code: str
    message: str
    hint: str = ""
    """What to do."""
    retryable: bool = False
    """Whether the same request may succeed later."""
    retry_after_s: float | None = None
    request_id: str = ""
    turn_id: str = ""
    """The turn that it is about, where there is one: it can be followed."""
    prompt_id: str = ""
    """What waits in the outbox, where that is what happened (202)."""


STATUS: Mapping[str, int] = {
    "invalid_input": 422,
    "bad_json": 400,
    "not_found": 404,
    "resume_gap": 410,
    "not_authenticated": 401,
    "permission_refused": 403,
    "quota_exceeded": 429,
    "body_too_large": 413,
    "receive_timeout": 408,
    "conflict": 409,
    "stale_writer": 409,
    "conversation_busy": 409,
    "turn_taken_over": 409,
    "idempotency_mismatch": 409,
    "action_blocked": 409,
    "invalid_transition": 409,
    "read_only": 409,
    "prompt_kept": 202,
    "draining": 503,
    "not_possible_now": 409,
    "server_busy": 503,
    "wrong_media_type": 415,
    "already_answered": 409,
    "context_window_exceeded": 413,
    "tool_not_found": 404,
    "configuration": 422,
    "storage_full": 507,
    "storage_busy": 503,
    "storage_read_only": 503,
    "storage_failed": 503,
    "storage_corrupt": 503,
    "store_error": 503,
    "circuit_open": 503,
    "overloaded": 503,
    "network": 502,
    "timeout": 504,
    "rate_limited": 429,
}
"""By code. What a provider did wrong is 502 where nothing else is said."""
TITLES = {
    202: "Accepted, and kept until a model can be reached",
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "The request took too long",
    409: "Conflict",
    410: "Gone",
    413: "Too large",
    415: "Unsupported media type",
    421: "Not this server",
    422: "Invalid input",
    429: "Too many requests",
    431: "Headers too large",
    500: "Internal error",
    502: "A model provider failed",
    503: "Not available now",
    504: "A model provider took too long",
    507: "No space left",
}


def status_of(error: PalaverError) -> int:
    """The HTTP status of an error."""
    from palaver.domain.errors import ProviderError

    fallback = 502 if isinstance(error, ProviderError) else 500
    return STATUS.get(error.code, fallback)


class NotPossibleNow(PalaverError):
    """The request is good, and the conversation is not in a state for it."""

    code = "not_possible_now"


@contextmanager
def about_the_state() -> Iterator[None]:
    """What was asked for has been read and is good: what is refused in this block is refused for
    the state that the conversation is in, which is a conflict and no invalid input."""
    try:
        yield
    except InvalidInput as error:
        raise NotPossibleNow(error.message, hint=error.hint) from error


class Draining(PalaverError):
    """The server ends and takes no new turns; another one, or the next start, does."""

    code = "draining"
    retryable = True
    default_hint = "Try again in a moment."
    retry_after_s = 1.0

    def info(self) -> ErrorInfo:
        """This error as a value, with the time after which it is worth to try again."""
        told = super().info()
        return replace(told, retry_after_s=self.retry_after_s)


def problem(
    info: ErrorInfo, status: int, *, request_id: str = "", turn_id: str = "", prompt_id: str = ""
) -> tuple[Problem, dict[str, str]]:
    """The body and the headers of an error."""
    body = Problem(
        type=f"urn:palaver:error:{info.code}",
        title=TITLES.get(status, "Error"),
        status=status,
        code=info.code,
        message=info.message,
        hint=info.hint,
        retryable=info.retryable,
        retry_after_s=info.retry_after_s,
        request_id=request_id or info.request_id,
        turn_id=turn_id,
        prompt_id=prompt_id,
    )
    headers: dict[str, str] = {}
    if info.retry_after_s is not None:
        headers["retry-after"] = str(max(0, math.ceil(info.retry_after_s)))
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return body, headers


def answer(
    info: ErrorInfo, status: int, *, request_id: str = "", turn_id: str = "", prompt_id: str = ""
) -> Response:
    """An error as a response."""
    body, headers = problem(
        info, status, request_id=request_id, turn_id=turn_id, prompt_id=prompt_id
    )
    return Response(
        msgspec.json.encode(body), status_code=status, headers=headers, media_type=PROBLEM_JSON
    )


INTERNAL = ErrorInfo(
    "internal", "an unexpected error", "The server's log has the details under the request id."
)


def _nothing_left(error: QuotaExceeded) -> dict[str, str]:
    return {
        "ratelimit-limit": f"{error.allowed:g}",
        "ratelimit-remaining": "0",
        "ratelimit-reset": str(max(0, math.ceil(error.retry_after_s))),
    }


def install(app: FastAPI) -> None:
    """Have every error of every route leave in this shape."""

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, PalaverError)
        made = answer(
            error.info(),
            status_of(error),
            request_id=request_id_of(request),
            turn_id=str(getattr(error, "turn", "")),
            prompt_id=str(getattr(error, "prompt", "")),
        )
        if isinstance(error, QuotaExceeded):
            made.headers.update(_nothing_left(error))
        return made

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        told = "; ".join(
            f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}"
            for each in error.errors()[:5]
        )
        return answer(ErrorInfo("invalid_input", told), 422, request_id=request_id_of(request))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
        hint = "Routes are below /api and /v1; /api/docs shows them." if code == "not_found" else ""
        info = ErrorInfo(code, str(error.detail), hint)
        made = answer(info, error.status_code, request_id=request_id_of(request))
        made.headers.update(error.headers or {})
        if error.status_code == 405:
            made.headers["allow"] = ", ".join(_allowed(request))
        return made

    async def unexpected(request: Request, error: Exception) -> Response:
        id = request_id_of(request)
        log.get("server").error("request_failed", request=id, error=repr(error), exc_info=error)
        return answer(INTERNAL, 500, request_id=id)

    app.add_exception_handler(PalaverError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)


def _allowed(request: Request) -> list[str]:
    """The methods of all routes of this path; the framework names those of the first one."""
    scope, routes = request.scope, request.app.routes
    return [
        method
        for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
        if any(r.matches({**scope, "method": method})[0] is Match.FULL for r in routes)
    ]


def request_id_of(request: Request) -> str:
    """The id that the gate gave this request."""
    return str(request.scope.get("palaver.request_id", ""))
