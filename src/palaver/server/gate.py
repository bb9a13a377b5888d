"""What every request passes before any route: its id, its Host and Origin, and the bounds of it.

A request is refused here by its form alone. Whose it is, and what they may do, is each route's own
dependency (`core.may`): nothing here looks at a path to decide about that.
"""

import re
import secrets
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palaver import log
from palaver.domain.errors import PalaverError
from palaver.domain.values import ErrorInfo
from palaver.server import docs_page
from palaver.server.bounds import BodyTooLarge, BoundedBody
from palaver.server.core import Server
from palaver.server.errors import INTERNAL, answer, status_of
from palaver.server.names import Names, Origins
from palaver.server.watch import Watch

Pairs = list[tuple[bytes, bytes]]

UPLOADS = "/api/files"
SECURITY: Pairs = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
]
_POLICY = b"content-security-policy"
NO_SCRIPTS = (_POLICY, b"default-src 'none'; frame-ancestors 'none'")
_DOCS = (_POLICY, docs_page.POLICY)
NO_STORE = (b"cache-control", b"no-store")
EXPOSED = (
    "x-request-id, retry-after, location, content-disposition, x-palaver-conversation, "
    "ratelimit-limit, ratelimit-remaining, ratelimit-reset, "
    "x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    "x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens"
)
"""What scripts of an allowed page may read of an answer, beside what they always may."""
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_PREFLIGHT_S = 600
_HEADER_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{0,1000}")


class Gate:
    """Wraps the whole app."""

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self._app, self._settings = app, server.settings
        self._names = Names(server.settings)
        self._origins = Origins(server.settings)
        self._watch = Watch(server)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or let through."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope["palaver.request_id"] = f"req_{secrets.token_hex(8)}"
        refused = self._refused(scope, headers)
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send, refused)
            return
        sending = self._sending(scope, headers, send)
        if refused is not None:
            info, status = refused
            await _answer(scope, receive, sending, info, status)
        elif scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await _preflight(sending, headers)
        else:
            await self._http(scope, headers, receive, sending)

    def _refused(self, scope: Scope, headers: Headers) -> tuple[ErrorInfo, int] | None:
        if sum(len(k) + len(v) for k, v in scope["headers"]) > self._settings.header_bytes:
            return ErrorInfo("headers_too_large", "the request's headers are too large"), 431
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._names.is_ours(hosts[0]):
            told = ErrorInfo(
                "wrong_host",
                "this server is not known by the name in the Host header",
                "Add the name to `server.allowed_hosts`.",
            )
            return told, 421
        if not self._origins.may_all_call(headers.getlist("origin"), hosts[0]):
            told = ErrorInfo(
                "foreign_origin",
                "pages of this origin may not call this server",
                "Add the origin to `server.allowed_origins`.",
            )
            return told, 403
        if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            told = ErrorInfo(
                "compressed_body", "compressed bodies are not taken", "Send it as it is."
            )
            return told, 415
        return None

    async def _socket(
        self, scope: Scope, receive: Receive, send: Send, refused: tuple[ErrorInfo, int] | None
    ) -> None:
        if refused is not None:
            await self._watch.refused_socket(scope, refused[0].code)
            await send({"type": "websocket.close", "code": 1008, "reason": refused[0].code})
            return
        await self._app(scope, receive, send)

    async def _http(self, scope: Scope, headers: Headers, receive: Receive, send: "_Send") -> None:
        settings = self._settings
        limit = settings.upload_bytes if scope["path"] == UPLOADS else settings.body_bytes
        body = BoundedBody(receive, limit=limit, seconds=settings.receive_s)
        declared = headers.get("content-length", "")
        try:
            if declared.isdigit() and int(declared[:20]) > limit:
                raise BodyTooLarge(limit)
            await self._app(scope, body, send)
        except PalaverError as error:
            if not send.has_begun:
                await _answer(scope, receive, send, error.info(), status_of(error))
        except Exception as error:  # noqa: BLE001 - the last one who can answer
            id = scope["palaver.request_id"]
            log.get("server").error("request_failed", request=id, error=repr(error))
            if not send.has_begun:
                await _answer(scope, receive, send, INTERNAL, 500)

    def _sending(self, scope: Scope, headers: Headers, send: Send) -> "_Send":
        extra: Pairs = [(b"x-request-id", scope["palaver.request_id"].encode()), *SECURITY]
        extra.append(_DOCS if scope["path"] == docs_page.PLACE else NO_SCRIPTS)
        origin = headers.get("origin")
        if origin is not None and self._origins.is_listed(origin):
            extra += [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-expose-headers", EXPOSED.encode()),
            ]
        if self._origins.has_any:
            extra.append((b"vary", b"Origin"))
        return _Send(send, scope, extra, self._watch)


class _Send:
    """`send` of a request, which completes the head of its answer."""

    __slots__ = ("_extra", "_scope", "_send", "_watch", "has_begun")

    def __init__(self, send: Send, scope: Scope, extra: Pairs, watch: Watch) -> None:
        self._send, self._scope, self._extra, self._watch = send, scope, extra, watch
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            given: Pairs = list(message.get("headers", ()))
            quota = await self._watch.begins(self._scope, message["status"])
            self.has_begun = True
            message = {**message, "headers": _completed(given, [*self._extra, *quota, NO_STORE])}
        await self._send(message)


def _completed(given: Pairs, extra: Pairs) -> Pairs:
    """All that a route has said, and of the rest what it has not."""
    said = {name.lower() for name, _ in given}
    return given + [(name, value) for name, value in extra if name not in said or name == b"vary"]


async def _answer(scope: Scope, receive: Receive, send: Send, info: ErrorInfo, status: int) -> None:
    await answer(info, status, request_id=scope["palaver.request_id"])(scope, receive, send)


async def _preflight(send: Send, headers: Headers) -> None:
    """What a browser asks before it lets an allowed page send more than a form could."""
    wanted = headers.get("access-control-request-headers", "")
    allowed = wanted if _HEADER_NAMES.fullmatch(wanted) else ""
    told: Iterable[tuple[bytes, bytes]] = (
        (b"access-control-allow-methods", METHODS.encode()),
        (b"access-control-allow-headers", allowed.encode("latin-1")),
        (b"access-control-max-age", b"%d" % _PREFLIGHT_S),
    )
    await send({"type": "http.response.start", "status": 204, "headers": list(told)})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
