"""Traces as capture files that Wireshark opens (pcapng, draft-ietf-opsawg-pcapng).

One file has an interface for each node, named after it, which shows the packets as that node sent
and received them: behind a NAT with private addresses, outside with public ones.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator, Sequence

from carrick.sim.packet import ACK, SYN, TCP, UDP, UNREACHABLE, Endpoint
from carrick.sim.trace import Entry

__all__ = ["pcapng"]

LINKTYPE_RAW = 101  # IP packets without a link layer
SNAPLEN = 262_144
NANOSECONDS = 9  # if_tsresol: powers of ten
EPOCH = 1_700_000_000  # s since 1970 that virtual time 0 is shown as
WINDOW_SHIFT = 7  # window scale (RFC 7323) of every connection
TTL = 64


def pcapng(entries: Iterable[Entry], nodes: Sequence[str] | None = None) -> bytes:
    """A capture file of what `nodes` sent and received; None takes all of them.

    Lost packets are seen where they were sent. Payload that was not recorded is left out: the file
    says that those packets were cut off.
    """
    entries = list(entries)
    if nodes is None:
        seen = [(entry.sender, entry.receiver) for entry in entries]
        nodes = list(dict.fromkeys(name for pair in seen for name in pair if name is not None))
    numbers = {name: number for number, name in enumerate(nodes)}
    blocks = [_section_header()]
    blocks += [_interface(name) for name in nodes]
    packets = sorted(_sightings(entries, numbers), key=lambda sighting: sighting[0])
    for identification, (time, number, entry, source, destination) in enumerate(packets):
        for packet, length in _ip_packets(entry, source, destination, identification):
            blocks.append(_packet(time, number, packet, length))
    return b"".join(blocks)


def _sightings(
    entries: Iterable[Entry], numbers: dict[str, int]
) -> Iterator[tuple[float, int, Entry, Endpoint, Endpoint]]:
    """(time, interface, entry, source, destination) of each packet at each node that saw it."""
    for entry in entries:
        if entry.sender in numbers:
            yield entry.time, numbers[entry.sender], entry, entry.source, entry.destination
        if entry.receiver in numbers and entry.arrived is not None:
            number = numbers[entry.receiver]
            yield entry.arrived, number, entry, entry.seen_source, entry.seen_destination


# --- blocks ---------------------------------------------------------------------------------------


def _block(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _section_header() -> bytes:
    return _block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))


def _interface(name: str) -> bytes:
    options = _option(2, name.encode()) + _option(9, bytes([NANOSECONDS])) + _option(0, b"")
    return _block(1, struct.pack("<HHI", LINKTYPE_RAW, 0, SNAPLEN) + options)


def _packet(time: float, interface: int, packet: bytes, length: int) -> bytes:
    stamp = EPOCH * 10**NANOSECONDS + round(time * 10**NANOSECONDS)
    fields = (interface, stamp >> 32, stamp & 0xFFFFFFFF, len(packet), length)
    return _block(6, struct.pack("<IIIII", *fields) + packet)


# --- packets --------------------------------------------------------------------------------------


def _ip_packets(
    entry: Entry, source: Endpoint, destination: Endpoint, identification: int
) -> Iterator[tuple[bytes, int]]:
    """The IP packets of an entry, as much as was recorded of each, and their full lengths."""
    size = entry.segment or entry.length or 1
    for start in range(0, max(1, entry.length), size):
        length = min(size, entry.length - start)
        payload = None if entry.payload is None else entry.payload[start : start + length]
        if entry.flag_bits & UNREACHABLE:
            kind, header, length, payload = _icmp(source, destination)
        elif entry.protocol_number == TCP:
            kind, header = TCP, _tcp(entry, source, destination, length, payload)
        else:
            kind, header = UDP, _udp(source, destination, length, payload)
        ip = _ip(kind, source[0], destination[0], len(header) + length, identification)
        recorded = ip + header + (payload or b"")
        yield recorded, len(ip) + len(header) + length


def _ip(kind: int, source: str, destination: str, size: int, identification: int) -> bytes:
    here, there = ipaddress.ip_address(source).packed, ipaddress.ip_address(destination).packed
    if len(here) == 16:
        return struct.pack("!IHBB", 6 << 28, size, kind, TTL) + here + there
    header = struct.pack(
        "!BBHHHBBH", 0x45, 0, 20 + size, identification & 0xFFFF, 0x4000, TTL, kind, 0
    )
    header += here + there
    return header[:10] + struct.pack("!H", _checksum(header)) + header[12:]


def _tcp(
    entry: Entry, source: Endpoint, destination: Endpoint, length: int, payload: bytes | None
) -> bytes:
    options = bytes((3, 3, WINDOW_SHIFT, 1)) if entry.flag_bits & SYN else b""
    window = entry.window if entry.flag_bits & SYN else entry.window >> WINDOW_SHIFT
    fields = (
        source[1],
        destination[1],
        entry.seq & 0xFFFFFFFF,
        entry.ack & 0xFFFFFFFF if entry.flag_bits & ACK else 0,
        (20 + len(options)) << 2 & 0xF0,
        entry.flag_bits & 0xFF,
        min(window, 0xFFFF),
        0,
        0,
    )
    header = struct.pack("!HHIIBBHHH", *fields) + options
    pseudo = _pseudo_header(TCP, source, destination, len(header) + length)
    checksum = _checksum(pseudo + header + (payload if payload is not None else bytes(length)))
    return header[:16] + struct.pack("!H", checksum) + header[18:]


def _udp(source: Endpoint, destination: Endpoint, length: int, payload: bytes | None) -> bytes:
    header = struct.pack("!HHHH", source[1], destination[1], 8 + length, 0)
    pseudo = _pseudo_header(UDP, source, destination, 8 + length)
    checksum = _checksum(pseudo + header + (payload if payload is not None else bytes(length)))
    return header[:6] + struct.pack("!H", checksum or 0xFFFF)


def _icmp(source: Endpoint, destination: Endpoint) -> tuple[int, bytes, int, bytes]:
    """Port unreachable (RFC 792, RFC 4443), with the header of the datagram that it answers."""
    lost = _udp(destination, source, 0, None)
    lost = _ip(UDP, destination[0], source[0], len(lost), 0) + lost
    if ":" in source[0]:
        message = struct.pack("!BBHI", 1, 4, 0, 0) + lost
        pseudo = _pseudo_header(58, source, destination, len(message))
        kind = 58
    else:
        message, pseudo, kind = struct.pack("!BBHI", 3, 3, 0, 0) + lost, b"", 1
    message = message[:2] + struct.pack("!H", _checksum(pseudo + message)) + message[4:]
    return kind, message, 0, b""


def _pseudo_header(kind: int, source: Endpoint, destination: Endpoint, size: int) -> bytes:
    here = ipaddress.ip_address(source[0]).packed
    there = ipaddress.ip_address(destination[0]).packed
    return here + there + struct.pack("!II", size, kind)  # RFC 8200; of RFC 9293 it is the sum


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
