"""The value of the libp2p public key extension: `SignedKey` in DER.

::

    SignedKey ::= SEQUENCE { publicKey OCTET STRING, signature OCTET STRING }

Source: libp2p/specs, `tls/tls.md`, "libp2p Public Key Extension". Reading is strict: definite,
minimal lengths, exactly two members, nothing behind them.
"""

from __future__ import annotations

from carrick.errors import HandshakeError
from carrick.identity.der import SEQUENCE, DerReader
from carrick.interfaces import Buffer

__all__ = ["MAX_SIGNED_KEY", "decode_signed_key", "encode_signed_key"]

MAX_SIGNED_KEY = 4096
"""Bytes. The largest host key that is allowed, RSA with 8192 bits, needs about 2100."""

_OCTET_STRING = 0x04


def encode_signed_key(public_key: bytes, signature: bytes) -> bytes:
    """The DER of a `SignedKey` of these two members."""
    members = _element(_OCTET_STRING, public_key) + _element(_OCTET_STRING, signature)
    return _element(SEQUENCE, members)


def decode_signed_key(data: Buffer) -> tuple[bytes, bytes]:
    """The members of a `SignedKey`: (public key, signature).

    Raises:
        HandshakeError: longer than `MAX_SIGNED_KEY`, or not exactly such a structure.
    """
    if len(data) > MAX_SIGNED_KEY:
        raise HandshakeError(
            f"the certificate's libp2p extension has {len(data)} bytes, {MAX_SIGNED_KEY} allowed"
        )
    outer = DerReader(bytes(data))
    try:
        members = DerReader(outer.element(SEQUENCE))
        outer.end()
        public_key = members.element(_OCTET_STRING)
        signature = members.element(_OCTET_STRING)
        members.end()
    except ValueError as error:
        raise HandshakeError(f"the certificate's libp2p extension is malformed: {error}") from None
    return public_key, signature


def _element(tag: int, content: bytes) -> bytes:
    if len(content) < 0x80:
        return bytes((tag, len(content))) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content
