"""Which addresses a dial-back may go to."""

from __future__ import annotations

import ipaddress

from carrick.addressing import (
    IPAddress,
    Multiaddr,
    Reach,
    host_ip,
    ip_reach,
    is_relayed,
    is_tunnelled,
    split_peer,
)
from carrick.errors import AddressError, IdentityError
from carrick.identity import PeerId

__all__ = ["can_be_probed", "for_dial_back", "plain_ip", "voter"]

_INSIDE = frozenset({Reach.PUBLIC, Reach.PRIVATE, Reach.CGNAT, Reach.LOOPBACK})


def plain_ip(ip: IPAddress | None) -> IPAddress | None:
    """`ip` without a zone, and as IPv4 if it is an IPv4-mapped IPv6 address: for comparing."""
    if isinstance(ip, ipaddress.IPv6Address):
        return ip.ipv4_mapped or ipaddress.IPv6Address(int(ip))
    return ip


def can_be_probed(address: Multiaddr, *, allow_private: bool = False) -> bool:
    """Whether AutoNAT has anything to say about `address`: an IP address of the internet.

    Names are left out: where they lead decides the name server of whoever asks. 6to4 and Teredo
    too: they lead to an IPv4 address that nobody looked at.

    Args:
        allow_private: take private and loopback addresses too; for tests.
    """
    ip = plain_ip(host_ip(address))
    if ip is None or is_relayed(address) or is_tunnelled(address):
        return False
    place = ip_reach(ip)
    return place is Reach.PUBLIC or (allow_private and place in _INSIDE)


def for_dial_back(address: Multiaddr, peer: PeerId, *, allow_private: bool) -> Multiaddr | None:
    """`address` as we would dial it for `peer`, without `/p2p/`; None if we would not."""
    try:
        bare, named = split_peer(address)
        fits = named in (None, peer) and can_be_probed(bare, allow_private=allow_private)
    except (AddressError, IdentityError):
        return None
    return bare if fits else None


def voter(remote: Multiaddr, peer: PeerId) -> object:
    """Who counts as one in finding out what we are: an IPv4 address, an IPv6 /56. Within a private
    network, where one owner has all addresses anyway, each peer."""
    ip = plain_ip(host_ip(remote))
    if ip is None or ip_reach(ip) is not Reach.PUBLIC:
        return peer
    return ip if ip.version == 4 else ipaddress.ip_network((ip, 56), strict=False)
