"""Signed envelopes: a payload with the public key and the signature of whoever vouches for it.

What is signed is domain, payload type and payload, each behind its length as a varint. The domain
is not in the envelope: a signature for one purpose is worth nothing for another (RFC 0002).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from carrick.errors import IdentityError, InvalidEnvelope
from carrick.identity.keys import PrivateKey, PublicKey
from carrick.interfaces import Buffer
from carrick.wire import GeneratedModule, encode_varint

if TYPE_CHECKING:
    from carrick.identity.pb import envelope_pb2 as pb
else:
    pb = GeneratedModule("carrick.identity.pb.envelope_pb2")

__all__ = ["MAX_ENVELOPE_SIZE", "Envelope"]

MAX_ENVELOPE_SIZE = 64 * 1024
"""The longest envelope that is made or opened, in bytes. Ours: the RFC names no limit; the
largest payload in use, a peer record, has at most 8 KiB."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload and who signed it. Use `seal` and `open`; the constructor verifies nothing."""

    public_key: PublicKey
    payload_type: bytes
    """What the payload is: a multicodec, or a path in UTF-8; may be empty."""
    payload: bytes
    signature: bytes

    @classmethod
    def seal(cls, key: PrivateKey, *, domain: str, payload_type: bytes, payload: bytes) -> Envelope:
        """Sign `payload` for the purpose that `domain` names.

        Raises:
            InvalidEnvelope: the domain is empty, or the envelope has more than 64 KiB.
        """
        signature = key.sign(_signed_bytes(domain, payload_type, payload))
        envelope = cls(key.public_key, payload_type, payload, signature)
        _check_size(len(envelope.to_bytes()))
        return envelope

    @classmethod
    def open(cls, data: Buffer, *, domain: str) -> Envelope:
        """Decode an envelope and verify its signature for `domain`.

        Raises:
            InvalidEnvelope: malformed, larger than 64 KiB, or not signed by its key for `domain`.
        """
        envelope = cls.decode(data)
        envelope.verify(domain)
        return envelope

    @classmethod
    def decode(cls, data: Buffer) -> Envelope:
        """Decode an envelope **without verifying it**: for those who pick the domain by its type.

        Raises:
            InvalidEnvelope: malformed, or larger than 64 KiB.
        """
        _check_size(len(data))
        try:
            message = pb.Envelope.FromString(bytes(data))
            public_key = PublicKey.from_protobuf(message.public_key)
        except DecodeError as error:
            raise InvalidEnvelope("not the protobuf of an envelope") from error
        except IdentityError as error:
            raise InvalidEnvelope(f"the key of an envelope: {error}") from error
        return cls(public_key, message.payload_type, message.payload, message.signature)

    def verify(self, domain: str) -> None:
        """Check the signature for `domain`.

        Raises:
            InvalidEnvelope: the key did not sign this for `domain`.
        """
        signed = _signed_bytes(domain, self.payload_type, self.payload)
        try:
            self.public_key.verify(signed, self.signature)
        except IdentityError as error:
            raise InvalidEnvelope(
                f"an envelope was not signed by its key for {domain!r}",
                peer=self.public_key.peer_id,
            ) from error

    def to_bytes(self) -> bytes:
        """The `Envelope` message."""
        return pb.Envelope(
            public_key=self.public_key.to_protobuf(),
            payload_type=self.payload_type,
            payload=self.payload,
            signature=self.signature,
        ).SerializeToString()


def _signed_bytes(domain: str, payload_type: bytes, payload: bytes) -> bytes:
    if not domain:
        raise InvalidEnvelope("the domain of an envelope must not be empty")
    fields = (domain.encode(), payload_type, payload)
    return b"".join(part for field in fields for part in (encode_varint(len(field)), field))


def _check_size(size: int) -> None:
    if size > MAX_ENVELOPE_SIZE:
        raise InvalidEnvelope(f"an envelope of {size} bytes; the limit is {MAX_ENVELOPE_SIZE}")
