"""ECDSA with SHA-256 over the NIST curves, signatures in DER. New keys are on P-256.

Public key: SubjectPublicKeyInfo in DER; private key: ECPrivateKey (SEC 1, C.4) in DER, which is
what go writes and the test vectors have (the specification says PKIX).
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from carrick.identity.algorithms.base import Algorithm

__all__ = ["ECDSA"]

_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)  # those of go's x509, without P-224
_MAX_PUBLIC = 158  # bytes, SubjectPublicKeyInfo of P-521
_MAX_PRIVATE = 256  # bytes; P-521 has 223
_VERIFYING = ec.ECDSA(hashes.SHA256())
_SIGNING = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)  # RFC 6979


@dataclass(frozen=True, slots=True)
class _Verifier:
    key: ec.EllipticCurvePublicKey

    def encode(self) -> bytes:
        return self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def verify(self, data: bytes, signature: bytes) -> None:
        self.key.verify(signature, data, _VERIFYING)


@dataclass(frozen=True, slots=True)
class _Signer:
    key: ec.EllipticCurvePrivateKey

    def encode(self) -> bytes:
        return self.key.private_bytes(
            Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )

    def sign(self, data: bytes) -> bytes:
        return self.key.sign(data, _SIGNING)

    def public(self) -> _Verifier:
        return _Verifier(self.key.public_key())


def _decode_public(data: bytes) -> _Verifier:
    if len(data) > _MAX_PUBLIC:
        raise ValueError(f"an ECDSA public key has at most {_MAX_PUBLIC} bytes, not {len(data)}")
    try:
        key = load_der_public_key(data)
    except UnsupportedAlgorithm as error:
        raise ValueError("an ECDSA key on a curve that is not supported") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVES):
        raise ValueError("an ECDSA key must be on P-256, P-384 or P-521")
    return _Verifier(key)


def _decode_private(data: bytes) -> _Signer:
    if len(data) > _MAX_PRIVATE:
        raise ValueError(f"an ECDSA private key has at most {_MAX_PRIVATE} bytes, not {len(data)}")
    try:
        key = load_der_private_key(data, password=None)
    except (UnsupportedAlgorithm, TypeError) as error:
        raise ValueError("an ECDSA private key that is encrypted or not supported") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, _CURVES):
        raise ValueError("an ECDSA key must be on P-256, P-384 or P-521")
    return _Signer(key)


def _generate(bits: int) -> _Signer:
    return _Signer(ec.generate_private_key(ec.SECP256R1()))


ECDSA = Algorithm(_decode_public, _decode_private, _generate)
