"""Providing before the lookup is over: peers that are near enough to be among the k nearest, as
the size of the network tells, are told at once. No I/O.

Source: go-libp2p-kad-dht, lookup_optim.go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from carrick.protocols.kademlia.lookup import K
from carrick.protocols.kademlia.messages import PeerInfo
from carrick.protocols.kademlia.sizing import gamma_quantile, normed_distance

__all__ = ["POOL", "OptimisticProvide"]

CERTAINTY = 0.9  # that a peer is one of the k nearest (lookup_optim.go)
STRICTNESS = 0.1  # the chance that the k nearest are farther away than what ends the lookup
RETURN_RATIO = 0.75  # of those told must have ended before it returns
POOL = 60  # peers still being told after it has returned


class OptimisticProvide:
    """One provide.

    Args:
        key: the place of what is provided.
        servers: how many the network has, as far as we know.

    Attributes:
        near: a peer within this share of the keyspace is told at once.
        enough: if the k nearest are on average within this one, nobody nearer is looked for.
    """

    def __init__(self, key: int, servers: float, k: int = K) -> None:
        self._key = key
        self._k = k
        self.near = gamma_quantile(k, 1 - CERTAINTY) / servers
        self.enough = gamma_quantile(k / 2 + 1, 1 - STRICTNESS) / servers
        self._told: dict[bytes, None] = {}

    def tell(self, peers: Sequence[PeerInfo]) -> list[PeerInfo]:
        """Those of `peers` that have not been told; they count as told."""
        fresh = [each for each in peers if each.id.to_bytes() not in self._told]
        self._told.update((each.id.to_bytes(), None) for each in fresh)
        return fresh

    def look(self, nearest: Sequence[PeerInfo]) -> tuple[list[PeerInfo], bool]:
        """
        Args:
            nearest: the k nearest that the lookup has heard of.

        Returns:
            Whom to tell now, and whether the lookup may end.
        """
        distances = [normed_distance(each.id, self._key) for each in nearest]
        near = [each for each, far in zip(nearest, distances, strict=True) if far <= self.near]
        fresh = self.tell(near)
        if len(self._told) >= self._k:
            return fresh, True
        whole = len(distances) == self._k
        return fresh, whole and sum(distances) / self._k < self.enough

    @property
    def awaited(self) -> int:
        """How many of those told must have ended before it returns."""
        return min(len(self._told), math.ceil(self._k * RETURN_RATIO))
