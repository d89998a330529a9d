"""The keyspace: 256-bit numbers, SHA-256 of what they stand for, near by XOR. No I/O.

Source: libp2p/specs, kad-dht/README.md, "Distance".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache

from carrick.identity import PeerId

__all__ = ["BITS", "MAX_AIMED", "common_prefix_length", "key_of", "key_sharing", "peer_key"]

BITS = 256
MAX_AIMED = 15  # bits that a key is sought for; each doubles the work (go-libp2p-kad-dht the same)


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


def key_sharing(place: int, bits: int, random_bytes: Callable[[int], bytes]) -> bytes:
    """Something to look for that shares exactly `bits` bits with `place`: the bytes of a random
    peer id. Found by trial, 2 ** (bits + 1) times on average.

    Raises:
        ValueError: more than `MAX_AIMED` bits.
    """
    if not 0 <= bits <= MAX_AIMED:
        raise ValueError(f"keys are sought that share up to {MAX_AIMED} bits, not {bits}")
    while True:
        key = b"\x12\x20" + random_bytes(32)  # a multihash: SHA-256, 32 bytes
        if common_prefix_length(key_of(key), place) == bits:
            return key
