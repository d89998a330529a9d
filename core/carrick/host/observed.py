"""Where others see us: which of their words become addresses of ours. No I/O; `now` is passed in.

What one peer says may be a lie or a mistake. An address counts once peers of several independent
networks see it. Only what is seen over a connection that leaves from, or came to, a port that we
listen on says anything about that port: a NAT gives other ports other mappings. The rules follow
go-libp2p, p2p/host/observedaddrs.
"""

from __future__ import annotations

import ipaddress
import math
from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from carrick.addressing import (
    IPAddress,
    Multiaddr,
    host_ip,
    ip_endpoint,
    ip_reach,
    is_relayed,
    join_parts,
    parts,
)
from carrick.addressing.reach import Reach
from carrick.interfaces import Endpoint

__all__ = ["OBSERVERS", "ObservedAddresses", "Sighting"]

OBSERVERS = 4  # independent ones; go's ActivationThresh
MAX_OBSERVATIONS = 1024  # of connections, in all
MAX_PER_OBSERVER = 8  # of one IPv4 address or IPv6 /56
MAX_PER_LISTENER = 3  # addresses; go's maxExternalThinWaistAddrsPerLocalAddr
LIFETIME = 1800.0  # s that an observation outlives its connection

Observer: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Network"


@dataclass(frozen=True, slots=True)
class Sighting:
    """Over one connection, a peer sees us at `seen`.

    Attributes:
        protocol: `tcp` or `udp`.
        local: our endpoint of the connection.
        observer: the peer's IPv4 address or IPv6 /56.
    """

    protocol: str
    local: Endpoint
    observer: Observer
    seen: Endpoint


@dataclass(slots=True)
class _Observation:
    protocol: str
    ip: IPAddress
    port: int
    seen: Endpoint
    observer: Observer
    expires: float = math.inf


class ObservedAddresses:
    """Collects observations, and tells which addresses they amount to.

    Args:
        observers: how many independent ones an address needs; 4 suits a node that stays, 1 a
            command that runs once.

    Attributes:
        private: private addresses count as well, for networks in which they are the public ones.
    """

    def __init__(self, *, observers: int = OBSERVERS) -> None:
        if observers < 1:
            raise ValueError(f"an address needs at least one observer, not {observers}")
        self.observers = observers
        self.private = False
        self._observations: OrderedDict[Hashable, _Observation] = OrderedDict()
        """By connection, the oldest first."""
        self._by_observer: Counter[Observer] = Counter()
        self._next_expiry = math.inf
        self._found: dict[tuple[object, ...], tuple[Multiaddr, ...]] = {}

    def __len__(self) -> int:
        return len(self._observations)

    def record(
        self,
        connection: Hashable,
        *,
        local: Multiaddr,
        remote: Multiaddr,
        seen: Multiaddr,
        now: float,
    ) -> bool:
        """A peer sees us at `seen`; returns whether that can mean anything.

        Args:
            connection: stands for the connection; its last word counts.
            local: our address of the connection.
            remote: the peer's.
        """
        observation = _observation(local, remote, seen, self.private)
        if observation is None:
            return False
        self._expire(now)
        self._drop(connection)
        if self._by_observer[observation.observer] >= MAX_PER_OBSERVER:
            self._drop(
                next(
                    key
                    for key, each in self._observations.items()
                    if each.observer == observation.observer
                )
            )
        elif len(self._observations) >= MAX_OBSERVATIONS:
            self._drop(next(iter(self._observations)))
        self._observations[connection] = observation
        self._by_observer[observation.observer] += 1
        self._found.clear()
        return True

    def ended(self, connection: Hashable, now: float) -> None:
        """The connection has ended: what was observed over it holds for half an hour more."""
        observation = self._observations.get(connection)
        if observation is not None:
            observation.expires = now + LIFETIME
            self._next_expiry = min(self._next_expiry, observation.expires)

    def active(self, listening: Iterable[Multiaddr], now: float) -> tuple[Multiaddr, ...]:
        """The addresses that enough observers see, the most seen first."""
        return self.candidates(listening, now, observers=self.observers)

    def candidates(
        self, listening: Iterable[Multiaddr], now: float, *, observers: int = 1
    ) -> tuple[Multiaddr, ...]:
        """The addresses that so many observers see: at most three for each of `listening`.

        Args:
            listening: the bound addresses; wildcard hosts as they were given.
        """
        self._expire(now)
        listening = tuple(listening)
        key = (observers, listening)
        if key not in self._found:
            if len(self._found) >= 8:
                self._found.clear()
            counts = self.counts(listening, now)
            self._found[key] = tuple(each for each in counts if counts[each] >= observers)
        return self._found[key]

    def counts(self, listening: Iterable[Multiaddr], now: float) -> dict[Multiaddr, int]:
        """How many observers see us at each of the candidates, in their order."""
        self._expire(now)
        found: dict[Multiaddr, int] = {}
        for own in listening:
            for address, count in self._seen_for(own):
                found[address] = max(count, found.get(address, 0))
        return found

    def sightings(self, now: float) -> tuple[Sighting, ...]:
        """Everything that was observed, the oldest first: a NAT's behaviour shows in it."""
        self._expire(now)
        return tuple(
            Sighting(each.protocol, (str(each.ip), each.port), each.observer, each.seen)
            for each in self._observations.values()
        )

    def _seen_for(self, listener: Multiaddr) -> list[tuple[Multiaddr, int]]:
        protocol, bound = _endpoint(listener)
        if bound is None:
            return []
        voters: dict[Endpoint, set[Observer]] = {}
        ip, port = _ip(bound), bound[1]
        for each in self._observations.values():
            if each.port == port and each.protocol == protocol and _is_of(each.ip, ip):
                voters.setdefault(each.seen, set()).add(each.observer)
        # Equal ones in the order in which they were first seen.
        best = sorted(voters, key=lambda seen: -len(voters[seen]))[:MAX_PER_LISTENER]
        return [(_at(listener, seen), len(voters[seen])) for seen in best]

    def _expire(self, now: float) -> None:
        if now < self._next_expiry:
            return
        for key in [key for key, each in self._observations.items() if each.expires <= now]:
            self._drop(key)
        self._next_expiry = min(
            (each.expires for each in self._observations.values()), default=math.inf
        )

    def _drop(self, connection: Hashable) -> None:
        observation = self._observations.pop(connection, None)
        if observation is not None:
            self._found.clear()
            self._by_observer[observation.observer] -= 1
            if not self._by_observer[observation.observer]:
                del self._by_observer[observation.observer]


def _observation(
    local: Multiaddr, remote: Multiaddr, seen: Multiaddr, private: bool
) -> _Observation | None:
    """What the three addresses amount to; None if it says nothing about a public address."""
    if is_relayed(local) or is_relayed(remote) or is_relayed(seen):
        return None
    outside = _outside(host_ip(remote), private)
    if outside is None:
        return None
    (protocol, here), (protocol_seen, there) = _endpoint(local), _endpoint(seen)
    if here is None or there is None or protocol_seen != protocol:
        return None
    seen_ip = _outside(_ip(there), private)
    own_ip = _ip(here)
    if seen_ip is None or own_ip.version != seen_ip.version:
        return None
    observer: Observer
    if isinstance(outside, ipaddress.IPv4Address):
        observer = outside
    else:
        observer = ipaddress.IPv6Network((outside, 56), strict=False)
    return _Observation(protocol, own_ip, here[1], (str(seen_ip), there[1]), observer)


def _outside(ip: IPAddress | None, private: bool) -> IPAddress | None:
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ipaddress.IPv6Address(int(ip))
    kinds = (Reach.PUBLIC, Reach.PRIVATE, Reach.CGNAT) if private else (Reach.PUBLIC,)
    return ip if ip is not None and ip_reach(ip) in kinds else None


def _endpoint(address: Multiaddr) -> tuple[str, Endpoint | None]:
    tcp = ip_endpoint(address, "tcp")
    return ("tcp", tcp) if tcp is not None else ("udp", ip_endpoint(address, "udp"))


def _ip(endpoint: Endpoint) -> IPAddress:
    return ipaddress.ip_address(endpoint[0].partition("%")[0])


def _is_of(local: IPAddress, bound: IPAddress) -> bool:
    """Whether a connection at `local` is one of the socket that is bound to `bound`."""
    if local.version != bound.version:
        return False
    return local == bound or local.is_unspecified or bound.is_unspecified


def _at(listener: Multiaddr, seen: Endpoint) -> Multiaddr:
    """`listener` with the IP address and port of `seen`."""
    components: Sequence[tuple[str, str | None]] = parts(listener)
    if components[0][0] == "ip6zone":
        components = components[1:]
    (family, _), (protocol, _), *rest = components
    return join_parts(((family, seen[0]), (protocol, str(seen[1])), *rest))
