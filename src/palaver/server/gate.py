"""What every request passes before any route: its id, its Host and Origin, and the bounds of it."""

import asyncio
import ipaddress
import secrets
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palaver import log
from palaver.domain.errors import PalaverError
from palaver.domain.values import ErrorInfo
from palaver.server.core import Server
from palaver.server.errors import INTERNAL, answer

UPLOADS = "/api/files"
_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class BodyTooLarge(PalaverError):
    """The request's body is larger than the server takes."""

    code = "body_too_large"


class Gate:
    """Wraps the whole app."""

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self._app, self._server = app, server
        settings = server.settings
        self._hosts = {"localhost", settings.host.lower(), *map(str.lower, settings.allowed_hosts)}
        self._origins = {origin.rstrip("/").lower() for origin in settings.allowed_origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or let through."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = f"req_{secrets.token_hex(8)}"
        scope["palaver.request_id"] = request_id
        refused = self._refused(scope, headers)
        if refused is not None:
            await _refuse(scope, receive, send, refused, request_id)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        await self._http(scope, headers, receive, send, request_id)

    def _refused(self, scope: Scope, headers: Headers) -> tuple[ErrorInfo, int] | None:
        if sum(len(k) + len(v) for k, v in scope["headers"]) > self._server.settings.header_bytes:
            return ErrorInfo("headers_too_large", "the request's headers are too large"), 431
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(_name(hosts[0])):
            told = ErrorInfo(
                "wrong_host",
                "this server is not known by the name in the Host header",
                "Add the name to `server.allowed_hosts`.",
            )
            return told, 421
        for origin in headers.getlist("origin"):
            if not self._may_call(origin, hosts[0]):
                told = ErrorInfo(
                    "foreign_origin",
                    "pages of this origin may not call this server",
                    "Add the origin to `server.allowed_origins`.",
                )
                return told, 403
        return None

    def _is_ours(self, name: str) -> bool:
        if name in self._hosts or _is_loopback(name):
            return True
        return any(
            host.startswith("*.") and name.endswith(host[1:]) and "." not in name[: -len(host) + 1]
            for host in self._hosts
        )

    def _may_call(self, origin: str, host: str) -> bool:
        origin = origin.rstrip("/").lower()
        parts = urlsplit(origin)
        is_own = parts.scheme in ("http", "https") and parts.netloc == host.lower()
        return is_own or origin in self._origins

    async def _http(
        self, scope: Scope, headers: Headers, receive: Receive, send: Send, request_id: str
    ) -> None:
        bounded = _Bounded(receive, self._limit(scope["path"]), self._server.settings.receive_s)
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared) > bounded.limit:
            await _refuse(scope, receive, send, (_too_large(bounded.limit), 413), request_id)
            return
        has_begun = False

        async def sending(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                extra = [(b"x-request-id", request_id.encode()), *_SECURITY]
                message = {**message, "headers": [*message.get("headers", ()), *extra]}
            await send(message)

        try:
            await self._app(scope, bounded, sending)
        except BodyTooLarge:
            if not has_begun:
                info = _too_large(bounded.limit)
                await answer(info, 413, request_id=request_id)(scope, receive, sending)
        except TimeoutError:
            if has_begun:
                raise
            info = ErrorInfo("receive_timeout", "the request's body did not come in time")
            await answer(info, 408, request_id=request_id)(scope, receive, sending)
        except Exception as error:  # noqa: BLE001 - the last one who can answer
            log.get("server").error("request_failed", request=request_id, error=repr(error))
            if not has_begun:
                await answer(INTERNAL, 500, request_id=request_id)(scope, receive, sending)

    def _limit(self, path: str) -> int:
        settings = self._server.settings
        return settings.upload_bytes if path == UPLOADS else settings.body_bytes


class _Bounded:
    """A request's body that is counted as it comes."""

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self._receive, self.limit, self._seconds = receive, limit, seconds
        self._taken = 0
        self._is_whole = False

    async def __call__(self) -> MutableMapping[str, Any]:
        if self._is_whole:
            return await self._receive()
        allowed = self._seconds * (1 + self._taken // (10 * 1024 * 1024))
        async with asyncio.timeout(allowed):
            message = await self._receive()
        if message["type"] == "http.request":
            self._taken += len(message.get("body", b""))
            self._is_whole = not message.get("more_body", False)
            if self._taken > self.limit:
                raise BodyTooLarge(f"the body is larger than {self.limit} bytes")
        return message


def _too_large(limit: int) -> ErrorInfo:
    return ErrorInfo(BodyTooLarge.code, f"the body is larger than {limit} bytes")


async def _refuse(
    scope: Scope, receive: Receive, send: Send, refused: tuple[ErrorInfo, int], request_id: str
) -> None:
    info, status = refused
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": info.code})
        return
    await answer(info, status, request_id=request_id)(scope, receive, send)


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
