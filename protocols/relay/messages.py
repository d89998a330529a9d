"""Messages of the hop and the stop protocol. No I/O.

On the wire: protobuf, each message behind its length as a varint, at most 4096 bytes.
Source: libp2p/specs, relay/circuit-v2.md; the size: go-libp2p, p2p/protocol/circuitv2.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from carrick.addressing import Multiaddr, address_from_bytes
from carrick.errors import IdentityError, InvalidAddress, ProtocolError
from carrick.identity import PeerId
from carrick.interfaces import Buffer
from carrick.wire import GeneratedModule, parse_message

if TYPE_CHECKING:
    from carrick.protocols.relay.pb import relay_pb2 as pb
else:
    pb = GeneratedModule("carrick.protocols.relay.pb.relay_pb2")

__all__ = [
    "HOP",
    "MAX_MESSAGE",
    "STOP",
    "Connect",
    "Grant",
    "HopMessage",
    "HopStatus",
    "Limit",
    "Reserve",
    "Status",
    "StopConnect",
    "StopMessage",
    "StopStatus",
    "decode_hop",
    "decode_stop",
    "status_name",
]

HOP = "/libp2p/circuit/relay/0.2.0/hop"
STOP = "/libp2p/circuit/relay/0.2.0/stop"

MAX_MESSAGE = 4096  # bytes
MAX_ADDRESSES = 32  # of a relay, that are read or sent
_ADDRESS_ROOM = 2048  # bytes of addresses in a message of ours, so that it stays below the maximum

_HOP_RESERVE, _HOP_CONNECT, _HOP_STATUS = 0, 1, 2
_STOP_CONNECT, _STOP_STATUS = 0, 1


class Status(enum.IntEnum):
    """The answers of a relay, and of a peer behind one."""

    OK = 100
    RESERVATION_REFUSED = 200
    RESOURCE_LIMIT_EXCEEDED = 201
    PERMISSION_DENIED = 202
    CONNECTION_FAILED = 203
    NO_RESERVATION = 204
    MALFORMED_MESSAGE = 400
    UNEXPECTED_MESSAGE = 401


def status_name(status: int) -> str:
    """`NO_RESERVATION`, or `status 299` for a number that nobody has defined."""
    try:
        return Status(status).name
    except ValueError:
        return f"status {status}"


@dataclass(frozen=True, slots=True)
class Limit:
    """What a relay allows a circuit; 0 is no limit.

    Attributes:
        duration: seconds.
        data: bytes in each direction.
    """

    duration: int = 0
    data: int = 0

    def __bool__(self) -> bool:
        return bool(self.duration or self.data)


NO_LIMIT = Limit()


@dataclass(frozen=True, slots=True)
class Grant:
    """A reservation as a relay describes it.

    Attributes:
        expire: when it ends, UNIX time in seconds.
        addresses: the relay's addresses, as it gives them. Invalid ones are left out.
        voucher: a sealed `Voucher`; not verified here.
    """

    expire: int
    addresses: tuple[Multiaddr, ...] = ()
    voucher: bytes | None = None


@dataclass(frozen=True, slots=True)
class Reserve:
    """To a relay: reserve a slot for me."""

    def encode(self) -> bytes:
        return pb.HopMessage(type=_HOP_RESERVE).SerializeToString()


@dataclass(frozen=True, slots=True)
class Connect:
    """To a relay: connect me to `peer`. Addresses of the peer (active relay) are not read."""

    peer: PeerId

    def encode(self) -> bytes:
        peer = pb.Peer(id=self.peer.to_bytes())
        return pb.HopMessage(type=_HOP_CONNECT, peer=peer).SerializeToString()


@dataclass(frozen=True, slots=True)
class HopStatus:
    """A relay's answer. `status` is a number, for nobody knows what others will send."""

    status: int
    grant: Grant | None = None
    limit: Limit = NO_LIMIT

    def encode(self) -> bytes:
        message = pb.HopMessage(type=_HOP_STATUS, status=self.status)
        if self.grant is not None:
            message.reservation.CopyFrom(_encode_grant(self.grant))
        if self.limit:
            message.limit.CopyFrom(_encode_limit(self.limit))
        return message.SerializeToString()


@dataclass(frozen=True, slots=True)
class StopConnect:
    """To the peer behind a relay: `peer` wants a circuit to you."""

    peer: PeerId
    limit: Limit = NO_LIMIT

    def encode(self) -> bytes:
        message = pb.StopMessage(type=_STOP_CONNECT, peer=pb.Peer(id=self.peer.to_bytes()))
        if self.limit:
            message.limit.CopyFrom(_encode_limit(self.limit))
        return message.SerializeToString()


@dataclass(frozen=True, slots=True)
class StopStatus:
    """The answer of the peer behind a relay."""

    status: int

    def encode(self) -> bytes:
        return pb.StopMessage(type=_STOP_STATUS, status=self.status).SerializeToString()


HopMessage: TypeAlias = Reserve | Connect | HopStatus
StopMessage: TypeAlias = StopConnect | StopStatus


def decode_hop(data: Buffer) -> HopMessage:
    """
    Raises:
        ProtocolError: malformed, of no known type, or lacking what its type asks for.
    """
    message = parse_message(pb.HopMessage, data)
    match _type(message):
        case 0:
            return Reserve()
        case 1:
            return Connect(_peer(message))
        case 2:
            grant = _decode_grant(message.reservation) if message.HasField("reservation") else None
            return HopStatus(_status(message), grant, _decode_limit(message))
    raise ProtocolError(f"a hop message of type {message.type}")


def decode_stop(data: Buffer) -> StopMessage:
    """
    Raises:
        ProtocolError: malformed, of no known type, or lacking what its type asks for.
    """
    message = parse_message(pb.StopMessage, data)
    match _type(message):
        case 0:
            return StopConnect(_peer(message), _decode_limit(message))
        case 1:
            return StopStatus(_status(message))
    raise ProtocolError(f"a stop message of type {message.type}")


def _type(message: pb.HopMessage | pb.StopMessage) -> int:
    if not message.HasField("type"):
        raise ProtocolError("a relay message without a type")
    return message.type


def _status(message: pb.HopMessage | pb.StopMessage) -> int:
    if not message.HasField("status"):
        raise ProtocolError("a relay's answer without a status")
    return message.status


def _peer(message: pb.HopMessage | pb.StopMessage) -> PeerId:
    try:
        return PeerId(message.peer.id)
    except IdentityError as error:
        raise ProtocolError(f"a relay message that names no peer: {error}") from error


def _encode_limit(limit: Limit) -> pb.Limit:
    return pb.Limit(duration=limit.duration, data=limit.data)


def _decode_limit(message: pb.HopMessage | pb.StopMessage) -> Limit:
    return Limit(message.limit.duration, message.limit.data)


def _encode_grant(grant: Grant) -> pb.Reservation:
    message = pb.Reservation(expire=grant.expire)
    if grant.voucher is not None:
        message.voucher = grant.voucher
    room = _ADDRESS_ROOM
    for address in grant.addresses[:MAX_ADDRESSES]:
        encoded = address.to_bytes()
        room -= len(encoded) + 3  # its tag and length
        if room >= 0:
            message.addrs.append(encoded)
    return message


def _decode_grant(message: pb.Reservation) -> Grant:
    addresses: list[Multiaddr] = []
    for encoded in message.addrs[:MAX_ADDRESSES]:
        try:
            addresses.append(address_from_bytes(encoded))
        except InvalidAddress:
            continue  # as go does: others may be good
    voucher = message.voucher if message.HasField("voucher") else None
    return Grant(message.expire, tuple(addresses), voucher)
