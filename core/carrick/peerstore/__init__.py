"""What is known of peers: addresses, signed records, protocols, keys; in memory or in a file."""

from __future__ import annotations

from carrick.peerstore.bounds import Bounds, Ttl
from carrick.peerstore.interface import Peerstore
from carrick.peerstore.memory import MemoryPeerstore
from carrick.peerstore.sqlite import SqlitePeerstore

__all__ = ["Bounds", "MemoryPeerstore", "Peerstore", "SqlitePeerstore", "Ttl"]
