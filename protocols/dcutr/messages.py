"""Messages of DCUtR. No I/O.

On the wire: protobuf, each message behind its length as a varint, at most 4096 bytes.
Source: libp2p/specs, relay/DCUtR.md, "RPC messages". Carrick adds a field of its own, which go and
rust skip as they skip every field that they do not know: see `pb/dcutr.proto`, specs/dcutr.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from carrick.addressing import Multiaddr, address_from_bytes
from carrick.errors import InvalidAddress, MessageTooLarge, ProtocolError
from carrick.host import Dependence, Nat, NatBehaviour, PortDelta
from carrick.interfaces import Buffer
from carrick.protocols.dcutr.ids import DCUTR
from carrick.wire import GeneratedModule, parse_message

if TYPE_CHECKING:
    from carrick.protocols.dcutr.pb import dcutr_pb2 as pb
else:
    pb = GeneratedModule("carrick.protocols.dcutr.pb.dcutr_pb2")

__all__ = ["DCUTR", "MAX_MESSAGE", "Connect", "Message", "Sync", "decode"]

MAX_MESSAGE = 4096  # bytes; "SHOULD refuse" more
MAX_RECEIVED = 64  # addresses in a message; more break the protocol (ATTACKS row 70)
MAX_SENT = 16  # addresses in a message of ours
_ADDRESS_ROOM = 3072  # bytes of them, so that the message stays below the maximum

_CONNECT, _SYNC = 100, 300
_MAX_STEP = 65535  # ports
_SECOND = 1_000_000  # microseconds
_MAX_DELAY = 60 * _SECOND  # a stream lives no longer

_DEPENDENCES = tuple(Dependence)
_DELTAS = tuple(PortDelta)


@dataclass(frozen=True, slots=True)
class Connect:
    """Where the sender will be, and how its NATs treat UDP and TCP.

    Attributes:
        addresses: without duplicates, as they were sent; invalid ones are left out.
        nat: None: the sender is no Carrick. Only `udp` and `tcp` are sent.
        delay: how long A took to answer, in seconds: it is no part of the round trip. Sent only
            with `nat`.
    """

    addresses: tuple[Multiaddr, ...]
    nat: Nat | None = None
    delay: float = 0.0

    def encode(self) -> bytes:
        """At most `MAX_SENT` addresses, the first ones first."""
        message = pb.HolePunch(type=_CONNECT)
        room = _ADDRESS_ROOM
        for address in self.addresses[:MAX_SENT]:
            encoded = address.to_bytes()
            room -= len(encoded) + 3  # its tag and length
            if room >= 0:
                message.addresses.append(encoded)
        if self.nat is not None:
            message.carrick.udp.CopyFrom(_encode_behaviour(self.nat.udp))
            message.carrick.tcp.CopyFrom(_encode_behaviour(self.nat.tcp))
            if self.delay > 0:
                message.carrick.delay = min(round(self.delay * _SECOND), _MAX_DELAY)
        return message.SerializeToString()


@dataclass(frozen=True, slots=True)
class Sync:
    """Now.

    Attributes:
        initiator_dials: the sender takes the client's part, and the receiver the server's; only
            told to those who said that they are Carricks.
    """

    initiator_dials: bool = False

    def encode(self) -> bytes:
        message = pb.HolePunch(type=_SYNC)
        if self.initiator_dials:
            message.carrick.initiator_dials = True
        return message.SerializeToString()


Message: TypeAlias = Connect | Sync


def decode(data: Buffer) -> Message:
    """
    Raises:
        ProtocolError: malformed, too long, of no known type, or with too many addresses.
    """
    if len(data) > MAX_MESSAGE:
        raise MessageTooLarge(f"a message of {len(data)} bytes; the limit is {MAX_MESSAGE}")
    message = parse_message(pb.HolePunch, data)
    if len(message.addresses) > MAX_RECEIVED:
        raise ProtocolError(f"a message with {len(message.addresses)} addresses")
    if not message.HasField("type"):
        raise ProtocolError("a message without a type")
    if message.type == _CONNECT:
        if message.carrick.delay > _MAX_DELAY:
            raise ProtocolError(f"an answer that took {message.carrick.delay} µs")
        nat = _decode_nat(message.carrick) if message.HasField("carrick") else None
        return Connect(_decode_addresses(message), nat, message.carrick.delay / _SECOND)
    if message.type == _SYNC:
        return Sync(message.carrick.initiator_dials)
    raise ProtocolError(f"a message of type {message.type}")


def _decode_addresses(message: pb.HolePunch) -> tuple[Multiaddr, ...]:
    found: dict[Multiaddr, None] = {}
    for encoded in message.addresses:
        try:
            found[address_from_bytes(encoded)] = None
        except InvalidAddress:
            continue  # as go and rust do: others may be good
    return tuple(found)


def _encode_behaviour(nat: NatBehaviour) -> pb.Behaviour:
    behaviour = pb.Behaviour(
        mapping=_DEPENDENCES.index(nat.mapping),
        filtering=_DEPENDENCES.index(nat.filtering),
        delta=_DELTAS.index(nat.delta),
        step=nat.step,
        blocked=nat.blocked,
    )
    if nat.translates is not None:
        behaviour.translates = nat.translates
    return behaviour


def _decode_nat(extension: pb.Extension) -> Nat:
    return Nat(udp=_decode_behaviour(extension.udp), tcp=_decode_behaviour(extension.tcp))


def _decode_behaviour(message: pb.Behaviour) -> NatBehaviour:
    if abs(message.step) > _MAX_STEP:
        raise ProtocolError(f"a NAT that goes on by {message.step} ports")
    return NatBehaviour(
        mapping=_dependence(message.mapping),
        filtering=_dependence(message.filtering),
        translates=message.translates if message.HasField("translates") else None,
        delta=_DELTAS[message.delta] if message.delta < len(_DELTAS) else PortDelta.UNKNOWN,
        step=message.step,
        blocked=message.blocked,
    )


def _dependence(number: int) -> Dependence:
    return _DEPENDENCES[number] if number < len(_DEPENDENCES) else Dependence.UNKNOWN
