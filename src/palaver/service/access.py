"""Who asks: a token becomes a `Principal`, or nothing at all.

A key is `pal_`, its public id and 256 bits of chance. The store has the SHA-256 of all of it: with
so much chance in it a key cannot be guessed from its digest, so a slow hash would protect nothing.
All that a wrong key learns is that it is wrong. For an unknown, a malformed, a revoked and an
expired one the same work is done in the same order: hash, one look-up by equality, one comparison.
"""

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from palaver.domain.access import PERMISSIONS, KeyLimits, Permission, Principal
from palaver.domain.clock import Clock
from palaver.domain.errors import InvalidInput, NotAuthenticated, StoreError
from palaver.service.quotas import Quotas
from palaver.settings import AccessSettings, JwtSettings
from palaver.store.access import AccessStore, ApiKey

if TYPE_CHECKING:
    from palaver.service.tokens import TokenVerifier

__all__ = ["Authenticator", "KeyRing", "MadeKey", "Principal", "Quotas", "new_key"]

PREFIX = "pal_"
REMEMBER_S = 5.0
"""The longest that a key which was revoked by another process still opens something here."""
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID_CHARS = 10
_SECRET_BYTES = 32
_KEY = re.compile(rf"{PREFIX}([{_ALPHABET}]{{{_ID_CHARS}}})_[A-Za-z0-9_-]{{43}}")
_NOBODY = "0" * _ID_CHARS
_REMEMBERED = 10_000
_LONGEST = 16 * 1024


class MadeKey(msgspec.Struct, frozen=True):
    """A new key and its text, which is nowhere else: who has it now is the only one to have it."""

    key: ApiKey
    text: str
    digest: bytes

    def __repr__(self) -> str:
        return f"MadeKey(key={self.key!r})"


def new_key(
    name: str,
    *,
    tenant: str = "local",
    scopes: Sequence[Permission] = ("read", "write", "approve"),
    expires_at: float | None = None,
    limits: KeyLimits | None = None,
) -> MadeKey:
    """A key that opens something once `AccessStore.add_key` has its digest.

    Raises InvalidInput for a scope that does not exist, and for none.
    """
    unknown = [scope for scope in scopes if scope not in PERMISSIONS]
    if unknown or not scopes:
        raise InvalidInput(
            f"there is no scope {unknown[0]!r}"
            if unknown
            else "a key without scopes opens nothing",
            hint=f"Choose of {', '.join(PERMISSIONS)}.",
        )
    id = "".join(secrets.choice(_ALPHABET) for _ in range(_ID_CHARS))
    secret = urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).rstrip(b"=").decode()
    text = f"{PREFIX}{id}_{secret}"
    ordered = tuple(scope for scope in PERMISSIONS if scope in scopes)
    key = ApiKey(id, name, tenant, ordered, expires_at=expires_at, limits=limits)
    return MadeKey(key, text, _digest(text))


class KeyRing:
    """Knows keys. One that was good a moment ago is not looked up again for `remember_s` seconds:
    revoked here it is dead at once, revoked by another process after that time at the latest."""

    def __init__(self, store: AccessStore, *, clock: Clock, remember_s: float = REMEMBER_S) -> None:
        self._store, self._clock = store, clock
        self._remember_s = min(remember_s, REMEMBER_S)
        self._known: OrderedDict[bytes, tuple[float, ApiKey]] = OrderedDict()
        """By the digest of what was sent; only keys that are good, so nobody can fill it."""
        self._revoked: set[str] = set()
        """Here. A look-up that began before one must not bring its key back."""

    async def principal(self, token: str) -> Principal:
        """Whose key it is. Raises NotAuthenticated, for whatever reason with the same words."""
        digest = _digest(token)
        key = self._remembered(digest) or await self._looked_up(token, digest)
        if key is None or key.id in self._revoked or not key.is_valid(self._clock.now()):
            self._known.pop(digest, None)
            raise NotAuthenticated
        with suppress(StoreError):  # a full disk locks nobody out
            await self._store.touch_key(key.id)
        return Principal(key.tenant, key.id, key.id, key.scopes, key.limits)

    async def revoke(self, id: str, *, tenant: str | None = None) -> ApiKey:
        """The key opens nothing any more, from now on. Raises NotFound."""
        revoked = await self._store.revoke_key(id, tenant=tenant)
        self._revoked.add(revoked.id)
        return revoked

    def _remembered(self, digest: bytes) -> ApiKey | None:
        until, key = self._known.get(digest, (0.0, None))
        return key if self._clock.monotonic() < until else None

    async def _looked_up(self, token: str, digest: bytes) -> ApiKey | None:
        shape = _KEY.fullmatch(token)
        found = await self._store.key_by_id(shape[1] if shape else _NOBODY)
        key, known = found or (None, bytes(len(digest)))
        if not hmac.compare_digest(digest, known):
            return None
        assert key is not None  # no text has the digest of 32 zeros
        self._known[digest] = (self._clock.monotonic() + self._remember_s, key)
        self._known.move_to_end(digest)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return key


class Authenticator:
    """Keys of ours, and tokens of somebody whose word is taken, behind one question.

    Raises ConfigurationError for settings of tokens that make no sense.
    """

    def __init__(
        self, store: AccessStore, *, clock: Clock, settings: AccessSettings | None = None
    ) -> None:
        settings = settings or AccessSettings()
        self._store, self._is_needed = store, False
        self.keys = KeyRing(store, clock=clock, remember_s=settings.remember_s)
        self._tokens = None if settings.jwt is None else _verifier(settings.jwt, clock)

    async def is_needed(self) -> bool:
        """Whether callers need a key or a token: as soon as there ever was a key. Where all of
        them are revoked nobody comes in, instead of everybody."""
        if not self._is_needed:
            self._is_needed = self._tokens is not None or bool(await self._store.keys())
        return self._is_needed

    async def authenticate(self, token: str) -> Principal:
        """Who sends this token. Raises NotAuthenticated, always with the same words."""
        if not token.startswith(PREFIX) and self._tokens is not None and len(token) <= _LONGEST:
            return await self._tokens.principal(token)
        return await self.keys.principal(token)

    async def aclose(self) -> None:
        """Nothing is kept open."""


def _verifier(settings: JwtSettings, clock: Clock) -> "TokenVerifier":
    from palaver.service.tokens import TokenVerifier

    return TokenVerifier(settings, clock=clock)


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
