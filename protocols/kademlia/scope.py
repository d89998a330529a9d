"""Which addresses a DHT works with: those of the internet, those of a local network, or any."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Hashable, Iterable

from carrick.addressing import Multiaddr, Reach, host_ip, is_tunnelled, reach

__all__ = ["Scope", "networks"]

_WIDE = frozenset({Reach.PUBLIC, Reach.NAME, Reach.RELAYED})
_LOCAL = frozenset(
    {Reach.LOOPBACK, Reach.PRIVATE, Reach.LINK_LOCAL, Reach.CGNAT, Reach.MEMORY, Reach.OTHER}
)


class Scope(enum.Enum):
    """Where the peers of a DHT are (go-libp2p-kad-dht, dual)."""

    WAN = "wan"
    LAN = "lan"
    ANY = "any"

    def admits(self, address: Multiaddr) -> bool:
        """Whether peers of this DHT are told of `address`, and dialled there."""
        kind = reach(address)
        if self is Scope.WAN:
            return kind in _WIDE and not is_tunnelled(address)
        return kind is not Reach.UNSPECIFIED and (self is Scope.ANY or kind in _LOCAL)


def networks(addresses: Iterable[Multiaddr]) -> frozenset[Hashable]:
    """The networks of some addresses, for the diversity of the table: IPv4 /16 and IPv6 /32.

    Source: go-libp2p-kad-dht, rt_diversity_filter.go, which takes the AS of an IPv6 address.
    """
    found: set[Hashable] = set()
    for address in addresses:
        ip = host_ip(address)
        if ip is not None:
            bits = 16 if isinstance(ip, ipaddress.IPv4Address) else 32
            found.add(ip.packed[: bits // 8])
    return frozenset(found)
