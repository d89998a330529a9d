"""Multiaddrs: reading them strictly, what they mean, names, and in which order to dial them."""

from __future__ import annotations

from multiaddr import Multiaddr

from carrick.addressing.address import (
    IPAddress,
    decapsulate,
    encapsulate,
    endpoint_address,
    host_ip,
    ip_endpoint,
    is_relayed,
    join_parts,
    names,
    split_peer,
    tcp_endpoint,
    transport_name,
    with_peer,
)
from carrick.addressing.cid import Cid
from carrick.addressing.codec import (
    MAX_BYTES,
    address_from_bytes,
    address_text,
    parse_address,
    parts,
)
from carrick.addressing.ranking import rank
from carrick.addressing.reach import (
    Reach,
    expand_unspecified,
    ip_reach,
    is_public,
    is_tunnelled,
    reach,
)
from carrick.addressing.resolver import Query, Resolver
from carrick.addressing.system_dns import SystemDns

__all__ = [
    "MAX_BYTES",
    "Cid",
    "IPAddress",
    "Multiaddr",
    "Query",
    "Reach",
    "Resolver",
    "SystemDns",
    "address_from_bytes",
    "address_text",
    "decapsulate",
    "encapsulate",
    "endpoint_address",
    "expand_unspecified",
    "host_ip",
    "ip_endpoint",
    "ip_reach",
    "is_public",
    "is_relayed",
    "is_tunnelled",
    "join_parts",
    "names",
    "parse_address",
    "parts",
    "rank",
    "reach",
    "split_peer",
    "tcp_endpoint",
    "transport_name",
    "with_peer",
]
