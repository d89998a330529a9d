"""RSA with PKCS #1 v1.5 and SHA-256, 2048 to 8192 bits.

Public key: SubjectPublicKeyInfo in DER; private key: RSAPrivateKey (PKCS #1) in DER. The sizes of
modulus and exponent are read from the DER, and refused, before any arithmetic (CVE-2023-39533).
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from carrick.identity.algorithms.base import Algorithm
from carrick.identity.der import BIT_STRING, SEQUENCE, DerReader, bit_length

__all__ = ["MAX_BITS", "MIN_BITS", "RSA"]

MIN_BITS = 2048  # go-libp2p core/crypto/rsa_common.go
MAX_BITS = 8192  # the same
_MAX_EXPONENT_BITS = 31  # go's crypto/rsa takes no larger one
_MAX_PUBLIC = 1100  # bytes of DER; 8192 bits with a 31-bit exponent need 1063
_MAX_PRIVATE = 5120  # bytes of DER; 8192 bits need about 4650
_ALGORITHM = bytes.fromhex("06092a864886f70d0101010500")  # OID rsaEncryption, NULL: RFC 3279 2.3.1
_PADDING = padding.PKCS1v15()
_HASH = hashes.SHA256()


@dataclass(frozen=True, slots=True)
class _Verifier:
    key: rsa.RSAPublicKey

    def encode(self) -> bytes:
        return self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def verify(self, data: bytes, signature: bytes) -> None:
        self.key.verify(signature, data, _PADDING, _HASH)


@dataclass(frozen=True, slots=True)
class _Signer:
    key: rsa.RSAPrivateKey

    def encode(self) -> bytes:
        return self.key.private_bytes(
            Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )

    def sign(self, data: bytes) -> bytes:
        return self.key.sign(data, _PADDING, _HASH)

    def public(self) -> _Verifier:
        return _Verifier(self.key.public_key())


def _decode_public(data: bytes) -> _Verifier:
    if len(data) > _MAX_PUBLIC:
        raise ValueError(
            f"an RSA public key has at most {MAX_BITS} bits; this one has {len(data)} bytes of DER"
        )
    outer = DerReader(data)
    info = DerReader(outer.element(SEQUENCE))
    outer.end()
    if info.element(SEQUENCE) != _ALGORITHM:
        raise ValueError("the algorithm of an RSA public key is not rsaEncryption")
    bits = info.element(BIT_STRING)
    info.end()
    if bits[:1] != b"\0":
        raise ValueError("the bit string of an RSA public key has unused bits")
    inner = DerReader(bits[1:])
    numbers = DerReader(inner.element(SEQUENCE))
    inner.end()
    modulus, exponent = _checked_numbers(numbers)
    numbers.end()
    return _Verifier(
        rsa.RSAPublicNumbers(
            int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")
        ).public_key()
    )


def _decode_private(data: bytes) -> _Signer:
    if len(data) > _MAX_PRIVATE:
        raise ValueError(
            f"an RSA private key has at most {MAX_BITS} bits; this one has {len(data)} bytes of DER"
        )
    numbers = DerReader(DerReader(data).element(SEQUENCE))
    if numbers.unsigned():
        raise ValueError("an RSA private key of more than two primes")
    _checked_numbers(numbers)
    try:
        key = load_der_private_key(data, password=None)
    except (UnsupportedAlgorithm, TypeError) as error:
        raise ValueError("an RSA private key that is not supported") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("not an RSA private key")
    return _Signer(key)


def _checked_numbers(numbers: DerReader) -> tuple[bytes, bytes]:
    """Read modulus and exponent, big-endian; refuse what is too small, too large, or even."""
    modulus, exponent = numbers.unsigned(), numbers.unsigned()
    if not MIN_BITS <= bit_length(modulus) <= MAX_BITS:
        raise ValueError(
            f"an RSA key of {bit_length(modulus)} bits; {MIN_BITS} to {MAX_BITS} are accepted"
        )
    if bit_length(exponent) > _MAX_EXPONENT_BITS or exponent in (b"", b"\1"):
        raise ValueError("the exponent of an RSA key must be from 3 to 2**31 - 1")
    if not modulus[-1] & exponent[-1] & 1:
        raise ValueError("modulus and exponent of an RSA key must be odd")
    return modulus, exponent


def _generate(bits: int) -> _Signer:
    if not MIN_BITS <= bits <= MAX_BITS:
        raise ValueError(f"RSA keys have {MIN_BITS} to {MAX_BITS} bits, not {bits}")
    return _Signer(rsa.generate_private_key(public_exponent=65537, key_size=bits))


RSA = Algorithm(_decode_public, _decode_private, _generate)
