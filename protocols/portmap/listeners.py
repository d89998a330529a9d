"""What of our listeners is mapped, and what a mapping makes of them. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

from carrick.addressing import (
    Multiaddr,
    Reach,
    host_ip,
    ip_endpoint,
    ip_reach,
    is_relayed,
    join_parts,
    parts,
)
from carrick.host import Layers
from carrick.interfaces import IPInterface
from carrick.protocols.portmap.mapping import Mapping, Port

__all__ = ["any_to_map", "layers_of", "mapped_addresses", "ports_to_map"]

MAX_PORTS = 16
"""Of ours that are mapped."""


def any_to_map(listening: Iterable[Multiaddr]) -> bool:
    """Whether a look at our network is worth it: not if we listen on loopback or IPv6 only."""
    return any(not ip.is_loopback for _, _, ip in _ports(listening))


def ports_to_map(listening: Iterable[Multiaddr], local: IPv4Address) -> list[Port]:
    """Ports on which we listen at `local`, our address on the gateway's network; at most 16."""
    found = [port for _, port, ip in _ports(listening) if ip.is_unspecified or ip == local]
    return list(dict.fromkeys(found))[:MAX_PORTS]


def mapped_addresses(
    listening: Iterable[Multiaddr], mappings: dict[Port, Mapping]
) -> Iterator[Multiaddr]:
    """Where our listeners are on the internet. A gateway that is not on it itself adds nothing."""
    for address, port, ip in _ports(listening):
        mapping = mappings.get(port)
        if mapping is None or not (ip.is_unspecified or ip == mapping.client):
            continue
        outside = mapping.external_address
        if outside is not None and ip_reach(outside) is Reach.PUBLIC:
            place = (("ip4", str(outside)), (port.protocol, str(mapping.external_port)))
            yield join_parts((*place, *parts(address)[2:]))


def layers_of(outside: IPv4Address, interfaces: Iterable[IPInterface]) -> Layers:
    """What a gateway's address outside says about the NATs on the way.

    One that is on an interface of ours leads to no other network, so it says nothing.
    """
    if any(own.ip == outside for own in interfaces):
        return Layers.UNKNOWN
    kinds = {
        Reach.PUBLIC: Layers.ONE,
        Reach.PRIVATE: Layers.DOUBLE,
        Reach.CGNAT: Layers.CARRIER,
    }
    return kinds.get(ip_reach(outside), Layers.UNKNOWN)


def _ports(listening: Iterable[Multiaddr]) -> Iterator[tuple[Multiaddr, Port, IPv4Address]]:
    """The TCP and UDP ports that are listened on by IPv4, with the addresses there."""
    for address in listening:
        ip = host_ip(address)
        if not isinstance(ip, IPv4Address) or is_relayed(address):
            continue
        if (tcp := ip_endpoint(address, "tcp")) is not None:
            yield address, Port("tcp", tcp[1]), ip
        elif (udp := ip_endpoint(address, "udp")) is not None:
            yield address, Port("udp", udp[1]), ip
