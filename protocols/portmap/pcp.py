"""PCP messages (RFC 6887, sections 7 and 11). No I/O.

All integers are big-endian, addresses 16 bytes (IPv4 as ::ffff:a.b.c.d). A request begins with
version 2, opcode, 2 reserved bytes, lifetime (4), the client's address; a response with version 2,
opcode + 128, reserved, result (1), lifetime (4), epoch (4), 12 reserved bytes. MAP goes on with
nonce (12), protocol (1), 3 reserved bytes, internal port (2), external port (2), external address.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from carrick.errors import ProtocolError
from carrick.interfaces import Buffer
from carrick.protocols.portmap.mapping import IpProtocol, Port

__all__ = [
    "MAX_MESSAGE",
    "NONCE_SIZE",
    "MapAnswer",
    "Response",
    "decode",
    "encode_announce",
    "encode_map",
    "result_text",
]

MAX_MESSAGE = 1100  # bytes (section 7)
NONCE_SIZE = 12

_VERSION, _RESPONSE = 2, 128
_ANNOUNCE, _MAP = 0, 1
_HEADER, _MAP_SIZE = 24, 60
_NUMBERS: dict[IpProtocol, int] = {"tcp": 6, "udp": 17}
_PROTOCOLS: dict[int, IpProtocol] = {6: "tcp", 17: "udp"}

_RESULTS = (
    "success",
    "unsupported version",
    "not authorized",
    "malformed request",
    "unsupported opcode",
    "unsupported option",
    "malformed option",
    "network failure",
    "no resources, or no usable address outside",
    "unsupported protocol",
    "quota exceeded",
    "cannot provide that external port",
    "address mismatch: another NAT is in between",
    "too many remote peers",
)


@dataclass(frozen=True, slots=True)
class MapAnswer:
    """The part of a response that only MAP has."""

    nonce: bytes
    port: Port
    external_port: int
    external_address: IPv4Address | None


@dataclass(frozen=True, slots=True)
class Response:
    """A response.

    Attributes:
        result: 0: it was done.
        lifetime: of the mapping, or of the error, in seconds.
        epoch: seconds since the server's state began.
        map: None for an ANNOUNCE, and for errors without one.
    """

    result: int
    lifetime: int
    epoch: int
    map: MapAnswer | None
    is_announce: bool


def encode_announce(client: IPv4Address) -> bytes:
    return _header(_ANNOUNCE, 0, client)


def encode_map(
    client: IPv4Address,
    nonce: bytes,
    port: Port,
    *,
    lifetime: int,
    external_port: int = 0,
    external_address: IPv4Address | None = None,
) -> bytes:
    """Lifetime 0 removes the mapping. Without an external address any will do."""
    suggested = _packed(external_address or IPv4Address(0))
    protocol = _NUMBERS[port.protocol]
    return _header(_MAP, lifetime, client) + struct.pack(
        "!12sB3xHH16s", nonce, protocol, port.number, external_port, suggested
    )


def decode(data: Buffer) -> Response:
    """Raises:
    ProtocolError: it is no PCP response.
    """
    message = bytes(data)
    if not _HEADER <= len(message) <= MAX_MESSAGE or len(message) % 4:
        raise ProtocolError(f"a PCP response of {len(message)} bytes")
    version, opcode, result, lifetime, epoch = struct.unpack_from("!BBxBII", message)
    if version != _VERSION or opcode < _RESPONSE:
        raise ProtocolError(f"no PCP response: version {version}, opcode {opcode}")
    opcode -= _RESPONSE
    answer = None
    if opcode == _MAP and len(message) >= _MAP_SIZE:
        answer = _decode_map(message)
    if opcode not in (_ANNOUNCE, _MAP) or (opcode == _MAP and not result and answer is None):
        raise ProtocolError(f"a PCP response of opcode {opcode} with {len(message)} bytes")
    if answer is not None and not result and lifetime and not answer.external_port:
        raise ProtocolError("a PCP mapping of port 0")
    return Response(result, lifetime, epoch, answer, opcode == _ANNOUNCE)


def result_text(result: int) -> str:
    words = _RESULTS[result] if result < len(_RESULTS) else "an unknown reason"
    return f"{words} (PCP result {result})"


def _decode_map(message: bytes) -> MapAnswer:
    nonce, protocol, internal, external, address = struct.unpack_from(
        "!12sB3xHH16s", message, _HEADER
    )
    if protocol not in _PROTOCOLS or not internal:
        raise ProtocolError(f"a PCP mapping of protocol {protocol}, port {internal}")
    mapped = IPv6Address(address).ipv4_mapped
    return MapAnswer(nonce, Port(_PROTOCOLS[protocol], internal), external, mapped)


def _header(opcode: int, lifetime: int, client: IPv4Address) -> bytes:
    return struct.pack("!BBxxI16s", _VERSION, opcode, lifetime, _packed(client))


def _packed(address: IPv4Address) -> bytes:
    return bytes(10) + b"\xff\xff" + address.packed
