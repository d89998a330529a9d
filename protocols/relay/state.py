"""The relay's bookkeeping, the bytes of a circuit, and when a reservation is asked for again.

No I/O: `now` is passed in, in seconds of any clock that does not jump.
"""

from __future__ import annotations

import ipaddress
import math
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field

from carrick.addressing import IPAddress
from carrick.identity import PeerId
from carrick.network.admission import TokenBucket
from carrick.protocols.relay.messages import Status

__all__ = ["Allowance", "Capacity", "Refused", "RefreshSchedule", "Slots", "lifetime"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What a relay gives away at most; all go-libp2p's defaults (`circuitv2/relay/resources.go`).

    Attributes:
        reservations: in all. A peer has one.
        reservations_per_ip: of one IPv4 address or one IPv6 /56.
        reservations_per_asn: of one autonomous system, where it is known.
        circuits_per_peer: that begin or end at one peer.
        requests: RESERVE messages of one peer: so many at once (rust: 30),
        request_interval: and then one in so many seconds (rust: 30 in 2 minutes).
        ttl: how long a reservation holds, in seconds.
    """

    reservations: int = 128
    reservations_per_ip: int = 8
    reservations_per_asn: int = 32
    circuits_per_peer: int = 16
    requests: int = 30
    request_interval: float = 4.0
    ttl: float = 3600.0


class Refused(Exception):  # noqa: N818
    """A request is refused with `status`."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


@dataclass(slots=True)
class _Slot:
    expires: float
    place: Hashable
    asn: int | None
    bucket: TokenBucket


@dataclass
class Slots:
    """Who has a reservation, and how many circuits each peer has."""

    capacity: Capacity
    _slots: dict[PeerId, _Slot] = field(default_factory=dict)
    _circuits: Counter[PeerId] = field(default_factory=Counter)

    @property
    def reservations(self) -> int:
        return len(self._slots)

    @property
    def circuits(self) -> int:
        return sum(self._circuits.values()) // 2

    def reserve(
        self, peer: PeerId, ip: IPAddress | None, now: float, *, asn: int | None = None
    ) -> float:
        """Give `peer` a slot, or renew the one it has; returns when it expires.

        Args:
            ip: where the peer is; all without one count as one address.

        Raises:
            Refused: there are too many. A slot that the peer has stays as it is.
        """
        self.expire(now)
        capacity, place = self.capacity, _place(ip)
        present = self._slots.get(peer)
        if present is None:
            bucket = TokenBucket(1 / capacity.request_interval, capacity.requests, now)
        else:
            bucket = present.bucket
        if not bucket.take(now):
            raise Refused(Status.RESOURCE_LIMIT_EXCEEDED)
        others = [slot for each, slot in self._slots.items() if each != peer]
        here = sum(slot.place == place for slot in others)
        same_asn = 0 if asn is None else sum(slot.asn == asn for slot in others)
        if (
            len(others) >= capacity.reservations
            or here >= capacity.reservations_per_ip
            or same_asn >= capacity.reservations_per_asn
        ):
            raise Refused(Status.RESERVATION_REFUSED)
        expires = now + capacity.ttl
        self._slots[peer] = _Slot(expires, place, asn, bucket)
        return expires

    def has(self, peer: PeerId, now: float) -> bool:
        slot = self._slots.get(peer)
        return slot is not None and slot.expires > now

    def drop(self, peer: PeerId) -> bool:
        """The peer has gone. Returns whether it had a reservation."""
        return self._slots.pop(peer, None) is not None

    def expire(self, now: float) -> list[PeerId]:
        """Forget the reservations whose time is over; returns whose they were."""
        over = [peer for peer, slot in self._slots.items() if slot.expires <= now]
        for peer in over:
            del self._slots[peer]
        return over

    def open_circuit(self, source: PeerId, target: PeerId, now: float) -> None:
        """Count a circuit; `close_circuit` must follow.

        Raises:
            Refused: `target` has no reservation, or one of them has too many circuits.
        """
        if not self.has(target, now):
            raise Refused(Status.NO_RESERVATION)
        most = self.capacity.circuits_per_peer
        if self._circuits[source] >= most or self._circuits[target] >= most:
            raise Refused(Status.RESOURCE_LIMIT_EXCEEDED)
        self._circuits[source] += 1
        self._circuits[target] += 1

    def close_circuit(self, source: PeerId, target: PeerId) -> None:
        for peer in (source, target):
            self._circuits[peer] -= 1
            if not self._circuits[peer]:
                del self._circuits[peer]


def _place(ip: IPAddress | None) -> Hashable:
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            return int(ip) >> 72  # the /56 that a home is given
        ip = ip.ipv4_mapped
    return ip


class Allowance:
    """How many bytes may still pass one way. 0 bytes from the start is no limit."""

    __slots__ = ("_left", "exceeded", "passed")

    def __init__(self, data: int) -> None:
        self._left = data if data else math.inf
        self.passed = 0
        self.exceeded = False

    def readable(self, most: int) -> int:
        """How many bytes to read next: one more than allowed shows that there are too many."""
        return int(min(most, self._left + 1))

    def take(self, size: int) -> int:
        """`size` bytes came. Returns how many of them may pass; fewer set `exceeded`."""
        allowed = int(min(size, self._left))
        self._left -= allowed
        self.passed += allowed
        self.exceeded = allowed < size
        return allowed


class RefreshSchedule:
    """When a reservation is to be asked for next.

    A reservation is renewed two to four minutes before it expires (go: two), or for short ones
    after a third to two thirds of their time. After a failure it is tried again after about 5, 10,
    20, … seconds, at most 10 minutes.
    """

    SLACK = 120.0  # s; go-libp2p p2p/host/autorelay, rsvpExpirationSlack
    RETRY = 5.0  # s
    MAX_RETRY = 600.0  # s

    def __init__(self) -> None:
        self.expires = -math.inf
        self.due = -math.inf
        self._failures = 0

    def granted(self, now: float, lifetime: float, chance: float) -> None:
        """It was given for `lifetime` seconds. `chance` is random, from 0 to 1."""
        self._failures = 0
        self.expires = now + lifetime
        self.due = self.expires - min(self.SLACK, lifetime / 3) * (1 + chance)

    def failed(self, now: float, chance: float) -> None:
        """Asking failed; what is there may go on."""
        wait = min(self.RETRY * 2.0 ** min(self._failures, 10), self.MAX_RETRY)
        self._failures += 1
        self.due = now + wait * (0.75 + chance / 2)

    def lost(self, now: float, chance: float) -> None:
        """The connection to the relay has ended, and with it the reservation."""
        self.expires = now
        self.due = now + chance  # many clients lose a relay at the same moment


def lifetime(expire: int, now: float, longest: float = 86400.0) -> float:
    """Seconds from the UNIX time `now` until `expire`, as far as a relay's clock can be believed.

    Raises:
        ValueError: it is over already.
    """
    seconds = expire - now
    if seconds <= 0:
        raise ValueError(f"a reservation that ended {-seconds:.0f} s ago")
    return min(seconds, longest)
