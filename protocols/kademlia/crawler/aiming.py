"""Keys that share a given number of bits with a peer, for many peers. No I/O."""

from __future__ import annotations

import random
from array import array
from hashlib import sha256

from carrick.protocols.kademlia.keyspace import BITS, MAX_AIMED

__all__ = ["AimedKeys"]

_HEAD = MAX_AIMED + 1  # bits that are looked at


class AimedKeys:
    """Finds keys as `keyspace.key_sharing` does, but remembers every key that it tried: a whole
    crawl takes about a million hashes, not a hundred thousand for each peer.

    Args:
        rng: makes the keys of one crawl differ from those of another.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._salt = b"\x12\x20" + rng.randbytes(24)  # a multihash: SHA-256, 32 bytes
        self._numbers = array("Q", bytes(8 << _HEAD))
        """For each beginning of a place, which number leads there; 0: none is known."""
        self._last = 0

    def sharing(self, place: int, bits: int) -> bytes:
        """A key whose place shares exactly `bits` bits with `place`.

        Raises:
            ValueError: more than `MAX_AIMED` bits.
        """
        if not 0 <= bits <= MAX_AIMED:
            raise ValueError(f"keys are sought that share up to {MAX_AIMED} bits, not {bits}")
        free = MAX_AIMED - bits  # bits of the beginning that do not matter
        wanted = (place >> BITS - _HEAD ^ 1 << free) >> free
        number = self._numbers[wanted << free | self._rng.getrandbits(_HEAD) & (1 << free) - 1]
        while not number:
            self._last += 1
            at = int.from_bytes(sha256(self._key(self._last)).digest()[: _HEAD // 8], "big")
            self._numbers[at] = self._last
            if at >> free == wanted:
                number = self._last
        return self._key(number)

    def _key(self, number: int) -> bytes:
        return self._salt + number.to_bytes(8, "big")
