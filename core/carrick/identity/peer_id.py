"""Peer ids: the multihash of a public key, and its two text forms (peer-ids.md, "Peer Ids")."""

from __future__ import annotations

import hashlib
from functools import total_ordering
from typing import TYPE_CHECKING

from carrick.errors import InvalidPeerId
from carrick.identity.base58 import decode_base58, encode_base58
from carrick.identity.multibase import decode_multibase, encode_base32
from carrick.identity.varint import read_varint
from carrick.interfaces import Buffer

if TYPE_CHECKING:
    from carrick.identity.keys import PublicKey

__all__ = ["PeerId"]

_IDENTITY = 0x00  # multihash codes, multicodec table
_SHA256 = 0x12
_SHA256_SIZE = 32
_MAX_INLINED = 42  # bytes: longer keys are hashed, peer-ids.md
_CID_VERSION = 1
_LIBP2P_KEY = 0x72  # multicodec table, `libp2p-key`
_MAX_TEXT = 128  # characters; the longest form, a CID in base16, has 93


@total_ordering
class PeerId:
    """Who a peer is, wherever it is. Immutable, hashable, ordered by its bytes.

    Args:
        multihash: code, length, digest. Either the identity "hash" of a key of at most 42 bytes,
            or SHA-256.

    Raises:
        InvalidPeerId: any other bytes.
    """

    __slots__ = ("_multihash", "_text")

    def __init__(self, multihash: Buffer) -> None:
        self._multihash = bytes(multihash)
        self._text: str | None = None
        _check_multihash(self._multihash)

    @classmethod
    def parse(cls, text: str) -> PeerId:
        """Read either text form: base58 (`12D3KooW…`, `16Uiu2…`, `Qm…`) or a CID (`bafz…`).

        CIDs are understood in base32, base36, base58btc and base16.

        Raises:
            InvalidPeerId: the text is no peer id; the message tells a person why.
        """
        if not text:
            raise InvalidPeerId("an empty text is no peer id")
        if len(text) > _MAX_TEXT:
            raise InvalidPeerId(f"a text of {len(text)} characters is too long for a peer id")
        if text[0] == "/":
            raise InvalidPeerId(f"{text!r} is a multiaddr; a peer id is what follows /p2p/ in one")
        try:
            if text.startswith(("1", "Qm")):
                peer_id = cls(decode_base58(text))
            else:
                peer_id = cls(_multihash_of_cid(decode_multibase(text)))
        except ValueError as error:
            raise InvalidPeerId(f"{text!r} is no peer id: {error}") from error
        return peer_id

    @classmethod
    def from_public_key(cls, key: PublicKey) -> PeerId:
        """The peer id of whoever holds the private key of `key`."""
        protobuf = key.to_protobuf()
        if len(protobuf) <= _MAX_INLINED:
            return cls(bytes((_IDENTITY, len(protobuf))) + protobuf)
        return cls(bytes((_SHA256, _SHA256_SIZE)) + hashlib.sha256(protobuf).digest())

    def public_key(self) -> PublicKey | None:
        """The key itself if the peer id has it inlined; None if there is only its hash.

        Raises:
            InvalidKey: what is inlined is not a key.
        """
        if self._multihash[0] != _IDENTITY:
            return None
        from carrick.identity.keys import PublicKey  # the two classes make each other

        return PublicKey.from_protobuf(self._multihash[2:])

    def to_bytes(self) -> bytes:
        """The multihash, 2 to 44 bytes."""
        return self._multihash

    def to_cid(self) -> str:
        """The text form as CIDv1 in base32, `bafz…`."""
        return encode_base32(bytes((_CID_VERSION, _LIBP2P_KEY)) + self._multihash)

    def short(self) -> str:
        """The last six characters of the text, for logs."""
        return str(self)[-6:]

    def __str__(self) -> str:
        if self._text is None:
            self._text = encode_base58(self._multihash)
        return self._text

    def __repr__(self) -> str:
        return f"<PeerId {self}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PeerId) and self._multihash == other._multihash

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, PeerId):
            return NotImplemented
        return self._multihash < other._multihash

    def __hash__(self) -> int:
        return hash(self._multihash)


def _check_multihash(multihash: bytes) -> None:
    if len(multihash) < 2:
        raise InvalidPeerId("a multihash has at least two bytes: is it cut off?")
    code, length = multihash[0], multihash[1]
    if code not in (_IDENTITY, _SHA256):
        raise InvalidPeerId(
            f"wrong multihash: code 0x{code:02x}, a peer id has 0x00 (identity) or 0x12 (sha2-256)"
        )
    if length != len(multihash) - 2:
        raise InvalidPeerId(
            f"wrong length: the multihash announces {length} bytes and has {len(multihash) - 2}"
        )
    if code == _SHA256 and length != _SHA256_SIZE:
        raise InvalidPeerId(f"wrong length: SHA-256 has {_SHA256_SIZE} bytes, not {length}")
    if code == _IDENTITY and not 1 <= length <= _MAX_INLINED:
        raise InvalidPeerId(f"wrong length: 1 to {_MAX_INLINED} bytes are inlined, not {length}")


def _multihash_of_cid(cid: bytes) -> bytes:
    version, at = read_varint(cid)
    if version != _CID_VERSION:
        raise ValueError(f"wrong CID version: {version}, a peer id has {_CID_VERSION}")
    codec, at = read_varint(cid, at)
    if codec != _LIBP2P_KEY:
        raise ValueError(f"wrong codec: 0x{codec:02x}, the CID of a peer id has 0x72 (libp2p-key)")
    return cid[at:]
