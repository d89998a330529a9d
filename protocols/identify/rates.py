"""How many pushes the peers of one network may send. No I/O; `now` is passed in."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import TypeAlias

from carrick.addressing import IPAddress, Reach, ip_reach
from carrick.network.admission import TokenBucket

__all__ = ["PushRates"]

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

# (prefix length, per second, burst), the narrowest first; go-libp2p p2p/protocol/identify/id.go
_OVERALL = (2000.0, 3000.0)
_IPV4 = ((24, 0.2, 10.0),)
_IPV6 = ((56, 0.2, 10.0), (48, 0.5, 20.0))
# Ours: many peers of a test or an office share a private network.
_PRIVATE_FACTOR = 10
_PRIVATE = frozenset({Reach.PRIVATE, Reach.CGNAT, Reach.LINK_LOCAL})
_MAX_NETWORKS = 4096


class PushRates:
    """Token buckets for each network that pushes came from, and one for all.

    Args:
        count_loopback: whether loopback is limited as the internet is; otherwise it is free.
    """

    def __init__(self, now: float, *, count_loopback: bool = False) -> None:
        self._count_loopback = count_loopback
        self._overall = TokenBucket(*_OVERALL, now)
        self._networks: OrderedDict[Network, TokenBucket] = OrderedDict()
        """The least recently used first."""

    def __len__(self) -> int:
        return len(self._networks)

    def allow(self, ip: IPAddress | None, now: float) -> bool:
        """Whether one more push from `ip` is within the rates; None counts only overall."""
        if ip is not None:
            if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
                ip = ip.ipv4_mapped
            if ip.is_loopback and not self._count_loopback:
                return True
            factor = _PRIVATE_FACTOR if ip_reach(ip) in _PRIVATE else 1
            for bits, rate, burst in _IPV4 if ip.version == 4 else _IPV6:
                network = ipaddress.ip_network((_plain(ip), bits), strict=False)
                if not self._bucket(network, rate * factor, burst * factor, now).take(now):
                    return False
        return self._overall.take(now)

    def _bucket(self, network: Network, rate: float, burst: float, now: float) -> TokenBucket:
        bucket = self._networks.get(network)
        if bucket is None:
            if len(self._networks) >= _MAX_NETWORKS:
                self._networks.popitem(last=False)
            bucket = self._networks[network] = TokenBucket(rate, burst, now)
        self._networks.move_to_end(network)
        return bucket


def _plain(ip: IPAddress) -> IPAddress:
    """`ip` without its zone."""
    return ipaddress.IPv6Address(int(ip)) if ip.version == 6 else ip
