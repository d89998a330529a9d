"""Traffic keys of TLS 1.3: from the secrets of a handshake to ciphers (RFC 8446 section 7)."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

__all__ = ["IV_BYTES", "SUITES", "TAG_BYTES", "Suite", "TrafficSecret", "expand_label"]

IV_BYTES = 12
TAG_BYTES = 16


@dataclass(frozen=True, slots=True)
class Suite:
    """A cipher suite.

    Attributes:
        hash: its hash function, by the name that `hmac` knows.
        key_bytes: the length of a key.
    """

    cipher: Callable[[bytes], AESGCM | ChaCha20Poly1305]
    hash: str
    key_bytes: int


SUITES = {
    "TLS_AES_128_GCM_SHA256": Suite(AESGCM, "sha256", 16),
    "TLS_AES_256_GCM_SHA384": Suite(AESGCM, "sha384", 32),
    "TLS_CHACHA20_POLY1305_SHA256": Suite(ChaCha20Poly1305, "sha256", 32),
}
"""By the names of RFC 8446 appendix B.4."""


def expand_label(secret: bytes, label: str, length: int, hash: str) -> bytes:
    """HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).

    ::

        HkdfLabel = u16 length | u8 n | n bytes: "tls13 " label | u8 0

    Args:
        length: at most that of the hash, which is all that TLS needs: one round of HKDF-Expand.
    """
    name = b"tls13 " + label.encode()
    info = length.to_bytes(2, "big") + bytes((len(name),)) + name + b"\x00"
    return hmac.digest(secret, info + b"\x01", hash)[:length]


class TrafficSecret:
    """What the keys of one direction come from, until the next key update."""

    __slots__ = ("_secret", "_suite")

    def __init__(self, suite: Suite, secret: bytes) -> None:
        self._suite = suite
        self._secret = secret

    def cipher(self) -> AESGCM | ChaCha20Poly1305:
        """RFC 8446 section 7.3: the write key, in its cipher."""
        return self._suite.cipher(self._expand("key", self._suite.key_bytes))

    def iv(self) -> int:
        """RFC 8446 section 7.3: the write IV, as a number to be combined with that of a record."""
        return int.from_bytes(self._expand("iv", IV_BYTES), "big")

    def updated(self) -> TrafficSecret:
        """RFC 8446 section 7.2: the secret behind a key update."""
        return TrafficSecret(self._suite, self._expand("traffic upd", len(self._secret)))

    def _expand(self, label: str, length: int) -> bytes:
        return expand_label(self._secret, label, length, self._suite.hash)
