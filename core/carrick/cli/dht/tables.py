"""The table of a DHT, as `carrick dht stat` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from carrick.cli.output import milliseconds

if TYPE_CHECKING:
    from carrick.protocols.kademlia import FullTable
    from carrick.protocols.kademlia.network import DhtNetwork

__all__ = ["table_fields"]


def table_fields(network: DhtNetwork) -> dict[str, Any]:
    """One network's table in JSON."""
    table = network.dht.table
    size = network.dht.network_size()
    return {
        "protocol": network.settings.protocol,
        "scope": network.settings.scope.value,
        "serving": network.serving,
        "contacts": len(table),
        "buckets": {str(bits): count for bits, count in table.bucket_sizes().items()},
        "estimated_peers": None if size is None else round(size.servers),
        "full_table": None if network.full_table is None else _full_table(network.full_table),
    }


def _full_table(table: FullTable) -> dict[str, Any]:
    last = table.last
    return {
        "servers": len(table.dht.servers),
        "crawling": table.crawling,
        "visited": None if last is None else last.visited,
        "crawl_ms": None if last is None else milliseconds(last.seconds),
        "age_ms": None if last is None else milliseconds(trio.current_time() - last.at),
    }
