"""The connection gater: a person's word on whom to connect with.

The swarm asks at five points, each as early as the answer can be known. Implementations are quick
and synchronous; they may refuse, and never close anything themselves.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Protocol, TypeAlias

from carrick.addressing import host_ip
from carrick.interfaces import Direction, MuxedConnection

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.identity import PeerId

__all__ = ["AllowAll", "BlockList", "ConnectionGater"]

Subnet: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class ConnectionGater(Protocol):
    """Each hook returns whether to go on."""

    def allow_dial_peer(self, peer: PeerId) -> bool:
        """Before any address of the peer is looked at."""

    def allow_dial(self, peer: PeerId | None, address: Multiaddr) -> bool:
        """Before an address, with its names resolved, is dialled."""

    def allow_accept(self, local: Multiaddr, remote: Multiaddr) -> bool:
        """A connection was accepted; nothing is known but its addresses."""

    def allow_secured(self, direction: Direction, peer: PeerId, remote: Multiaddr) -> bool:
        """The other side's identity is proven."""

    def allow_upgraded(self, connection: MuxedConnection) -> bool:
        """The connection is ready. A refusal is told to the peer by a close code."""


class AllowAll:
    """The default gater; also a base for one that overrides a single hook."""

    def allow_dial_peer(self, peer: PeerId) -> bool:
        return True

    def allow_dial(self, peer: PeerId | None, address: Multiaddr) -> bool:
        return True

    def allow_accept(self, local: Multiaddr, remote: Multiaddr) -> bool:
        return True

    def allow_secured(self, direction: Direction, peer: PeerId, remote: Multiaddr) -> bool:
        return True

    def allow_upgraded(self, connection: MuxedConnection) -> bool:
        return True


class BlockList(AllowAll):
    """Refuses peers, IP addresses and subnets, in both directions. May be changed at any time.

    A change does not close connections that are there.
    """

    def __init__(self) -> None:
        self.peers: set[PeerId] = set()
        self.subnets: set[Subnet] = set()
        """Single addresses are subnets of one."""

    def block_peer(self, peer: PeerId) -> None:
        self.peers.add(peer)

    def unblock_peer(self, peer: PeerId) -> None:
        self.peers.discard(peer)

    def block_subnet(self, subnet: str | Subnet) -> None:
        """Block an address or a subnet, such as `192.0.2.7` or `2001:db8::/32`.

        Raises:
            ValueError: it is neither.
        """
        self.subnets.add(ipaddress.ip_network(subnet))

    def unblock_subnet(self, subnet: str | Subnet) -> None:
        self.subnets.discard(ipaddress.ip_network(subnet))

    def allow_dial_peer(self, peer: PeerId) -> bool:
        return peer not in self.peers

    def allow_dial(self, peer: PeerId | None, address: Multiaddr) -> bool:
        return self._allows(address)

    def allow_accept(self, local: Multiaddr, remote: Multiaddr) -> bool:
        return self._allows(remote)

    def allow_secured(self, direction: Direction, peer: PeerId, remote: Multiaddr) -> bool:
        return peer not in self.peers

    def _allows(self, address: Multiaddr) -> bool:
        if not self.subnets:
            return True
        ip = host_ip(address)
        if ip is None:
            return True
        if ip.version == 6 and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return not any(ip in subnet for subnet in self.subnets)
