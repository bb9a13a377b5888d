"""Under which names the server is called, and whose pages may call it.

A page on the web may have its own name lead to this machine (DNS rebinding): what the browser then
sends has the page's name in `Host`. So a request that names somebody else is nobody's.
"""

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from palaver.settings import ServerSettings

_HOST = re.compile(r"(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9._-]{1,253}))(?::\d{1,5})?")
"""A name or an address, and perhaps a port; nothing else, as `a@b` or `a:1@b`, is one."""


class Names:
    """The Host headers that are ours: loopback ones, `host` and `allowed_hosts`."""

    def __init__(self, settings: ServerSettings) -> None:
        names = {name.lower() for name in settings.allowed_hosts}
        self._below = tuple(name[1:] for name in names if name.startswith("*."))
        self._names = {"localhost", *names}
        if not _is_everything(settings.host):
            self._names.add(settings.host.lower())

    def is_ours(self, host: str) -> bool:
        """Whether this is a whole Host header that names this server."""
        name = name_in(host)
        return name in self._names or is_loopback(name) or self._is_below(name)

    def _is_below(self, name: str) -> bool:
        first, dot, rest = name.partition(".")
        return bool(first) and dot + rest in self._below


class Origins:
    """The pages whose scripts may call: the server's own, and `allowed_origins`."""

    def __init__(self, settings: ServerSettings) -> None:
        listed = {origin.rstrip("/").lower() for origin in settings.allowed_origins}
        self._listed = listed - {"null", ""}

    @property
    def has_any(self) -> bool:
        """Whether answers depend on who asks."""
        return bool(self._listed)

    def is_listed(self, origin: str) -> bool:
        """Whether it is one of `allowed_origins`."""
        return origin.lower() in self._listed

    def may_all_call(self, origins: Sequence[str], host: str) -> bool:
        """Whether a request with these Origin headers may be answered. `null`, which is sandboxed
        frames and files, may never; a request without one is no browser's, or changes nothing."""
        return len(origins) <= 1 and all(
            self.is_listed(origin) or _is_own(origin, host) for origin in origins
        )


def name_in(host: str) -> str:
    """The name in a Host header, without its port, in lower case; empty where it is malformed."""
    found = _HOST.fullmatch(host.lower())
    return "" if found is None else found[1] or found[2] or ""


def is_loopback(name: str) -> bool:
    """Whether it is an address of this machine alone."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_own(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin.lower())
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc == host.lower()


def _is_everything(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return not host
