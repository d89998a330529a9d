"""How many servers a DHT has, from how near the nearest are. No I/O; `now` is passed in.

Places in the keyspace are as good as random, so of n servers the i-th nearest to a key is at i / n
of the whole keyspace on average, and the distance of the k-th is all that k of them tell about n:
n times it is distributed as Gamma(k). Over several lookups, n is (lookups * k - 1) / (sum of those
distances), without bias, and with a relative error of 1 / sqrt(lookups * k).

go-libp2p-kad-dht (netsize/netsize.go) fits a line through the k mean distances instead.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from carrick.identity import PeerId
from carrick.protocols.kademlia.keyspace import BITS, peer_key
from carrick.protocols.kademlia.lookup import K

__all__ = ["SizeEstimate", "SizeEstimator", "gamma_quantile", "normed_distance"]

MAX_AGE = 2 * 3600.0  # s (netsize.go)
MIN_LOOKUPS = 5  # (the same)
MAX_LOOKUPS = 150  # (the same)
_STEPS = 80  # halvings: more than a float has bits


@dataclass(frozen=True, slots=True)
class SizeEstimate:
    """How many servers a DHT has, ourselves left out.

    Attributes:
        servers: the estimate.
        error: its standard error, as a share of it; 0 where all of them were counted.
        lookups: how many lookups it rests on.
    """

    servers: float
    error: float
    lookups: int


class _Sample(NamedTuple):
    distance: float
    found: int
    at: float


class SizeEstimator:
    """Takes in lookups, and estimates.

    Args:
        k: how many nearest peers a lookup finds, in a DHT that has as many.
    """

    def __init__(self, k: int = K) -> None:
        self._k = k
        self._samples: OrderedDict[int, _Sample] = OrderedDict()
        """By key: who looks for the same again learns nothing new. The latest are at the end."""

    def track(self, key: int, closest: Sequence[PeerId], now: float) -> None:
        """A lookup for `key` came to its end, and found these peers, nearest first."""
        if not closest:
            return
        peers = closest[: self._k]
        self._samples[key] = _Sample(normed_distance(peers[-1], key), len(peers), now)
        self._samples.move_to_end(key)
        if len(self._samples) > MAX_LOOKUPS:
            self._samples.popitem(last=False)

    def estimate(self, now: float) -> SizeEstimate | None:
        """None: there were too few lookups of late."""
        while self._samples and now - next(iter(self._samples.values())).at >= MAX_AGE:
            self._samples.popitem(last=False)
        samples = list(self._samples.values())
        if len(samples) < MIN_LOOKUPS:
            return None
        latest = samples[-MIN_LOOKUPS:]
        most = max(each.found for each in latest)
        if most < self._k:  # then a lookup finds them all
            return SizeEstimate(most, 0.0, len(latest))
        full = [each.distance for each in samples if each.found == self._k]
        if len(full) < MIN_LOOKUPS or not sum(full):
            return None
        points = len(full) * self._k
        return SizeEstimate((points - 1) / sum(full), 1 / math.sqrt(points), len(full))


def normed_distance(peer: PeerId, key: int) -> float:
    """0 to 1: as a share of the keyspace."""
    return math.ldexp(float(peer_key(peer) ^ key), -BITS)


@lru_cache
def gamma_quantile(shape: float, probability: float) -> float:
    """Where the distribution Gamma(shape, 1) reaches `probability`, which is between 0 and 1."""
    low, high = 0.0, shape + 20 * math.sqrt(shape) + 20
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _gamma(shape, middle) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _gamma(shape: float, x: float) -> float:
    """The regularised lower incomplete gamma function, by its power series."""
    if x <= 0:
        return 0.0
    term = math.exp(shape * math.log(x) - x - math.lgamma(shape + 1))
    total, n = 0.0, 0
    while term > total * 1e-17:
        total += term
        n += 1
        term *= x / (shape + n)
    return min(total, 1.0)
