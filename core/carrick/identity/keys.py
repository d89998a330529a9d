"""Public and private keys, and their protobuf form.

Both `PublicKey` and `PrivateKey` messages are `08 <type> 12 <length> <data>`: field 1 is the key
type, field 2 its bytes (peer-ids.md, "Keys"). There is one encoding of a key, and every other is
refused, because the peer id is a hash of these bytes.
"""

from __future__ import annotations

import enum
from functools import cache, cached_property, lru_cache
from hashlib import sha256
from importlib import import_module

from cryptography.exceptions import InvalidSignature as _WrongSignature

from carrick.errors import InvalidKey, InvalidSignature
from carrick.identity.algorithms.base import Algorithm, Signer, Verifier
from carrick.identity.peer_id import PeerId
from carrick.identity.varint import read_varint
from carrick.interfaces import Buffer
from carrick.wire import encode_varint

__all__ = ["MAX_KEY_SIZE", "KeyType", "PrivateKey", "PublicKey"]

MAX_KEY_SIZE = 8192
"""The longest key protobuf that is looked at, in bytes; an RSA private key of 8192 bits has
about 4700."""


_REMEMBERED = 1024  # public keys, and good signatures: at most 2 KiB each
_good: dict[tuple[PublicKey, bytes, bytes], None] = {}
"""Signatures that were good: key, SHA-256 of what is signed, signature; the oldest first."""


class KeyType(enum.IntEnum):
    """The `Type` field of a key's protobuf."""

    RSA = 0
    ED25519 = 1
    SECP256K1 = 2
    ECDSA = 3


@cache
def _algorithm(type: KeyType) -> Algorithm:
    """Imported when a key of the type is met: all but Ed25519 are rare, and take long to import."""
    module = import_module(f"carrick.identity.algorithms.{type.name.lower()}")
    algorithm = getattr(module, type.name)
    assert isinstance(algorithm, Algorithm)
    return algorithm


class PublicKey:
    """A public key. Immutable, hashable; equal keys have the same protobuf bytes."""

    def __init__(self, type: KeyType, verifier: Verifier) -> None:
        self._type = type
        self._verifier = verifier
        self._protobuf = _encode(type, verifier.encode())

    @classmethod
    def from_protobuf(cls, data: Buffer) -> PublicKey:
        """Decode a `PublicKey` message.

        Raises:
            InvalidKey: malformed, of an unknown type, not in its one encoding, or an RSA key
                outside 2048 to 8192 bits.
        """
        return _public_key(_bounded(data))

    @property
    def type(self) -> KeyType:
        return self._type

    @cached_property
    def peer_id(self) -> PeerId:
        """The peer id of whoever holds the private key."""
        return PeerId.from_public_key(self)

    def verify(self, data: bytes, signature: bytes) -> None:
        """Check that `signature` was made over `data` with the private key.

        What was found good lately is known to be good: peers that are met again show the same.

        Raises:
            InvalidSignature: it was not.
        """
        checked = (self, sha256(data).digest(), signature)
        if checked in _good:
            return
        try:
            self._verifier.verify(data, signature)
        except (_WrongSignature, ValueError) as error:
            raise InvalidSignature(f"wrong {self._type.name} signature") from error
        if len(_good) >= _REMEMBERED:
            del _good[next(iter(_good))]
        _good[checked] = None

    def to_protobuf(self) -> bytes:
        """The `PublicKey` message, always the same bytes."""
        return self._protobuf

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self._protobuf == other._protobuf

    def __hash__(self) -> int:
        return hash(self._protobuf)

    def __repr__(self) -> str:
        return f"<PublicKey {self._type.name} of {self.peer_id}>"


class PrivateKey:
    """A private key. Immutable, hashable; its `repr` and its errors hold nothing secret."""

    def __init__(self, type: KeyType, signer: Signer) -> None:
        self._signer = signer
        self._public_key = PublicKey(type, signer.public())

    @classmethod
    def generate(cls, type: KeyType = KeyType.ED25519, *, bits: int = 2048) -> PrivateKey:
        """Make a new key from the operating system's randomness.

        Args:
            type: the algorithm; ECDSA is on P-256.
            bits: the size of an RSA key, 2048 to 8192; other types have one size.

        Raises:
            InvalidKey: the type is unknown or the size out of range.
        """
        try:
            type = KeyType(type)
            return cls(type, _algorithm(type).generate(bits))
        except ValueError as error:
            raise InvalidKey(str(error)) from error

    @classmethod
    def from_protobuf(cls, data: Buffer) -> PrivateKey:
        """Decode a `PrivateKey` message, as key files hold it.

        Raises:
            InvalidKey: malformed, of an unknown type, or inconsistent in itself.
        """
        type, body = _decode(_bounded(data))
        try:
            return cls(type, _algorithm(type).decode_private(body))
        except ValueError as error:
            raise InvalidKey(f"{type.name} private key refused: {error}") from error

    @property
    def type(self) -> KeyType:
        return self._public_key.type

    @property
    def public_key(self) -> PublicKey:
        return self._public_key

    @property
    def peer_id(self) -> PeerId:
        return self._public_key.peer_id

    def sign(self, data: bytes) -> bytes:
        """A signature over `data`, in the encoding that libp2p gives the key type."""
        return self._signer.sign(data)

    def to_protobuf(self) -> bytes:
        """The `PrivateKey` message. Secret: for key files, never for the wire."""
        return _encode(self.type, self._signer.encode())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrivateKey) and self._public_key == other._public_key

    def __hash__(self) -> int:
        return hash((PrivateKey, self._public_key))

    def __repr__(self) -> str:
        return f"<PrivateKey {self.type.name} of {self.peer_id}>"


@lru_cache(_REMEMBERED)
def _public_key(protobuf: bytes) -> PublicKey:
    type, body = _decode(protobuf)
    try:
        key = PublicKey(type, _algorithm(type).decode_public(body))
    except ValueError as error:
        raise InvalidKey(f"{type.name} public key refused: {error}") from error
    if key.to_protobuf() != protobuf:
        raise InvalidKey(f"{type.name} public key is not in its canonical encoding")
    return key


def _encode(type: KeyType, body: bytes) -> bytes:
    return b"\x08" + encode_varint(type) + b"\x12" + encode_varint(len(body)) + body


def _bounded(data: Buffer) -> bytes:
    if len(data) > MAX_KEY_SIZE:
        raise InvalidKey(f"a key of {len(data)} bytes; the limit is {MAX_KEY_SIZE}")
    return bytes(data)


def _decode(data: bytes) -> tuple[KeyType, bytes]:
    """The two fields of a key message, in their order, minimally encoded, and nothing else."""
    try:
        if data[:1] != b"\x08":
            raise ValueError("it does not begin with the field Type")
        number, at = read_varint(data, 1)
        if data[at : at + 1] != b"\x12":
            raise ValueError("the field Data does not follow the field Type")
        length, at = read_varint(data, at + 1)
        if len(data) != at + length:
            raise ValueError(f"Data should have {length} bytes, {len(data) - at} are there")
    except ValueError as error:
        raise InvalidKey(f"not the protobuf of a key: {error}") from error
    try:
        return KeyType(number), data[at:]
    except ValueError:
        raise InvalidKey(f"unknown key type {number}") from None
