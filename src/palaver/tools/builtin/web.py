"""One GET of a public page, within bounds; the only way in which tools reach the web.

Against requests that are turned inwards (SSRF): a name is resolved once for each hop, every address
it has must be public, and the connection goes to just these addresses, so a name server that
answers differently the second time gains nothing. Redirects are followed by hand, checked like the
first address. Proxies from the environment, cookies and credentials are not used. The body is
decompressed here, in steps, so that a small answer cannot become a large one.
"""

import asyncio
import errno
import re
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from palaver.domain.errors import NotExecuted, ToolExecutionError, ToolTimeoutError
from palaver.tools.builtin.addresses import Refusal, refusal

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""`resolve(host, port)`: its addresses as text. Raises OSError."""

_REDIRECTS = (301, 302, 303, 307, 308)
_TEXT = re.compile(
    r"text/.*|application/(?:[\w.+-]+\+)?(?:json|xml|yaml|javascript|x-ndjson|toml|x-yaml)", re.I
)
_HEADERS = {
    "User-Agent": "Palaver (a conversation runtime; fetches on a person's request)",
    "Accept": "text/html, text/plain, application/json, application/xml;q=0.9, text/*;q=0.8",
    "Accept-Encoding": "gzip, deflate",
}


class WebLimits(msgspec.Struct, frozen=True):
    """Bounds of one fetch."""

    seconds: float = 15.0
    """Everything together: resolving, redirects, reading."""
    bytes: int = 1024 * 1024
    """After decompression; the rest is left out."""
    redirects: int = 3
    url_chars: int = 2_048


class Fetched(msgspec.Struct, frozen=True):
    """What came."""

    url: str
    """After redirects."""
    status: int
    media_type: str
    charset: str
    body: bytes
    is_cut: bool
    """There was more than the limit."""


async def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """What the system's resolver says, in its order."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Web:
    """Fetches pages from where `refused` does not object."""

    def __init__(
        self,
        *,
        limits: WebLimits | None = None,
        refused: Refusal = refusal,
        resolve: Resolve = resolve_by_system,
    ) -> None:
        self._limits = limits or WebLimits()
        self._refused, self._resolve = refused, resolve

    async def get(self, address: str) -> Fetched:
        """The page, after at most `limits.redirects` redirects. Raises ToolError."""
        import aiohttp

        try:
            async with asyncio.timeout(self._limits.seconds):
                return await self._follow(self._checked(address))
        except TimeoutError as error:
            raise ToolTimeoutError(
                f"the page took longer than {self._limits.seconds:g} s"
            ) from error
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
            raise ToolExecutionError(
                f"the page could not be fetched: {type(error).__name__}: {error}"[:500],
                suggestions=("Check the address, or use another source.",),
            ) from error

    async def _follow(self, url: "URL") -> Fetched:
        for _ in range(self._limits.redirects + 1):
            answer = await self._one(url)
            if isinstance(answer, Fetched):
                return answer
            url = self._checked(answer, base=url)
        raise ToolExecutionError(f"more than {self._limits.redirects} redirects")

    def _checked(self, address: str, base: "URL | None" = None) -> "URL":
        """The address as it will be used: the same parser checks it and connects to it."""
        from yarl import URL

        if len(address) > self._limits.url_chars:
            raise NotExecuted("the address is too long")
        try:
            url = URL(address.strip()) if base is None else base.join(URL(address.strip()))
            host, port = url.host, url.port
        except ValueError as error:
            raise NotExecuted(f"{address[:200]!r} is not an address: {error}") from error
        if url.scheme not in ("http", "https") or not host or not port:
            raise NotExecuted(
                f"{address[:200]!r} is not an http or https address",
                suggestions=("Give the whole address, for example https://example.org/page.",),
            )
        if url.user is not None or url.password is not None:
            raise NotExecuted("addresses with a user name or password are not fetched")
        return url.with_fragment(None)

    async def _one(self, url: "URL") -> "Fetched | str":
        """The page, or where it redirects to."""
        import aiohttp

        addresses = await self._addresses(url)
        connector = aiohttp.TCPConnector(
            resolver=_pinned(addresses), use_dns_cache=False, socket_factory=self._socket, limit=4
        )
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                headers=_HEADERS,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
            ) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status in _REDIRECTS and (target := response.headers.get("Location")):
                return target
            return await self._read(response, url)

    async def _addresses(self, url: "URL") -> Sequence[str]:
        host, port = url.host or "", url.port or 0
        try:
            found = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise NotExecuted(f"there is no host {host[:200]!r}") from error
        for address in found:
            if why := self._refused(address):
                raise NotExecuted(
                    f"{host[:200]!r} is not public ({why}); only public addresses are fetched",
                    suggestions=("Do not try other spellings of this address.",),
                )
        if not found:
            raise NotExecuted(f"the host {host[:200]!r} has no address")
        return found

    def _socket(self, info: "aiohttp.AddrInfoType") -> socket.socket:
        """The last guard: no socket is made for an address that was not checked."""
        family, kind, protocol, _, target = info
        if why := self._refused(str(target[0])):
            raise OSError(errno.EACCES, f"{target[0]} is not public ({why})")
        return socket.socket(family, kind, protocol)

    async def _read(self, response: "aiohttp.ClientResponse", url: "URL") -> Fetched:
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if media_type and not _TEXT.fullmatch(media_type):
            size = response.content_length
            known = f" of {size:,} bytes" if size is not None else ""
            raise ToolExecutionError(f"this is no text but {media_type[:80]}{known}")
        body, is_cut = await self._body(response)
        if not media_type and b"\x00" in body[:8192]:
            raise ToolExecutionError("this is no text but unknown binary data")
        charset = response.charset or ""
        return Fetched(str(url), response.status, media_type, charset, body, is_cut)

    async def _body(self, response: "aiohttp.ClientResponse") -> tuple[bytes, bool]:
        limit = self._limits.bytes
        unpacker = _Unpacker(response.headers.get("Content-Encoding", "").strip().lower())
        body = bytearray()
        async for chunk in response.content.iter_chunked(64 * 1024):
            try:
                body += unpacker.unpack(chunk, limit + 1 - len(body))
            except zlib.error as error:
                raise ToolExecutionError("the page's compression is damaged") from error
            if len(body) > limit:
                return bytes(body[:limit]), True
        return bytes(body), not unpacker.is_complete


class _Unpacker:
    """Undoes a Content-Encoding in steps: what is beyond the room is never made."""

    def __init__(self, encoding: str) -> None:
        if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise ToolExecutionError(f"the page is packed in an unknown way: {encoding[:40]}")
        self._encoding = encoding
        self._state: zlib._Decompress | None = None

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing, as far as the packing tells."""
        return self._state is None or self._state.eof

    def unpack(self, chunk: bytes, room: int) -> bytes:
        """At most `room` bytes of what `chunk` holds. Raises zlib.error."""
        if self._encoding in ("", "identity"):
            return chunk[:room]
        if self._state is None:
            self._state = zlib.decompressobj(self._window(chunk))
        return self._state.decompress(chunk, room)

    def _window(self, start: bytes) -> int:
        if self._encoding != "deflate":
            return 16 + zlib.MAX_WBITS
        # HTTP's `deflate` is zlib's format by the standard, and raw deflate by many servers.
        return zlib.MAX_WBITS if start[0] & 0x0F == 8 else -zlib.MAX_WBITS


def _pinned(addresses: Sequence[str]) -> "aiohttp.abc.AbstractResolver":
    """A resolver that knows one answer: the addresses that were checked."""
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Pinned(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            return [
                ResolveResult(
                    hostname=host,
                    host=address,
                    port=port,
                    family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                    proto=socket.IPPROTO_TCP,
                    flags=socket.AI_NUMERICHOST,
                )
                for address in addresses
            ]

        async def close(self) -> None:
            pass

    return Pinned()
