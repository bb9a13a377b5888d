"""Requests to a server: what it answers, or the error that it tells, as one of ours."""

import asyncio
import os
import random
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from palaver.domain import errors
from palaver.domain.errors import ConfigurationError, ConnectionFailed, PalaverError
from palaver.domain.ids import MessageId
from palaver.domain.values import ErrorInfo

T = TypeVar("T")
ATTEMPTS = 4
"""Of a request that may be repeated without harm, while the server cannot be reached."""
BASE_S, CAP_S = 0.25, 8.0
PROBLEM_JSON = "application/problem+json"
"""Also of a prompt that was accepted and kept, which is 202."""


class RemoteError(PalaverError):
    """An error that the server told and that has no type of its own here; `info()` is its word."""

    code = "remote"

    def __init__(self, told: ErrorInfo, status: int) -> None:
        super().__init__(told.message, hint=told.hint)
        self.told, self.status = told, status

    def info(self) -> ErrorInfo:
        """What the server said."""
        return self.told


class _Told(msgspec.Struct, frozen=True):
    code: str = "remote"
    message: str = ""
    hint: str = ""
    retryable: bool = False
    retry_after_s: float | None = None
    request_id: str = ""
    turn_id: str = ""
    prompt_id: str = ""


def why(error: Exception) -> str:
    """What went wrong with a connection, in the words of the system or of the HTTP client."""
    if isinstance(error, aiohttp.ClientConnectorError) and (error.os_error.errno or 0) > 0:
        return os.strerror(error.os_error.errno or 0).lower()
    return str(error) or type(error).__name__


def _by_code() -> dict[str, type[PalaverError]]:
    simple = (
        errors.InvalidInput,
        errors.NotFound,
        errors.Conflict,
        errors.ConversationBusy,
        errors.IdempotencyMismatch,
        errors.ActionBlocked,
        errors.NotAuthenticated,
        errors.PermissionRefused,
        errors.StoreError,
        errors.StoreFull,
        errors.StoreBusy,
        errors.ConfigurationError,
    )
    return {error.code: error for error in simple}


def error_of(status: int, body: bytes) -> PalaverError:
    """What an answer tells that is not what was asked for."""
    try:
        told = msgspec.json.decode(body, type=_Told)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = _Told("remote", f"the server answered with status {status}")
    if told.code == errors.PromptKept.code:
        return errors.PromptKept(told.message, prompt=MessageId(told.prompt_id), hint=told.hint)
    known = _by_code().get(told.code)
    if known is not None:
        error = known.__new__(known)  # some are made of other things than their message
        PalaverError.__init__(error, told.message, hint=told.hint)
        return error
    info = ErrorInfo(
        told.code,
        told.message,
        told.hint,
        told.retryable,
        told.retry_after_s,
        told.request_id,
    )
    return RemoteError(info, status)


class Transport:
    """One server, one key, some connections that are kept."""

    def __init__(self, address: str, *, key: str = "", chance: random.Random | None = None) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(
                f"{address!r} is no address of a server", hint="Such as http://127.0.0.1:8642."
            )
        self._base = address.rstrip("/")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._chance = chance or random.Random()  # jitter
        self.session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=120.0),
            auto_decompress=True,
        )

    def url(self, path: str) -> str:
        """The address of a path below `/api`."""
        return f"{self._base}/api{path}"

    async def ask(
        self,
        method: str,
        path: str,
        kind: type[T],
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        is_repeatable: bool | None = None,
    ) -> T:
        """An answer as a value. Raises what the server tells, ConnectionFailed.

        `is_repeatable` (None: as its method says): it does no harm twice.
        """
        raw = await self.bytes(
            method,
            path,
            data=None if body is None else msgspec.json.encode(body),
            params=params,
            headers=headers,
            is_repeatable=is_repeatable,
        )
        return msgspec.json.decode(raw or b"null", type=kind)

    async def bytes(
        self,
        method: str,
        path: str,
        *,
        data: bytes | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        is_repeatable: bool | None = None,
    ) -> bytes:
        """The same as it came."""
        repeatable = method in ("GET", "PUT", "DELETE") if is_repeatable is None else is_repeatable
        tries = ATTEMPTS if repeatable else 1
        for attempt in range(1, tries + 1):
            try:
                async with self.session.request(
                    method,
                    self.url(path),
                    data=data,
                    params=dict(params or {}),
                    headers={"content-type": "application/json", **(headers or {})},
                ) as response:
                    answer = await response.read()
                    if response.status < 400 and response.content_type != PROBLEM_JSON:
                        return answer
                    failure: PalaverError = error_of(response.status, answer)
                    if response.status not in (502, 503, 504):
                        raise failure
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                failure = ConnectionFailed(
                    f"no answer from {self._base}: {why(error)}",
                    hint="Check the address, and whether `palaver serve` runs there.",
                )
            if attempt == tries:
                raise failure
            await self.pause(attempt)
        raise AssertionError("unreachable")

    async def pause(self, attempt: int) -> None:
        """Wait before another try: longer each time, and not in step with others."""
        longest = min(CAP_S, BASE_S * 2**attempt)
        await asyncio.sleep(self._chance.uniform(longest / 2, longest))

    async def aclose(self) -> None:
        """Close the connections."""
        await self.session.close()
