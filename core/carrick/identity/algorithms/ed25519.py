"""Ed25519 (RFC 8032). Public key: 32 bytes; private key: 32-byte seed + 32-byte public key."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from carrick.identity.algorithms.base import Algorithm

__all__ = ["ED25519"]

_SIZE = 32  # bytes of a seed and of a public key, RFC 8032 section 5.1.5


@dataclass(frozen=True, slots=True)
class _Verifier:
    key: Ed25519PublicKey

    def encode(self) -> bytes:
        return self.key.public_bytes_raw()

    def verify(self, data: bytes, signature: bytes) -> None:
        self.key.verify(signature, data)


@dataclass(frozen=True, slots=True)
class _Signer:
    key: Ed25519PrivateKey

    def encode(self) -> bytes:
        return self.key.private_bytes_raw() + self.key.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        return self.key.sign(data)

    def public(self) -> _Verifier:
        return _Verifier(self.key.public_key())


def _decode_public(data: bytes) -> _Verifier:
    if len(data) != _SIZE:
        raise ValueError(f"an Ed25519 public key has {_SIZE} bytes, not {len(data)}")
    return _Verifier(Ed25519PublicKey.from_public_bytes(data))


def _decode_private(data: bytes) -> _Signer:
    # peer-ids.md: seed + public key; the legacy form repeats the public key
    if len(data) not in (2 * _SIZE, 3 * _SIZE):
        raise ValueError(f"an Ed25519 private key has 64 or 96 bytes, not {len(data)}")
    key = Ed25519PrivateKey.from_private_bytes(data[:_SIZE])
    public = key.public_key().public_bytes_raw()
    # a signer that trusts a foreign public key gives its seed away (RUSTSEC-2022-0093)
    if data[_SIZE:] != public * (len(data) // _SIZE - 1):
        raise ValueError("the public key inside an Ed25519 private key is not its own")
    return _Signer(key)


def _generate(bits: int) -> _Signer:
    return _Signer(Ed25519PrivateKey.generate())


ED25519 = Algorithm(_decode_public, _decode_private, _generate)
