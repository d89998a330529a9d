"""Content ids: what names a piece of content by its hash (multiformats/cid). No I/O."""

from __future__ import annotations

from dataclasses import dataclass

from carrick.errors import InvalidCid, ProtocolError
from carrick.identity.base58 import decode_base58, encode_base58
from carrick.identity.multibase import decode_multibase, encode_base32
from carrick.wire import decode_varint, encode_varint

__all__ = ["Cid"]

DAG_PB = 0x70  # multicodec table
_SHA256 = b"\x12\x20"  # of the only multihash of version 0: code, length
_V0_TEXT = 46  # characters
_MAX_DIGEST = 128  # bytes


@dataclass(frozen=True, slots=True)
class Cid:
    """A content id.

    Attributes:
        version: 0 or 1.
        codec: how the content is encoded, a multicodec; of version 0 always dag-pb.
        multihash: the content's hash: code, length, digest. Under it the DHT knows the content,
            whatever version and codec.
    """

    version: int
    codec: int
    multihash: bytes

    @classmethod
    def parse(cls, text: str) -> Cid:
        """Read `Qm…` (version 0), or version 1 in base32, base36, base58btc or base16.

        Raises:
            InvalidCid: it is none; the message tells a person why.
        """
        try:
            if len(text) == _V0_TEXT and text.startswith("Qm"):
                return cls._of_version_0(decode_base58(text))
            return cls.from_bytes(decode_multibase(text))
        except ValueError as error:
            raise InvalidCid(f"{text[:80]!r} is no CID: {error}") from error

    @classmethod
    def from_bytes(cls, data: bytes) -> Cid:
        """Read the binary form of version 1.

        Raises:
            InvalidCid: it is none.
        """
        try:
            version, at = _varint(data, 0)
            if version != 1:
                raise ValueError(f"the version is {version}, not 1")
            codec, at = _varint(data, at)
            _check_multihash(data[at:])
        except ValueError as error:
            raise InvalidCid(str(error)) from error
        return cls(1, codec, data[at:])

    @classmethod
    def _of_version_0(cls, multihash: bytes) -> Cid:
        if len(multihash) != 34 or not multihash.startswith(_SHA256):
            raise ValueError("version 0 has a SHA-256 of 32 bytes")
        return cls(0, DAG_PB, multihash)

    def to_bytes(self) -> bytes:
        if self.version == 0:
            return self.multihash
        return encode_varint(1) + encode_varint(self.codec) + self.multihash

    def __str__(self) -> str:
        """Version 0 as `Qm…`, version 1 in base32."""
        return (
            encode_base58(self.multihash) if self.version == 0 else encode_base32(self.to_bytes())
        )


def _varint(data: bytes, at: int) -> tuple[int, int]:
    try:
        found = decode_varint(data, at)
    except ProtocolError as error:
        raise ValueError(error.message) from error
    if found is None:
        raise ValueError("it is cut off")
    return found


def _check_multihash(data: bytes) -> None:
    _, at = _varint(data, 0)
    length, at = _varint(data, at)
    if length > _MAX_DIGEST:
        raise ValueError(f"a hash of {length} bytes; the limit is {_MAX_DIGEST}")
    if length != len(data) - at:
        raise ValueError(f"its hash announces {length} bytes and has {len(data) - at}")
