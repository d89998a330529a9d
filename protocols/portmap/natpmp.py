"""NAT-PMP messages (RFC 6886, section 3). No I/O.

All integers are big-endian. Requests: version 0, opcode; a mapping request goes on with 2 reserved
bytes, internal port (2), suggested external port (2), lifetime (4). Responses: version 0, opcode +
128, result (2), epoch (4), then the external address (4), or internal port (2), external port (2)
and lifetime (4).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TypeAlias

from carrick.errors import ProtocolError
from carrick.interfaces import Buffer
from carrick.protocols.portmap.mapping import IpProtocol, Port

__all__ = [
    "ANNOUNCE_GROUP",
    "ANNOUNCE_PORT",
    "SERVER_PORT",
    "ExternalAddress",
    "PortMapped",
    "Refusal",
    "Response",
    "decode",
    "encode_address_request",
    "encode_map_request",
    "result_text",
]

SERVER_PORT = 5351
ANNOUNCE_GROUP, ANNOUNCE_PORT = "224.0.0.1", 5350
MAX_MESSAGE = 1100  # bytes; PCP's limit, which shares the port (RFC 6887, section 7)

_VERSION, _RESPONSE = 0, 128
_ADDRESS = 0
_OPCODES: dict[IpProtocol, int] = {"udp": 1, "tcp": 2}
_PROTOCOLS: dict[int, IpProtocol] = {1: "udp", 2: "tcp"}

_RESULTS = {
    1: "unsupported version",
    2: "not authorized or disabled",
    3: "network failure: the gateway has no usable address outside",
    4: "out of resources",
    5: "unsupported opcode",
}


@dataclass(frozen=True, slots=True)
class ExternalAddress:
    epoch: int
    address: IPv4Address


@dataclass(frozen=True, slots=True)
class PortMapped:
    epoch: int
    port: Port
    external_port: int
    lifetime: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A result that is not 0."""

    epoch: int
    opcode: int
    result: int


Response: TypeAlias = ExternalAddress | PortMapped | Refusal


def encode_address_request() -> bytes:
    return bytes((_VERSION, _ADDRESS))


def encode_map_request(port: Port, external_port: int, lifetime: int) -> bytes:
    """Lifetime and external port 0 remove the mapping."""
    opcode = _OPCODES[port.protocol]
    return struct.pack("!BBxxHHI", _VERSION, opcode, port.number, external_port, lifetime)


def decode(data: Buffer) -> Response:
    """Raises:
    ProtocolError: it is no NAT-PMP response.
    """
    message = bytes(data)
    if not 8 <= len(message) <= MAX_MESSAGE:
        raise ProtocolError(f"a NAT-PMP response of {len(message)} bytes")
    version, opcode, result, epoch = struct.unpack_from("!BBHI", message)
    if version != _VERSION or opcode < _RESPONSE:
        raise ProtocolError(f"no NAT-PMP response: version {version}, opcode {opcode}")
    opcode -= _RESPONSE
    if result:
        return Refusal(epoch, opcode, result)
    if opcode == _ADDRESS and len(message) >= 12:
        return ExternalAddress(epoch, IPv4Address(message[8:12]))
    if opcode in _PROTOCOLS and len(message) >= 16:
        internal, external, lifetime = struct.unpack_from("!HHI", message, 8)
        if not internal or (lifetime and not external):
            raise ProtocolError("a NAT-PMP mapping of port 0")
        return PortMapped(epoch, Port(_PROTOCOLS[opcode], internal), external, lifetime)
    raise ProtocolError(f"a NAT-PMP response of opcode {opcode} with {len(message)} bytes")


def result_text(result: int) -> str:
    return f"{_RESULTS.get(result, 'an unknown reason')} (NAT-PMP result {result})"
