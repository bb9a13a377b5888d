"""Signatures and encrypted content that only this server can issue and that fit only one text.

Real providers refuse thinking that comes back changed; so does this one, without keeping a list.
"""

import base64
import hashlib
import hmac
import secrets


class Proofs:
    """Issues and checks. Two servers with the same `key` accept each other's proofs."""

    def __init__(self, key: bytes = b"") -> None:
        self._key = key or secrets.token_bytes(16)

    def sign(self, text: str) -> str:
        """A signature for exactly this text, in base64, of a realistic length."""
        return base64.b64encode(b"\x12\x48" + self._mac(b"sign", text.encode()) * 4).decode()

    def is_signed(self, text: str, signature: object) -> bool:
        """Whether this server signed this text."""
        return isinstance(signature, str) and hmac.compare_digest(
            signature.encode(), self.sign(text).encode()
        )

    def seal(self, text: str, *, prefix: str = "gAAAAA") -> str:
        """`text` as opaque content, different each time."""
        nonce = secrets.token_bytes(8)
        pad = hashlib.shake_256(self._key + nonce).digest(len(text.encode()))
        hidden = bytes(a ^ b for a, b in zip(text.encode(), pad, strict=True))
        mac = self._mac(b"seal", nonce + hidden)
        return prefix + base64.urlsafe_b64encode(nonce + mac + hidden).decode()

    def is_sealed(self, sealed: object, *, prefix: str = "gAAAAA") -> bool:
        """Whether this server issued this, unchanged."""
        if not isinstance(sealed, str) or not sealed.startswith(prefix):
            return False
        try:
            raw = base64.b64decode(sealed[len(prefix) :], altchars=b"-_", validate=True)
        except ValueError:
            return False
        nonce, mac, hidden = raw[:8], raw[8:40], raw[40:]
        return hmac.compare_digest(mac, self._mac(b"seal", nonce + hidden))

    def _mac(self, use: bytes, content: bytes) -> bytes:
        return hmac.digest(self._key, use + b"\0" + content, "sha256")
