"""Reservation vouchers: a relay's signed word that it serves a peer. No I/O.

A signed envelope with the protobuf `relay || peer || expiration` in the order of the fields.
Source: libp2p/specs, relay/circuit-v2.md, Reservation Vouchers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carrick.errors import IdentityError, InvalidEnvelope, ProtocolError
from carrick.identity import Envelope, PeerId, PrivateKey
from carrick.interfaces import Buffer
from carrick.wire import GeneratedModule, parse_message

if TYPE_CHECKING:
    from carrick.protocols.relay.pb import relay_pb2 as pb
else:
    pb = GeneratedModule("carrick.protocols.relay.pb.relay_pb2")

__all__ = ["DOMAIN", "PAYLOAD_TYPE", "Voucher"]

DOMAIN = "libp2p-relay-rsvp"
PAYLOAD_TYPE = b"\x03\x02"  # the bytes of 0x0302, as go writes them: p2p/protocol/circuitv2/proto


@dataclass(frozen=True, slots=True)
class Voucher:
    """`relay` serves `peer` until `expiration` (UNIX time in seconds)."""

    relay: PeerId
    peer: PeerId
    expiration: int

    def seal(self, key: PrivateKey) -> bytes:
        """Sign it with the relay's key.

        Raises:
            ValueError: the key is not the relay's.
        """
        if key.peer_id != self.relay:
            raise ValueError("a voucher is signed by its relay")
        payload = pb.Voucher(
            relay=self.relay.to_bytes(), peer=self.peer.to_bytes(), expiration=self.expiration
        ).SerializeToString()
        return Envelope.seal(
            key, domain=DOMAIN, payload_type=PAYLOAD_TYPE, payload=payload
        ).to_bytes()

    @classmethod
    def open(cls, data: Buffer) -> Voucher:
        """Decode a voucher and verify that its relay signed it.

        Raises:
            InvalidEnvelope: malformed, not a voucher, or signed by another than its relay.
        """
        envelope = Envelope.open(data, domain=DOMAIN)
        if envelope.payload_type != PAYLOAD_TYPE:
            raise InvalidEnvelope("the envelope holds no relay voucher")
        try:
            message = parse_message(pb.Voucher, envelope.payload)
            voucher = cls(PeerId(message.relay), PeerId(message.peer), message.expiration)
        except (ProtocolError, IdentityError) as error:
            raise InvalidEnvelope(f"a malformed relay voucher: {error}") from error
        if envelope.public_key.peer_id != voucher.relay:
            raise InvalidEnvelope("a voucher that its relay did not sign", peer=voucher.relay)
        return voucher
