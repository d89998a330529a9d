"""Recording: who sent what to whom, when, and what became of it."""

from __future__ import annotations

from typing import TypeAlias

from carrick.sim.packet import ACK, FIN, PSH, RST, SYN, TCP, UNREACHABLE, Endpoint, Packet

__all__ = ["Entry", "flag_names"]

Line: TypeAlias = tuple[float, Endpoint, Endpoint, str, str, int]
_FLAGS = ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (PSH, "PSH"), (ACK, "ACK"))


class Entry:
    """One packet, or one train of datagrams, on its way.

    Attributes:
        time: when it was sent, in seconds of virtual time.
        source, destination: as the sender wrote them.
        protocol: `"TCP"`, `"UDP"` or `"ICMP"`.
        flags: of TCP, such as `"SYN,ACK"`.
        length: bytes of payload.
        sender: the name of the node that sent it.
        receiver: the name of the node that took it; None if none did.
        arrived: when it did; None if it did not.
        seen_source, seen_destination: as the receiver saw them, behind every NAT.
        fate: why it was lost; empty if it was not.
    """

    __slots__ = (
        "ack",
        "arrived",
        "destination",
        "fate",
        "flag_bits",
        "length",
        "payload",
        "protocol_number",
        "receiver",
        "seen_destination",
        "seen_source",
        "segment",
        "sender",
        "seq",
        "source",
        "time",
        "window",
    )

    def __init__(self, packet: Packet, time: float, sender: str, *, payload: bool) -> None:
        self.time = time
        self.source = self.seen_source = packet.source
        self.destination = self.seen_destination = packet.destination
        self.protocol_number = packet.protocol
        self.flag_bits = packet.flags
        self.length = len(packet.payload)
        self.segment = packet.segment
        self.seq = packet.seq
        self.ack = packet.ack
        self.window = max(0, packet.limit - packet.ack)
        self.payload = packet.payload if payload else None
        self.sender = sender
        self.receiver: str | None = None
        self.arrived: float | None = None
        self.fate = ""

    @property
    def protocol(self) -> str:
        if self.flag_bits & UNREACHABLE:
            return "ICMP"
        return "TCP" if self.protocol_number == TCP else "UDP"

    @property
    def flags(self) -> str:
        return flag_names(self.flag_bits)

    @property
    def line(self) -> Line:
        """Time, source, destination, protocol, flags, length: what two runs are compared by."""
        return self.time, self.source, self.destination, self.protocol, self.flags, self.length

    def took(self, packet: Packet, time: float, receiver: str) -> None:
        self.arrived = time
        self.receiver = receiver
        self.seen_source = packet.source
        self.seen_destination = packet.destination

    def __repr__(self) -> str:
        (here, port), (there, to_port) = self.source, self.destination
        what = f"{self.protocol} {self.flags}".strip()
        fate = f" {self.fate}" if self.fate else ""
        return f"<{self.time:.6f} {here} {port} > {there} {to_port} {what} {self.length}{fate}>"


def flag_names(flags: int) -> str:
    """The names of TCP flags, joined by commas."""
    return ",".join(name for bit, name in _FLAGS if flags & bit)
