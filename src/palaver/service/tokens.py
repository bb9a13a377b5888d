"""Tokens of an identity provider (JWT, as OpenID Connect gives them): verified, then believed.

Whose keys count, which algorithms, who issued it and for whom: all of it is said by the settings
and none of it by the token. Of a token's header `kid` chooses among the keys that the settings'
address gave, and `alg` must be what that key is for; `jku`, `jwk` and `x5u` are not looked at.
Tokens are checked with public keys, so nothing that is made with a shared secret is taken.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import msgspec

from palaver import log
from palaver.domain.access import PERMISSIONS, Principal
from palaver.domain.clock import Clock
from palaver.domain.errors import ConfigurationError, InvalidInput, NotAuthenticated, PalaverError
from palaver.settings import JwtSettings
from palaver.store.access import TEXT_CHARS, check_text

if TYPE_CHECKING:
    from jwt import PyJWK

Fetch: TypeAlias = Callable[[str], Awaitable[bytes]]
"""The bytes at an address. Raises PalaverError."""

FRESH_S = 300.0
"""Keys are asked for again when they are older and a token comes."""
STALE_S = 3600.0
"""For so long they count on while the provider cannot be reached."""
AGAIN_S = 60.0
"""Between two attempts: tokens with made-up names of keys must not become requests."""
FIRST_S = 5.0
"""Between two attempts while there have never been any keys."""
_KID_CHARS = 255
_KEYS = 100
_NOT_OURS = ("oct",)
_PREFIX = "palaver:"
_LOCAL = ("localhost", "127.0.0.1", "::1")


class TokenVerifier:
    """Turns tokens into principals. Raises ConfigurationError for settings that make no sense."""

    def __init__(self, settings: JwtSettings, *, clock: Clock, fetch: Fetch | None = None) -> None:
        _check(settings)
        self._settings, self._clock = settings, clock
        self._keys: KeySet | _OneKey
        if settings.public_key:
            self._keys = _OneKey(Path(settings.public_key).expanduser(), settings.algorithms)
        else:
            self._keys = KeySet(settings.jwks_url, clock=clock, fetch=fetch or _fetched)

    async def principal(self, token: str) -> Principal:
        """Whom the token speaks of. Raises NotAuthenticated."""
        import jwt

        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in self._settings.algorithms:
                raise NotAuthenticated  # before it makes anybody fetch keys
            key = await self._keys.find(_kid(header))
            return self._principal(self._claims(token, key, self._algorithms(key)))
        except (jwt.PyJWTError, InvalidInput, TypeError, ValueError):
            # A key of another kind than the algorithm's is a TypeError there.
            raise NotAuthenticated from None

    def _algorithms(self, key: Any) -> list[str]:
        """Those by which a key is used: its own where it has one, whatever the token says."""
        own = getattr(key, "algorithm_name", None)
        return [a for a in self._settings.algorithms if own in (None, a)]

    def _claims(self, token: str, key: Any, algorithms: list[str]) -> Mapping[str, Any]:
        import jwt

        settings = self._settings
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key,
            algorithms=algorithms,
            audience=settings.audience,
            issuer=settings.issuer,
            options={
                "require": ["exp", "iss", "aud", "sub"],
                "enforce_minimum_key_length": True,
                # Times are looked at below, by our own clock.
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
        now, leeway = self._clock.now(), settings.leeway_s
        if _seconds(claims["exp"]) + leeway <= now:
            raise NotAuthenticated
        if "nbf" in claims and _seconds(claims["nbf"]) - leeway > now:
            raise NotAuthenticated
        return claims

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        tenant, subject = claims.get(self._settings.tenant_claim), claims.get("sub")
        if not isinstance(tenant, str) or not isinstance(subject, str):
            raise NotAuthenticated
        check_text("a tenant's name", tenant)
        actor = f"jwt:{subject}"
        check_text("a subject", actor[: TEXT_CHARS + 1])
        said = claims.get(self._settings.scopes_claim, "")
        words = said.split() if isinstance(said, str) else list(said)
        granted = {str(word).removeprefix(_PREFIX) for word in words}
        scopes = tuple(p for p in PERMISSIONS if p in granted)
        return Principal(tenant, actor, actor, scopes)


class KeySet:
    """The public keys at one address, fetched when they are needed and seldom."""

    def __init__(self, url: str, *, clock: Clock, fetch: Fetch) -> None:
        self._url, self._clock, self._fetch = url, clock, fetch
        self._keys: dict[str, PyJWK] = {}
        self._fetched_at = self._tried_at = -math.inf
        self._lock = asyncio.Lock()

    async def find(self, kid: str | None) -> Any:
        """The key of that name; the only one for None. Raises NotAuthenticated."""
        if self._age() > FRESH_S or self._named(kid) is None:
            await self._refresh(kid)
        found = self._named(kid)
        if found is None or self._age() > STALE_S:
            raise NotAuthenticated
        return found

    def _named(self, kid: str | None) -> "PyJWK | None":
        if kid is not None:
            return self._keys.get(kid)
        return next(iter(self._keys.values())) if len(self._keys) == 1 else None

    def _age(self) -> float:
        return self._clock.monotonic() - self._fetched_at

    async def _refresh(self, kid: str | None) -> None:
        async with self._lock:  # who waited finds what the other one fetched
            if self._age() <= FRESH_S and self._named(kid) is not None:
                return
            pause = AGAIN_S if self._keys else FIRST_S
            if self._clock.monotonic() - self._tried_at < pause:
                return
            self._tried_at = self._clock.monotonic()
            try:
                self._keys = _parsed(await self._fetch(self._url))
                self._fetched_at = self._clock.monotonic()
            except (PalaverError, ValueError, TypeError) as error:
                log.get("access").warning("jwks_not_fetched", url=self._url, error=repr(error))


class _OneKey:
    """The key in a file."""

    def __init__(self, path: Path, algorithms: Sequence[str]) -> None:
        try:
            pem = path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"access.jwt.public_key: cannot read {path}") from error
        if b"PRIVATE" in pem:
            raise ConfigurationError(
                f"access.jwt.public_key: {path} holds a private key",
                hint="Whoever has it can make tokens: the server needs the public one alone.",
            )
        self._key = _prepared(pem, algorithms)
        if self._key is None:
            raise ConfigurationError(
                f"access.jwt.public_key: {path} is no public key (PEM) for {', '.join(algorithms)}"
            )

    async def find(self, kid: str | None) -> Any:
        """The key, whatever it is called."""
        return self._key


def _prepared(pem: bytes, algorithms: Sequence[str]) -> Any:
    """The key, read once; None where it is none of these algorithms'."""
    from jwt import PyJWTError
    from jwt.algorithms import get_default_algorithms

    known = get_default_algorithms()
    for algorithm in algorithms:
        with suppress(PyJWTError, ValueError, TypeError):
            return known[algorithm].prepare_key(pem)
    return None


def _check(settings: JwtSettings) -> None:
    if not settings.issuer or not settings.audience:
        raise ConfigurationError("access.jwt: issuer and audience must be named")
    if bool(settings.jwks_url) == bool(settings.public_key):
        raise ConfigurationError("access.jwt: name jwks_url or public_key, one of them")
    if not settings.algorithms:
        raise ConfigurationError("access.jwt: name at least one algorithm")
    parts = urlsplit(settings.jwks_url)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL)
    if settings.jwks_url and not is_safe:
        raise ConfigurationError(
            "access.jwt.jwks_url must begin with https://",
            hint="Who can change the keys on their way can make tokens for everybody.",
        )
    try:
        from jwt.algorithms import has_crypto
    except ImportError:
        has_crypto = False
    if not has_crypto:  # said at the start, not at the first token
        raise ConfigurationError(
            "tokens (access.jwt) need the package pyjwt with cryptography",
            hint="Install it: pip install 'palaver[server]'",
        )


async def _fetched(url: str) -> bytes:
    """By the client of the tools, with its bounds; it follows no redirect. The address is the
    operator's own, so it may be one inside of a network."""
    from palaver.tools.builtin.web import Web, WebLimits

    web = Web(limits=WebLimits(seconds=10.0, redirects=0), refused=lambda _: "")
    page = await web.get(url)
    if page.status != 200 or page.is_cut:
        raise InvalidInput(f"it answered {page.status}")
    return page.body


def _parsed(body: bytes) -> "dict[str, PyJWK]":
    """Keys that may verify signatures, by name. Raises ValueError for what is no set of keys."""
    from jwt import PyJWK, PyJWTError

    try:
        listed = msgspec.json.decode(body, type=dict[str, Any]).get("keys")
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError("this is no set of keys") from error
    if not isinstance(listed, list):
        raise TypeError("this is no set of keys")
    found: dict[str, PyJWK] = {}
    for each in listed[:_KEYS]:
        if not isinstance(each, dict) or each.get("use", "sig") != "sig":
            continue
        if each.get("kty") in _NOT_OURS:
            continue
        try:
            key = PyJWK(each)
        except (PyJWTError, ValueError, TypeError):
            continue  # of a kind that nobody here knows; the others count
        found[key.key_id or ""] = key
    return found


def _kid(header: Mapping[str, Any]) -> str | None:
    kid = header.get("kid")
    if kid is not None and (not isinstance(kid, str) or len(kid) > _KID_CHARS):
        raise NotAuthenticated
    return kid


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise NotAuthenticated
    return float(value)
