"""What is known of peers: addresses, signed records, protocols, keys; in memory or in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carrick.peerstore.bounds import Bounds, Ttl
from carrick.peerstore.interface import Peerstore
from carrick.peerstore.memory import MemoryPeerstore

if TYPE_CHECKING:
    from carrick.peerstore.sqlite import SqlitePeerstore

__all__ = ["Bounds", "MemoryPeerstore", "Peerstore", "SqlitePeerstore", "Ttl"]


def __getattr__(name: str) -> Any:
    if name == "SqlitePeerstore":  # most hosts keep nothing, and need no database
        from carrick.peerstore.sqlite import SqlitePeerstore

        return SqlitePeerstore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
