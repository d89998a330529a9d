"""Peer records: a peer's own addresses, signed by it, for others to pass on (RFC 0003)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from carrick.errors import IdentityError, InvalidEnvelope
from carrick.identity.envelope import Envelope
from carrick.identity.keys import PrivateKey
from carrick.identity.peer_id import PeerId
from carrick.interfaces import Buffer
from carrick.wire import GeneratedModule

if TYPE_CHECKING:
    from carrick.identity.pb import peer_record_pb2 as pb
else:
    pb = GeneratedModule("carrick.identity.pb.peer_record_pb2")

__all__ = ["DOMAIN", "MAX_ADDRESSES", "MAX_RECORD_SIZE", "PAYLOAD_TYPE", "PeerRecord"]

DOMAIN = "libp2p-peer-record"  # go-libp2p core/peer/record.go
PAYLOAD_TYPE = b"\x03\x01"  # the same; multicodec table, `libp2p-peer-record`
MAX_RECORD_SIZE = 8 * 1024
"""The longest sealed record, in bytes (go-libp2p, p2p/host/basic/addrs_manager.go)."""
MAX_ADDRESSES = 500
"""The most addresses of one record (go-libp2p p2p/protocol/identify, connectedPeerMaxAddrs)."""

_DOMAINS = {
    PAYLOAD_TYPE: DOMAIN,
    # the names in the text of RFC 0003, which rust-libp2p still writes
    b"/libp2p/routing-state-record": "libp2p-routing-state",
}


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """The addresses that a peer vouches for.

    Args:
        peer_id: whose addresses they are.
        sequence: newer records have a larger one; 0 to 2**64 - 1. Not a time, whatever it looks
            like.
        addresses: multiaddrs in their binary form, not looked into here; at most 500.

    Raises:
        InvalidEnvelope: a value is out of these bounds.
    """

    peer_id: PeerId
    sequence: int
    addresses: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.sequence < 1 << 64:
            raise InvalidEnvelope(f"sequence {self.sequence} is not from 0 to 2**64 - 1")
        _check_count(len(self.addresses))

    def seal(self, key: PrivateKey) -> bytes:
        """The record in an envelope signed by `key`, as it goes over the wire.

        Raises:
            InvalidEnvelope: `key` is not that of `peer_id`, or the result has more than 8 KiB:
                leave addresses out.
        """
        if key.peer_id != self.peer_id:
            raise InvalidEnvelope(
                f"a record of another peer cannot be signed by {key.peer_id}", peer=self.peer_id
            )
        message = pb.PeerRecord(
            peer_id=self.peer_id.to_bytes(),
            seq=self.sequence,
            addresses=[pb.PeerRecord.AddressInfo(multiaddr=address) for address in self.addresses],
        )
        envelope = Envelope.seal(
            key, domain=DOMAIN, payload_type=PAYLOAD_TYPE, payload=message.SerializeToString()
        )
        data = envelope.to_bytes()
        _check_size(len(data))
        return data

    @classmethod
    def open(cls, data: Buffer) -> PeerRecord:
        """Verify and decode a sealed record. Empty addresses are left out.

        Raises:
            InvalidEnvelope: malformed, more than 8 KiB or 500 addresses, of another payload type,
                or not signed by the peer whose addresses it has.
        """
        _check_size(len(data))
        return _open(bytes(data))


@lru_cache(256)  # 2 MiB at most: a peer that is met again sends the same record
def _open(data: bytes) -> PeerRecord:
    envelope = Envelope.decode(data)
    domain = _DOMAINS.get(envelope.payload_type)
    if domain is None:
        raise InvalidEnvelope(
            f"payload type {envelope.payload_type[:32].hex()} is not that of a peer record"
        )
    envelope.verify(domain)
    try:
        message = pb.PeerRecord.FromString(envelope.payload)
        peer_id = PeerId(message.peer_id)
    except DecodeError as error:
        raise InvalidEnvelope("not the protobuf of a peer record") from error
    except IdentityError as error:
        raise InvalidEnvelope(f"the peer id of a peer record: {error}") from error
    if envelope.public_key.peer_id != peer_id:
        raise InvalidEnvelope(
            f"a peer record is signed by another peer, {envelope.public_key.peer_id}",
            peer=peer_id,
        )
    _check_count(len(message.addresses))
    addresses = tuple(info.multiaddr for info in message.addresses if info.multiaddr)
    return PeerRecord(peer_id, message.seq, addresses)


def _check_size(size: int) -> None:
    if size > MAX_RECORD_SIZE:
        raise InvalidEnvelope(f"a peer record of {size} bytes; the limit is {MAX_RECORD_SIZE}")


def _check_count(count: int) -> None:
    if count > MAX_ADDRESSES:
        raise InvalidEnvelope(f"a peer record of {count} addresses; the limit is {MAX_ADDRESSES}")
