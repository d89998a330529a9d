"""What kind of place an address names: this host, the local network, the internet, a relay."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from multiaddr import Multiaddr

from carrick.addressing.address import IPAddress, host_ip, ip_parts, is_relayed, join_parts
from carrick.addressing.codec import CACHE_SIZE, parts


class Reach(enum.Enum):
    """From where an address can be reached."""

    LOOPBACK = "loopback"
    """127/8, ::1, names under `.localhost`."""
    PRIVATE = "private"
    """RFC 1918, unique local IPv6 (RFC 4193), names of local networks (`.local`, …)."""
    LINK_LOCAL = "link-local"
    """169.254/16 and fe80::/10."""
    CGNAT = "cgnat"
    """100.64/10 (RFC 6598): behind the NAT of a provider."""
    PUBLIC = "public"
    """Any other unicast IP address; 6to4 and Teredo too (see `is_tunnelled`)."""
    UNSPECIFIED = "unspecified"
    """0.0.0.0 and ::, for listening on all interfaces."""
    RESERVED = "reserved"
    """Nobody can be there: multicast, documentation, benchmarking, future use."""
    NAME = "name"
    """A DNS name that may lead anywhere."""
    RELAYED = "relayed"
    """Over a relay."""
    MEMORY = "memory"
    """Within this process."""
    OTHER = "other"
    """None of these: `/unix/…`, `/onion3/…`, `/p2p/…` alone, …"""


def _networks(*texts: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# IANA's special-purpose address registries (RFC 6890 and its updates), the first match decides.
_KINDS = (
    (Reach.UNSPECIFIED, _networks("0.0.0.0/32", "::/128")),
    (Reach.LOOPBACK, _networks("127.0.0.0/8", "::1/128")),
    (Reach.LINK_LOCAL, _networks("169.254.0.0/16", "fe80::/10")),
    (Reach.CGNAT, _networks("100.64.0.0/10")),
    (Reach.PRIVATE, _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")),
    (
        Reach.RESERVED,
        _networks(
            "0.0.0.0/8",  # this network
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # the withdrawn 6to4 anycast
            "198.18.0.0/15",  # benchmarking
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # future use, broadcast
            "100::/64",  # discard
            "2001:db8::/32",  # documentation
            "3fff::/20",  # documentation
            "fec0::/10",  # the withdrawn site-local
            "ff00::/8",  # multicast
        ),
    ),
)
_6TO4 = ipaddress.IPv6Network("2002::/16")  # RFC 3056
_TEREDO = ipaddress.IPv6Network("2001::/32")  # RFC 4380
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052

_NAMES = frozenset({"dns", "dns4", "dns6", "dnsaddr"})
# RFC 6761, RFC 6762, RFC 8375; `.internal` was reserved by ICANN in 2024.
_LOCAL_DOMAINS = ("local", "home.arpa", "internal", "test")


@lru_cache(CACHE_SIZE)
def ip_reach(ip: IPAddress) -> Reach:
    """From where `ip` can be reached. IPv4-mapped and NAT64 addresses are judged by their IPv4."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return ip_reach(ip.ipv4_mapped)
        if ip in _NAT64:
            return ip_reach(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
    for kind, networks in _KINDS:
        if any(ip in network for network in networks):
            return kind
    return Reach.PUBLIC


@lru_cache(CACHE_SIZE)
def reach(address: Multiaddr) -> Reach:
    """From where `address` can be reached, judged by where it starts.

    Raises:
        InvalidAddress: `address` was made from bytes or text that are no address.
    """
    if is_relayed(address):
        return Reach.RELAYED
    ip = host_ip(address)
    if ip is not None:
        return ip_reach(ip)
    name, value = parts(address)[0]
    if name in _NAMES and value is not None:
        return _name_reach(value.lower().removesuffix("."))
    return Reach.MEMORY if name == "memory" else Reach.OTHER


def is_public(address: Multiaddr) -> bool:
    """Whether `address` leads to the internet directly: a public IP address, or a DNS name."""
    return reach(address) in (Reach.PUBLIC, Reach.NAME)


def is_tunnelled(address: Multiaddr) -> bool:
    """Whether `address` is 6to4 or Teredo: public, but often broken, and never better than IPv4."""
    ip = host_ip(address)
    return isinstance(ip, ipaddress.IPv6Address) and (ip in _6TO4 or ip in _TEREDO)


def expand_unspecified(address: Multiaddr, interfaces: Iterable[IPAddress]) -> list[Multiaddr]:
    """Put the IP addresses of `interfaces` in place of a leading 0.0.0.0 or ::.

    The family stays. Link-local IPv6 addresses are left out: without a zone they lead nowhere,
    and a zone means nothing to others. An address that names its IP comes back alone.

    Args:
        address: a listening address.
        interfaces: IP addresses of this host, as `SocketOpener.interface_addresses` has them.
    """
    ip = host_ip(address)
    if ip is None or not ip.is_unspecified:
        return [address]
    rest = parts(address)[1:]
    expanded = [
        join_parts((*ip_parts(own), *rest))
        for own in interfaces
        if own.version == ip.version and not (own.version == 6 and own.is_link_local)
    ]
    return list(dict.fromkeys(expanded))


def _name_reach(name: str) -> Reach:
    def under(domain: str) -> bool:
        return name == domain or name.endswith("." + domain)

    if under("localhost"):
        return Reach.LOOPBACK
    if any(under(domain) for domain in _LOCAL_DOMAINS):
        return Reach.PRIVATE
    return Reach.RESERVED if under("invalid") else Reach.NAME
