"""Errors as clients of OpenAI expect them: `{"error": {message, type, param, code}}`.

Whatever refuses a request below `/v1` (the gate, a missing route, a key, a body, the turn itself)
answers with a Problem, as everywhere; on its way out it is put into OpenAI's shape here.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palaver.domain.errors import InvalidInput, PalaverError
from palaver.domain.values import ErrorInfo
from palaver.server import schema
from palaver.server.errors import PROBLEM_JSON, STATUS, Problem

PREFIX = "/v1/"
NO_RETRY = "x-should-retry"
"""A header that OpenAI's clients obey."""
TURN = (502, 504, 507)
"""What may come of a turn."""
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
_CODES = {
    "invalid_input": "invalid_value",
    "bad_json": "invalid_json",
    "not_authenticated": "invalid_api_key",
    "quota_exceeded": "rate_limit_exceeded",
    "rate_limited": "rate_limit_exceeded",
    "quota_exhausted": "insufficient_quota",
    "context_window_exceeded": "context_length_exceeded",
    "context_overflow": "context_length_exceeded",
    "content_blocked": "content_filter",
    "internal": "server_error",
}
"""Where OpenAI has a word of its own; the others are Palaver's."""
_STATUS = {
    "context_overflow": 400,
    "context_window_exceeded": 400,
    "bad_request": 400,
    "content_blocked": 400,
    "model_not_found": 404,
    "turn_cancelled": 409,
    "turn_interrupted": 503,
    "stream_closed": 503,
    "step_limit": 400,
}
"""Of what a provider refuses because of what the caller said, and of ends that are no errors
elsewhere."""
_EVENT = {"type": "object", "properties": {"data": {"type": "string"}}}
"""`data` is JSON, or `[DONE]`."""
_PLACE = re.compile(r" - at `\$\.?(?P<place>[^`]*)`")


def invalid(param: str, why: str, *, hint: str = "") -> InvalidInput:
    """The error about a parameter; its place is written as the decoder of bodies writes it."""
    return InvalidInput(f"{why} - at `$.{param}`", hint=hint)


class OpenAIErrorDetail(msgspec.Struct, frozen=True):
    """What went wrong, in OpenAI's words. `code` is stable."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class OpenAIError(msgspec.Struct, frozen=True):
    """The body of every error below `/v1`, and an error within a stream."""

    error: OpenAIErrorDetail


def told(info: ErrorInfo, status: int) -> OpenAIErrorDetail:
    """An error in OpenAI's words."""
    found = _PLACE.search(info.message)
    message = _PLACE.sub("", info.message)
    if info.hint:
        message = f"{message}. {info.hint}"
    code = _CODES.get(info.code, info.code)
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    if code == "insufficient_quota":
        kind = code
    return OpenAIErrorDetail(
        message[:1].upper() + message[1:], kind, found["place"] if found else None, code
    )


def status_for(code: str, status: int) -> int:
    """OpenAI's status for an error that is `status` elsewhere."""
    return _STATUS.get(code, 400 if status == 422 else status)


def status_of_info(info: ErrorInfo) -> int:
    """The status of an error that ended a turn: where nothing else is said, a provider failed."""
    return status_for(info.code, STATUS.get(info.code, 500 if info.code == "internal" else 502))


def failed(info: ErrorInfo, *, may_repeat: bool) -> Response:
    """A turn's failure as a response. `may_repeat`: the client may send the request again without
    saying something twice."""
    status = status_of_info(info)
    headers = {} if may_repeat else {NO_RETRY: "false"}
    if info.retry_after_s is not None:
        headers["retry-after"] = str(max(0, math.ceil(info.retry_after_s)))
    return schema.reply(OpenAIError(told(info, status)), status, headers)


def info_of(error: BaseException) -> ErrorInfo:
    """What may be said of an error."""
    if isinstance(error, PalaverError):
        return error.info()
    return ErrorInfo("internal", "an unexpected error", "The server's log has the details.")


def answers(
    kind: Any = None,
    description: str = "Done.",
    *,
    errors: tuple[int, ...] = (),
    streams: bool = False,
    links: Mapping[str, Any] | None = None,
) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route below `/v1`. `streams`: it may answer with server-sent events."""
    found = schema.answers(200, kind, description, errors=errors, links=links)
    # With it in place, the framework does not add one of its own for wrong parameters.
    found["4XX"] = found.pop(422)
    content = schema.answers(200, OpenAIError)[200]["content"]
    made = {s: f if s == 200 else {**f, "content": content} for s, f in found.items()}
    if streams:
        made[200]["content"] |= {schema.EVENTS: {"schema": _EVENT}}
    return made


class OpenAIErrors:
    """Wraps the app: problems below `/v1` leave in OpenAI's shape, all else as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on."""
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            send = _Rewriting(send)
        await self._app(scope, receive, send)


class _Rewriting:
    """Holds the start of a problem back until its body is there, and sends both anew."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._held: Message | None = None

    async def __call__(self, message: Message) -> None:
        if self._held is not None:
            await self._rewrite(self._held, message["body"])
        elif message["type"] == "http.response.start" and _is_problem(message):
            self._held = message
        else:
            await self._send(message)

    async def _rewrite(self, start: Message, body: bytes) -> None:
        problem = msgspec.json.decode(body, type=Problem)
        status = status_for(problem.code, problem.status)
        info = ErrorInfo(problem.code, problem.message, problem.hint)
        body = msgspec.json.encode(OpenAIError(told(info, status)))
        headers = MutableHeaders(raw=list(start["headers"]))
        headers["content-type"], headers["content-length"] = schema.JSON, str(len(body))
        await self._send({**start, "status": status, "headers": headers.raw})
        await self._send({"type": "http.response.body", "body": body})


def _is_problem(message: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(PROBLEM_JSON.encode())
        for name, value in message["headers"]
    )
