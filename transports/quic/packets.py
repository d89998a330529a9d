"""What must be read of a packet before it is known whose it is, and the packets that need no
connection: Version Negotiation and Retry (RFC 9000 section 17.2, RFC 8999).
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["INITIAL", "LongHeader", "encode_retry", "encode_version_negotiation", "parse_long"]

MAX_ID = 20  # bytes of a connection id in version 1
INITIAL = 0  # packet type
VERSION_1 = 1
# A version of the reserved form ?a?a?a?a, so that peers keep ignoring versions they do not know.
_RESERVED_VERSION = 0x1A2A3A4A
_RETRY_KEY = bytes.fromhex("be0c690b9f66575a1d766b54e368c84e")  # RFC 9001 section 5.8
_RETRY_NONCE = bytes.fromhex("461599d35d632bf2239825bb")


@dataclass(frozen=True, slots=True)
class LongHeader:
    """The start of a long-header packet.

    `kind` and `token` mean something in version 1 only.
    """

    version: int
    destination: bytes
    source: bytes
    kind: int
    token: bytes


def parse_long(datagram: bytes) -> LongHeader | None:
    """The long header at the start of `datagram`; None if there is none, or it is malformed."""
    if len(datagram) < 7 or not datagram[0] & 0x80:
        return None
    version = int.from_bytes(datagram[1:5], "big")
    at = 6 + datagram[5]
    destination = datagram[6:at]
    if at >= len(datagram):
        return None
    end = at + 1 + datagram[at]
    source = datagram[at + 1 : end]
    if end > len(datagram):
        return None
    if version != VERSION_1:
        return LongHeader(version, destination, source, 0, b"")
    if not datagram[0] & 0x40 or len(destination) > MAX_ID or len(source) > MAX_ID:
        return None
    kind = datagram[0] >> 4 & 3
    if kind != INITIAL:
        return LongHeader(version, destination, source, kind, b"")
    if end >= len(datagram):
        return None
    size = 1 << (datagram[end] >> 6)
    length = int.from_bytes(datagram[end : end + size], "big") & ((1 << (8 * size - 2)) - 1)
    token = datagram[end + size : end + size + length]
    if len(token) != length:
        return None
    return LongHeader(version, destination, source, kind, token)


def encode_version_negotiation(header: LongHeader, noise: int) -> bytes:
    """The answer to a packet of an unknown version: we speak version 1.

    Args:
        noise: seven random bits.
    """
    versions = _RESERVED_VERSION.to_bytes(4, "big") + VERSION_1.to_bytes(4, "big")
    return b"".join(
        (
            bytes((0x80 | noise, 0, 0, 0, 0)),
            bytes((len(header.source),)),
            header.source,
            bytes((len(header.destination),)),
            header.destination,
            versions,
        )
    )


def encode_retry(header: LongHeader, source: bytes, token: bytes) -> bytes:
    """A Retry that answers the Initial packet of `header`.

    Args:
        source: our connection id from now on.
        token: what the client must bring back.
    """
    retry = b"".join(
        (
            bytes((0xF0, 0, 0, 0, VERSION_1)),
            bytes((len(header.source),)),
            header.source,
            bytes((len(source),)),
            source,
            token,
        )
    )
    pseudo = bytes((len(header.destination),)) + header.destination + retry
    return retry + AESGCM(_RETRY_KEY).encrypt(_RETRY_NONCE, b"", pseudo)
