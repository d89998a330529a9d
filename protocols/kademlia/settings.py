"""Which DHT: its protocol, its addresses, its parameters."""

from __future__ import annotations

from dataclasses import dataclass

from carrick.protocols.kademlia.lookup import ALPHA, K
from carrick.protocols.kademlia.scope import Scope
from carrick.protocols.kademlia.table import MAX_PER_GROUP, MAX_PER_GROUP_AND_BUCKET

__all__ = ["LAN", "REFRESH", "WAN", "NetworkSettings"]

REFRESH = 600.0  # s between lookups through a bucket (kad-dht/README.md, "Bootstrap process")


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """Which DHT.

    Attributes:
        protocol: its protocol id.
        scope: the addresses that its peers have.
        max_per_group: contacts in the table of one IPv4 /16 or IPv6 /32; None: as many as come.
        max_per_group_and_bucket: the same in one bucket.
        k: how many peers keep a record, and fit into a bucket.
        alpha: how many are asked at once.
        paths: disjoint paths of a lookup.
        refresh: seconds between two looks after the table.
    """

    protocol: str
    scope: Scope
    max_per_group: int | None = MAX_PER_GROUP
    max_per_group_and_bucket: int | None = MAX_PER_GROUP_AND_BUCKET
    k: int = K
    alpha: int = ALPHA
    paths: int = 1
    refresh: float = REFRESH


WAN = NetworkSettings("/ipfs/kad/1.0.0", Scope.WAN)
LAN = NetworkSettings("/ipfs/lan/kad/1.0.0", Scope.LAN, None, None)
