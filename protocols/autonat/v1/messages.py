"""AutoNAT v1 messages, and the bounds that hold for what strangers say.

On the wire each is a protobuf message behind its length as a varint. Source: libp2p/specs,
autonat/autonat-v1.md.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from carrick.addressing import Multiaddr, address_from_bytes
from carrick.errors import InvalidAddress, ProtocolError
from carrick.interfaces import Buffer
from carrick.protocols.autonat.ids import DIAL
from carrick.wire import GeneratedModule, parse_message

if TYPE_CHECKING:
    from carrick.protocols.autonat.pb import autonat_v1_pb2 as pb
else:
    pb = GeneratedModule("carrick.protocols.autonat.pb.autonat_v1_pb2")

__all__ = [
    "DIAL",
    "MAX_ADDRESSES",
    "MAX_MESSAGE",
    "Dial",
    "DialResponse",
    "Status",
    "decode",
    "encode",
]


MAX_MESSAGE = 4096  # bytes; go-libp2p p2p/host/autonat/svc.go
MAX_ADDRESSES = 16  # of a request that are looked at; go's options.go


class Status(enum.IntEnum):
    """What came of a request."""

    OK = 0
    DIAL_ERROR = 100
    DIAL_REFUSED = 101
    BAD_REQUEST = 200
    INTERNAL_ERROR = 300


@dataclass(frozen=True, slots=True)
class Dial:
    """Dial me: `peer` is my id as bytes, empty if it was not sent."""

    peer: bytes
    addresses: tuple[Multiaddr, ...]


@dataclass(frozen=True, slots=True)
class DialResponse:
    """`address`: where it succeeded."""

    status: Status
    text: str = ""
    address: Multiaddr | None = None


Incoming: TypeAlias = Dial | DialResponse


def encode(message: Incoming) -> bytes:
    """The payload of a frame. Addresses that do not fit into one are left out."""
    if isinstance(message, DialResponse):
        body = pb.Message.DialResponse(statusText=message.text.encode())
        body.status = int(message.status)  # type: ignore[assignment]
        if message.address is not None:
            body.addr = message.address.to_bytes()
        return pb.Message(type=pb.Message.DIAL_RESPONSE, dialResponse=body).SerializeToString()
    request = pb.Message(type=pb.Message.DIAL)
    request.dial.peer.id = message.peer
    for address in message.addresses:
        request.dial.peer.addrs.append(address.to_bytes())
        if request.ByteSize() > MAX_MESSAGE:
            del request.dial.peer.addrs[-1]
            break
    return request.SerializeToString()


def decode(payload: Buffer) -> Incoming:
    """The message of a frame's payload, which the caller has bounded.

    Of a dial's addresses the first 16 that are multiaddrs are taken.

    Raises:
        ProtocolError: it is malformed, of no known kind, or has a status that is not known.
    """
    message = parse_message(pb.Message, payload)
    if not message.HasField("type"):
        raise ProtocolError("an AutoNAT message without a type")
    if message.type == pb.Message.DIAL:
        found: list[Multiaddr] = []
        for data in list(message.dial.peer.addrs)[:MAX_ADDRESSES]:
            try:
                found.append(address_from_bytes(data))
            except InvalidAddress:
                continue
        return Dial(message.dial.peer.id, tuple(found))
    response = message.dialResponse
    if not response.HasField("status"):  # proto2: an unknown value counts as not sent
        raise ProtocolError("an AutoNAT response without a known status")
    address = None
    if response.HasField("addr"):
        try:
            address = address_from_bytes(response.addr)
        except InvalidAddress as error:
            raise ProtocolError(f"an AutoNAT response with a bad address: {error}") from error
    text = response.statusText.decode(errors="replace")
    return DialResponse(
        Status(response.status), "".join(c if c.isprintable() else "?" for c in text), address
    )
