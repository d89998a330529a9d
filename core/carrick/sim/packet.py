"""What travels on the simulated internet."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from carrick.sim.trace import Entry

__all__ = ["ACK", "FIN", "PSH", "RST", "SYN", "TCP", "UDP", "UNREACHABLE", "Endpoint", "Packet"]

Endpoint: TypeAlias = tuple[str, int]
"""An IP address as text, in its canonical form, and a port."""

TCP, UDP = 6, 17  # IANA protocol numbers
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10  # RFC 9293, section 3.1
UNREACHABLE = 0x100
"""An ICMP "port unreachable" for a UDP datagram, with the endpoints of an answer to it."""


class Origin(Protocol):
    """Who hears that a packet of its was lost."""

    def on_lost(self, packet: Packet) -> None: ...


class Packet:
    """An IP packet with a TCP segment (up to 64 KiB), a UDP datagram or a train of datagrams.

    Routers rewrite `source` and `destination` in place.

    Attributes:
        seq: the sequence number of the first byte, counted without wrapping.
        ack: the next sequence number that the sender expects.
        limit: the sequence number up to which the sender has room.
        segment: the size of each datagram of a train but the last; 0 for a single one.
        origin: hears of a loss; None if nobody cares.
    """

    __slots__ = (
        "ack",
        "attempts",
        "destination",
        "entry",
        "flags",
        "limit",
        "origin",
        "payload",
        "protocol",
        "segment",
        "seq",
        "source",
    )

    def __init__(
        self,
        protocol: int,
        source: Endpoint,
        destination: Endpoint,
        flags: int = 0,
        payload: bytes = b"",
        *,
        seq: int = 0,
        ack: int = 0,
        limit: int = 0,
        segment: int = 0,
        origin: Origin | None = None,
    ) -> None:
        self.protocol = protocol
        self.source = source
        self.destination = destination
        self.flags = flags
        self.payload = payload
        self.seq = seq
        self.ack = ack
        self.limit = limit
        self.segment = segment
        self.origin = origin
        self.attempts = 0
        self.entry: Entry | None = None

    def lost(self, why: str) -> None:
        """Nobody gets this packet. A TCP connection sends it again after a while."""
        if self.entry is not None:
            self.entry.fate = why
        if self.origin is not None:
            self.origin.on_lost(self)

    def copy(self) -> Packet:
        """A duplicate, whose loss nobody hears of."""
        return Packet(
            self.protocol,
            self.source,
            self.destination,
            self.flags,
            self.payload,
            seq=self.seq,
            ack=self.ack,
            limit=self.limit,
            segment=self.segment,
        )


@lru_cache(65536)
def canonical(ip: str) -> str:
    """The one text of an IP address, without a zone.

    Raises:
        ValueError: not an IP address.
    """
    return ip_address(ip.partition("%")[0]).compressed


def is_loopback(ip: str) -> bool:
    return ip.startswith("127.") or ip == "::1"


def is_unspecified(ip: str) -> bool:
    return ip in ("0.0.0.0", "::")


def is_multicast(ip: str) -> bool:
    if ":" in ip:
        return ip.startswith("ff")
    return 224 <= int(ip.partition(".")[0]) < 240
