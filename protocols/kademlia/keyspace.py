"""The keyspace: 256-bit numbers, SHA-256 of what they stand for, near by XOR. No I/O.

Source: libp2p/specs, kad-dht/README.md, "Distance".
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from carrick.identity import PeerId

__all__ = ["BITS", "common_prefix_length", "key_of", "peer_key"]

BITS = 256


def key_of(data: bytes) -> int:
    """The place of a record's key, or of a peer id's bytes, in the keyspace.

    The distance of two places is their XOR, as a number.
    """
    return int.from_bytes(hashlib.sha256(data).digest(), "big")


@lru_cache(65536)
def peer_key(peer: PeerId) -> int:
    """The place of a peer in the keyspace."""
    return key_of(peer.to_bytes())


def common_prefix_length(a: int, b: int) -> int:
    """How many bits two places share from the left; 256 for equal ones."""
    return BITS - (a ^ b).bit_length()
