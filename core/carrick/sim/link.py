"""Links: how long a packet takes, and whether it arrives."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from random import Random

from carrick.sim.packet import TCP, Packet

__all__ = ["Link"]

MTU = 1500  # bytes of an IP packet (RFC 894); bigger datagrams travel in fragments
_HEADERS = {4: {6: 40, 17: 28}, 6: {6: 60, 17: 48}}  # bytes of IP and TCP or UDP headers


@dataclass(frozen=True, slots=True)
class Link:
    """The way between an interface and the network that it is attached to, both directions alike.

    A packet passes the sender's link and the receiver's, so latencies add up. TCP segments that are
    lost are sent again by their connection; a UDP datagram in n fragments is lost n times as often.

    Attributes:
        latency: seconds one way.
        jitter: up to so many seconds more, uniformly; so packets overtake each other.
        bandwidth: bytes per second.
        loss: probability that a packet is lost.
        reorder: probability that a datagram waits `reorder_delay` seconds longer.
        duplicate: probability that a packet arrives twice.
        queue: seconds of waiting for bandwidth beyond which datagrams are dropped.
    """

    latency: float = 0.0
    jitter: float = 0.0
    bandwidth: float = inf
    loss: float = 0.0
    reorder: float = 0.0
    reorder_delay: float = 0.01
    duplicate: float = 0.0
    queue: float = 0.5

    def __post_init__(self) -> None:
        if min(self.latency, self.jitter, self.reorder_delay, self.queue) < 0:
            raise ValueError("times must not be negative")
        if self.bandwidth <= 0:
            raise ValueError("bandwidth must be positive")
        if not all(0 <= p <= 1 for p in (self.loss, self.reorder, self.duplicate)):
            raise ValueError("probabilities lie between 0 and 1")

    @property
    def is_plain(self) -> bool:
        """Whether a packet takes just the latency."""
        chances = self.jitter or self.loss or self.reorder or self.duplicate
        return not chances and self.bandwidth == inf

    @property
    def treats_datagrams_singly(self) -> bool:
        """Whether a train of datagrams must be taken apart."""
        return bool(self.loss or self.reorder or self.duplicate or self.jitter)


class Lane:
    """One direction of a link."""

    __slots__ = ("_free_at", "_plain", "latency", "link")

    def __init__(self, link: Link) -> None:
        self.link = link
        self.latency = link.latency
        self._plain = link.is_plain
        self._free_at = 0.0

    def pass_time(self, packet: Packet, now: float, rng: Random) -> float:
        """Seconds until `packet`, which enters at `now`, is through; negative if it gets lost."""
        if self._plain:
            return self.latency
        link = self.link
        headers = _HEADERS[6 if ":" in packet.source[0] else 4][packet.protocol]
        size = len(packet.payload) + headers
        if link.loss:
            fragments = 1 if packet.protocol == TCP else -(-size // MTU)
            if rng.random() >= (1 - link.loss) ** fragments:
                return -1.0
        time = link.latency
        if link.bandwidth != inf:
            waiting = max(0.0, self._free_at - now)
            if waiting > link.queue and packet.protocol != TCP:
                return -1.0
            # A train is as many packets as it has datagrams.
            if packet.segment:
                size += (-(-len(packet.payload) // packet.segment) - 1) * headers
            sending = size / link.bandwidth
            self._free_at = now + waiting + sending
            time += waiting + sending
        if link.jitter:
            time += rng.random() * link.jitter
        if link.reorder and packet.protocol != TCP and rng.random() < link.reorder:
            time += link.reorder_delay
        return time
