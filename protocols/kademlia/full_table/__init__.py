"""A client that knows every server of a DHT: it crawls the network now and then, and asks the peers
nearest to a key without a lookup (go-libp2p-kad-dht, fullrt)."""

from __future__ import annotations

from carrick.protocols.kademlia.full_table.dht import FullTableDht
from carrick.protocols.kademlia.full_table.gathering import Gathering
from carrick.protocols.kademlia.full_table.keeping import FullTable, TableCrawled
from carrick.protocols.kademlia.full_table.servers import ServerTable

__all__ = ["FullTable", "FullTableDht", "Gathering", "ServerTable", "TableCrawled"]
