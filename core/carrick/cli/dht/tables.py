"""The table of a DHT, as `carrick dht stat` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from carrick.protocols.kademlia.network import DhtNetwork

__all__ = ["table_fields"]


def table_fields(network: DhtNetwork) -> dict[str, Any]:
    """One network's table in JSON."""
    table = network.dht.table
    size = network.dht.size.estimate(trio.current_time())
    return {
        "protocol": network.settings.protocol,
        "scope": network.settings.scope.value,
        "serving": network.serving,
        "contacts": len(table),
        "buckets": {str(bits): count for bits, count in table.bucket_sizes().items()},
        "estimated_peers": None if size is None else round(size.servers),
    }
