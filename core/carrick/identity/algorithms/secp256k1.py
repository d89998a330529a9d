"""ECDSA over secp256k1 with SHA-256, signatures in DER with a low S (BIP 62).

Public key: the compressed point, 33 bytes; private key: the scalar, 32 bytes, big-endian.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from carrick.identity.algorithms.base import Algorithm

__all__ = ["SECP256K1"]

_CURVE = ec.SECP256K1()
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # SEC 2, 2.4.1
_VERIFYING = ec.ECDSA(hashes.SHA256())
_SIGNING = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)  # RFC 6979, as go does


@dataclass(frozen=True, slots=True)
class _Verifier:
    key: ec.EllipticCurvePublicKey

    def encode(self) -> bytes:
        return self.key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)

    def verify(self, data: bytes, signature: bytes) -> None:
        _, s = decode_dss_signature(signature)
        if s > _ORDER // 2:
            raise ValueError("the signature has a high S")
        self.key.verify(signature, data, _VERIFYING)


@dataclass(frozen=True, slots=True)
class _Signer:
    key: ec.EllipticCurvePrivateKey

    def encode(self) -> bytes:
        return self.key.private_numbers().private_value.to_bytes(32, "big")

    def sign(self, data: bytes) -> bytes:
        r, s = decode_dss_signature(self.key.sign(data, _SIGNING))
        return encode_dss_signature(r, min(s, _ORDER - s))

    def public(self) -> _Verifier:
        return _Verifier(self.key.public_key())


def _decode_public(data: bytes) -> _Verifier:
    if len(data) != 33:
        raise ValueError(f"a secp256k1 public key has 33 bytes (compressed), not {len(data)}")
    return _Verifier(ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, data))


def _decode_private(data: bytes) -> _Signer:
    if len(data) != 32:
        raise ValueError(f"a secp256k1 private key has 32 bytes, not {len(data)}")
    scalar = int.from_bytes(data, "big")
    if not 1 <= scalar < _ORDER:
        raise ValueError("a secp256k1 private key is out of range")
    return _Signer(ec.derive_private_key(scalar, _CURVE))


def _generate(bits: int) -> _Signer:
    return _Signer(ec.generate_private_key(_CURVE))


SECP256K1 = Algorithm(_decode_public, _decode_private, _generate)
