"""AutoNAT v2 messages, and the bounds that hold for what strangers say.

On the wire each is a protobuf message behind its length as a varint: those of a dial request in a
`Message`, `DialBack` and its response bare. Source: libp2p/specs, autonat/autonat-v2.md.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from carrick.addressing import Multiaddr, address_from_bytes
from carrick.errors import InvalidAddress, ProtocolError
from carrick.interfaces import Buffer
from carrick.protocols.autonat.ids import DIAL_BACK, DIAL_REQUEST
from carrick.wire import GeneratedModule, parse_message

if TYPE_CHECKING:
    from carrick.protocols.autonat.pb import autonat_v2_pb2 as pb
else:
    pb = GeneratedModule("carrick.protocols.autonat.pb.autonat_v2_pb2")

__all__ = [
    "DIAL_BACK",
    "DIAL_REQUEST",
    "MAX_DIAL_BACK",
    "MAX_MESSAGE",
    "DialDataRequest",
    "DialDataResponse",
    "DialRequest",
    "DialResponse",
    "DialStatus",
    "Incoming",
    "ResponseStatus",
    "decode",
    "decode_dial_back",
    "encode",
    "encode_dial_back",
    "encode_dial_back_response",
]


MAX_MESSAGE = 8192  # bytes; go-libp2p p2p/protocol/autonatv2/autonat.go
MAX_DIAL_BACK = 1024  # bytes; the same
MAX_ADDRESSES = 50  # of a request that are looked at; go's server.go, maxPeerAddresses
MAX_DATA = 4096  # bytes of one DialDataResponse; "Amplification Attack Prevention"


class ResponseStatus(enum.IntEnum):
    """What a server did with a request."""

    INTERNAL_ERROR = 0
    REQUEST_REJECTED = 100
    DIAL_REFUSED = 101
    OK = 200


class DialStatus(enum.IntEnum):
    """What came of the dial; only with `ResponseStatus.OK`."""

    UNUSED = 0
    DIAL_ERROR = 100
    DIAL_BACK_ERROR = 101
    OK = 200


@dataclass(frozen=True, slots=True)
class DialRequest:
    """Dial the first of `addresses` that you can; None stands for one that is no address."""

    addresses: tuple[Multiaddr | None, ...]
    nonce: int


@dataclass(frozen=True, slots=True)
class DialDataRequest:
    """To have that address dialled, send so many bytes first."""

    index: int
    size: int


@dataclass(frozen=True, slots=True)
class DialDataResponse:
    """Some of the bytes; what they are does not matter."""

    data: bytes


@dataclass(frozen=True, slots=True)
class DialResponse:
    status: ResponseStatus
    index: int = 0
    dial_status: DialStatus = DialStatus.UNUSED


Incoming: TypeAlias = DialRequest | DialDataRequest | DialDataResponse | DialResponse


def encode(message: Incoming) -> bytes:
    """The payload of a frame."""
    match message:
        case DialRequest():
            addresses = [each.to_bytes() for each in message.addresses if each is not None]
            body = pb.Message(dialRequest=pb.DialRequest(addrs=addresses, nonce=message.nonce))
        case DialDataRequest():
            body = pb.Message(
                dialDataRequest=pb.DialDataRequest(addrIdx=message.index, numBytes=message.size)
            )
        case DialDataResponse():
            body = pb.Message(dialDataResponse=pb.DialDataResponse(data=message.data))
        case DialResponse():
            body = pb.Message(dialResponse=_response(message))
    return body.SerializeToString()


def _response(message: DialResponse) -> pb.DialResponse:
    response = pb.DialResponse(addrIdx=message.index)
    response.status = int(message.status)  # type: ignore[assignment]
    response.dialStatus = int(message.dial_status)  # type: ignore[assignment]
    return response


def decode(payload: Buffer) -> Incoming:
    """The message of a frame's payload, which the caller has bounded.

    Raises:
        ProtocolError: it is malformed, of no kind that is known, or has a status that is not.
    """
    message = parse_message(pb.Message, payload)
    kind = message.WhichOneof("msg")
    if kind == "dialRequest":
        request = message.dialRequest
        return DialRequest(_addresses(request.addrs), request.nonce)
    if kind == "dialDataRequest":
        wanted = message.dialDataRequest
        return DialDataRequest(wanted.addrIdx, wanted.numBytes)
    if kind == "dialDataResponse":
        data = message.dialDataResponse.data
        if len(data) > MAX_DATA:
            raise ProtocolError(f"{len(data)} bytes of dial data at once; the limit is {MAX_DATA}")
        return DialDataResponse(data)
    if kind == "dialResponse":
        response = message.dialResponse
        try:
            status = ResponseStatus(response.status)
            return DialResponse(status, response.addrIdx, DialStatus(response.dialStatus))
        except ValueError as error:
            raise ProtocolError(f"a dial response of unknown status: {error}") from None
    raise ProtocolError("an AutoNAT message of no kind that is known")


def _addresses(encoded: Iterable[bytes]) -> tuple[Multiaddr | None, ...]:
    """The first ones; the places stay, since the answer names one by its place."""
    found: list[Multiaddr | None] = []
    for data in list(encoded)[:MAX_ADDRESSES]:
        try:
            found.append(address_from_bytes(data))
        except InvalidAddress:
            found.append(None)
    return tuple(found)


def encode_dial_back(nonce: int) -> bytes:
    return pb.DialBack(nonce=nonce).SerializeToString()


def decode_dial_back(payload: Buffer) -> int:
    """The nonce of a dial-back.

    Raises:
        ProtocolError: it is malformed.
    """
    return parse_message(pb.DialBack, payload).nonce


def encode_dial_back_response() -> bytes:
    """OK, the only status there is."""
    return pb.DialBackResponse().SerializeToString()
