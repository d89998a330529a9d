"""STUN's Binding messages: bytes ↔ `Message` (RFC 8489 sections 5 and 14, RFC 5780 section 7).

    0                   1                   2                   3
    0 0 M M M M M C M M M C M M M M |         length of what follows
                         magic cookie 0x2112a442
                         transaction id (12 bytes)
    attributes: type (2), length (2), value, padding to 4 bytes

Only the method Binding, without credentials. No I/O.
"""

from __future__ import annotations

import enum
import ipaddress
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from carrick.errors import MessageTooLarge, ProtocolError
from carrick.interfaces import Buffer, Endpoint

__all__ = [
    "HEADER_SIZE",
    "MAX_MESSAGE",
    "TRANSACTION_SIZE",
    "Kind",
    "Message",
    "decode",
    "encode",
    "size_of",
]

HEADER_SIZE = 20  # bytes
TRANSACTION_SIZE = 12  # bytes
MAX_MESSAGE = 2048  # bytes; an answer to a Binding request has about 100
COOKIE = 0x2112A442
BINDING = 0x001

MAPPED_ADDRESS = 0x0001
CHANGE_REQUEST = 0x0003
USERNAME = 0x0006
MESSAGE_INTEGRITY = 0x0008
ERROR_CODE = 0x0009
UNKNOWN_ATTRIBUTES = 0x000A
REALM = 0x0014
NONCE = 0x0015
MESSAGE_INTEGRITY_SHA256 = 0x001C
XOR_MAPPED_ADDRESS = 0x0020
SOFTWARE = 0x8022
FINGERPRINT = 0x8028
RESPONSE_ORIGIN = 0x802B
OTHER_ADDRESS = 0x802C

# Below 0x8000 an attribute must be understood. Of those that only say who is asking, and of what
# RFC 3489 servers add (SOURCE-ADDRESS, CHANGED-ADDRESS), nothing follows for us.
_IGNORED = {USERNAME, MESSAGE_INTEGRITY, UNKNOWN_ATTRIBUTES, REALM, NONCE, 0x0004, 0x0005}
_IGNORED |= {MESSAGE_INTEGRITY_SHA256}
_INTEGRITY = (MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256)
_CHANGE_IP, _CHANGE_PORT = 0x4, 0x2
_FINGERPRINT_XOR = 0x5354554E  # "STUN"
_MAX_SOFTWARE = 127  # characters


class Kind(enum.IntEnum):
    """The class of a message (RFC 8489 section 5)."""

    REQUEST = 0
    INDICATION = 1
    SUCCESS = 2
    ERROR = 3


@dataclass(frozen=True, slots=True)
class Message:
    """A Binding message.

    Attributes:
        transaction: 12 bytes; an answer has those of its request.
        mapped: where the server saw the request come from.
        origin: where the answer was sent from.
        other: the server's other address and other port.
        change_ip: the answer is to come from the other address.
        change_port: the answer is to come from the other port.
        error: the code, 300 to 699, and the reason.
        software: what the sender is.
        unknown: attributes that we had to understand and do not.
    """

    kind: Kind
    transaction: bytes
    mapped: Endpoint | None = None
    origin: Endpoint | None = None
    other: Endpoint | None = None
    change_ip: bool = False
    change_port: bool = False
    error: tuple[int, str] | None = None
    software: str | None = None
    unknown: tuple[int, ...] = field(default=())


def size_of(header: Buffer) -> int:
    """How long the message is that starts with these `HEADER_SIZE` bytes, in bytes.

    Raises:
        ProtocolError: it is no STUN message.
        MessageTooLarge: it is longer than `MAX_MESSAGE`.
    """
    if len(header) < HEADER_SIZE:
        raise ProtocolError(f"a STUN header has {HEADER_SIZE} bytes, this one {len(header)}")
    first, length, cookie = struct.unpack_from("!HHI", header)
    if first & 0xC000 or cookie != COOKIE or length % 4:
        raise ProtocolError("this is no STUN message")
    if HEADER_SIZE + length > MAX_MESSAGE:
        raise MessageTooLarge(f"a STUN message of {length} bytes; {MAX_MESSAGE} are the limit")
    return HEADER_SIZE + int(length)


def decode(data: Buffer) -> Message:
    """Read one whole message.

    A FINGERPRINT is checked if there is one. Of an attribute that comes twice the first counts.

    Raises:
        ProtocolError: it is no Binding message, or a broken one.
    """
    data = bytes(data)
    if size_of(data) != len(data):
        raise ProtocolError("the length of a STUN message is not what its header says")
    first = int.from_bytes(data[:2], "big")
    method = (first & 0x3E00) >> 2 | (first & 0xE0) >> 1 | first & 0xF
    kind = Kind((first >> 7) & 2 | (first >> 4) & 1)
    if method != BINDING:
        raise ProtocolError(f"STUN method {method:#x} instead of Binding")
    transaction = data[8:HEADER_SIZE]
    values: dict[int, bytes] = {}
    unknown: list[int] = []
    for type, value, start in _attributes(data):
        if FINGERPRINT in values:
            raise ProtocolError("a STUN attribute after FINGERPRINT")
        if type == FINGERPRINT:
            if value != _fingerprint(data[:start]):
                raise ProtocolError("the FINGERPRINT of a STUN message is wrong")
        elif any(each in values for each in _INTEGRITY):
            continue  # whoever can add bytes behind the integrity may not say anything there
        if type < 0x8000 and type not in _DECODERS and type not in _IGNORED:
            unknown.append(type)
        values.setdefault(type, value)
    fields: dict[str, object] = {}
    for type, (name, read) in _DECODERS.items():
        if type in values and name not in fields:
            fields[name] = read(values[type], transaction)
    change = fields.pop("change", 0)
    assert isinstance(change, int)
    if kind is Kind.ERROR and "error" not in fields:
        raise ProtocolError("a STUN error without a code")
    return Message(
        kind,
        transaction,
        change_ip=bool(change & _CHANGE_IP),
        change_port=bool(change & _CHANGE_PORT),
        unknown=tuple(unknown),
        **fields,  # type: ignore[arg-type]
    )


def encode(message: Message, *, fingerprint: bool = False, xor: bool = True) -> bytes:
    """Write a message.

    Args:
        fingerprint: end it with a FINGERPRINT.
        xor: write the mapped address as XOR-MAPPED-ADDRESS; else as RFC 3489 did.
    """
    transaction = message.transaction
    if len(transaction) != TRANSACTION_SIZE:
        raise ValueError(f"a transaction id has {TRANSACTION_SIZE} bytes")
    body = b""
    if message.mapped is not None:
        type = XOR_MAPPED_ADDRESS if xor else MAPPED_ADDRESS
        body += _attribute(type, _address(message.mapped, transaction if xor else None))
    for type, endpoint in ((RESPONSE_ORIGIN, message.origin), (OTHER_ADDRESS, message.other)):
        if endpoint is not None:
            body += _attribute(type, _address(endpoint))
    if message.change_ip or message.change_port:
        flags = _CHANGE_IP * message.change_ip | _CHANGE_PORT * message.change_port
        body += _attribute(CHANGE_REQUEST, struct.pack("!I", flags))
    if message.error is not None:
        code, reason = message.error
        number = struct.pack("!I", code // 100 << 8 | code % 100)
        body += _attribute(ERROR_CODE, number + reason.encode())
    if message.unknown:
        body += _attribute(
            UNKNOWN_ATTRIBUTES, struct.pack(f"!{len(message.unknown)}H", *message.unknown)
        )
    if message.software is not None:
        body += _attribute(SOFTWARE, message.software[:_MAX_SOFTWARE].encode())
    bits = (message.kind & 2) << 7 | (message.kind & 1) << 4 | BINDING
    length = len(body) + (8 if fingerprint else 0)
    data = struct.pack("!HHI", bits, length, COOKIE) + transaction + body
    return data + _attribute(FINGERPRINT, _fingerprint(data)) if fingerprint else data


# --- attributes -----------------------------------------------------------------------------------


def _attributes(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Type, value, and where it starts, of each."""
    at = HEADER_SIZE
    while at < len(data):
        type, length = struct.unpack_from("!HH", data, at)
        end = at + 4 + length
        if end > len(data):
            raise ProtocolError("a STUN attribute is longer than its message")
        yield type, data[at + 4 : end], at
        at = end + -length % 4


def _attribute(type: int, value: bytes) -> bytes:
    return struct.pack("!HH", type, len(value)) + value + bytes(-len(value) % 4)


def _fingerprint(data: bytes) -> bytes:
    """Over all bytes before the attribute, whose length the header counts already."""
    return struct.pack("!I", zlib.crc32(data) ^ _FINGERPRINT_XOR)


def _mask(transaction: bytes) -> bytes:
    return struct.pack("!I", COOKIE) + transaction


def _address(endpoint: Endpoint, transaction: bytes | None = None) -> bytes:
    """0, family (1: IPv4, 2: IPv6), port (2), address; the last two XORed with the mask."""
    ip = ipaddress.ip_address(endpoint[0].partition("%")[0])
    port, packed = endpoint[1].to_bytes(2, "big"), ip.packed
    if transaction is not None:
        mask = _mask(transaction)
        port, packed = _xor(port, mask), _xor(packed, mask)
    return bytes((0, 1 if ip.version == 4 else 2)) + port + packed


def _xor(data: bytes, mask: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(data, mask, strict=False))


def _read_address(value: bytes, transaction: bytes | None) -> Endpoint:
    family = value[1] if len(value) > 1 else 0
    if (family, len(value)) not in ((1, 8), (2, 20)):
        raise ProtocolError("a STUN address that is neither IPv4 nor IPv6")
    port, packed = value[2:4], value[4:]
    if transaction is not None:
        mask = _mask(transaction)
        port, packed = _xor(port, mask), _xor(packed, mask)
    number = int.from_bytes(port, "big")
    if not number:
        raise ProtocolError("a STUN address with port 0")
    return str(ipaddress.ip_address(packed)), number


def _read_plain_address(value: bytes, _: bytes) -> Endpoint:
    return _read_address(value, None)


def _read_change(value: bytes, _: bytes) -> int:
    if len(value) != 4:
        raise ProtocolError("a CHANGE-REQUEST that has not 4 bytes")
    return value[3]


def _read_error(value: bytes, _: bytes) -> tuple[int, str]:
    if len(value) < 4 or not 3 <= value[2] & 7 <= 6 or value[3] > 99:
        raise ProtocolError("a STUN error whose code is none")
    return (value[2] & 7) * 100 + value[3], value[4:].decode(errors="replace")[:_MAX_SOFTWARE]


def _read_software(value: bytes, _: bytes) -> str:
    return value.decode(errors="replace")[:_MAX_SOFTWARE]


# XOR-MAPPED-ADDRESS goes before MAPPED-ADDRESS: routers that rewrite addresses in payloads spoil
# the latter.
_DECODERS: dict[int, tuple[str, Callable[[bytes, bytes], object]]] = {
    XOR_MAPPED_ADDRESS: ("mapped", _read_address),
    MAPPED_ADDRESS: ("mapped", _read_plain_address),
    RESPONSE_ORIGIN: ("origin", _read_plain_address),
    OTHER_ADDRESS: ("other", _read_plain_address),
    CHANGE_REQUEST: ("change", _read_change),
    ERROR_CODE: ("error", _read_error),
    SOFTWARE: ("software", _read_software),
}
