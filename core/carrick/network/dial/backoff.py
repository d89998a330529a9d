"""Addresses that failed are left alone for a while. No I/O; `now` is passed in, in seconds."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from multiaddr import Multiaddr

    from carrick.identity import PeerId

__all__ = ["Backoff"]

# go-libp2p p2p/net/swarm/swarm_dial.go
BASE = 5.0
COEFFICIENT = 1.0
MAXIMUM = 300.0
_CAPACITY = 8192  # peers; our own bound
_ADDRESSES = 100  # of a peer; as many as one dial takes


@dataclass(slots=True)
class _Entry:
    until: float
    failures: int


class Backoff:
    """How long each address of each peer is left alone: 5 s + 1 s · n² after n earlier failures."""

    def __init__(self, rng: random.Random) -> None:
        """
        Args:
            rng: adds up to a tenth, so that two peers that lost each other do not dial in step.
        """
        self._rng = rng
        self._peers: OrderedDict[PeerId, dict[Multiaddr, _Entry]] = OrderedDict()

    def __len__(self) -> int:
        """How many peers have a failed address."""
        return len(self._peers)

    def failed(self, peer: PeerId, address: Multiaddr, now: float) -> None:
        """A dial failed."""
        entries = self._peers.setdefault(peer, {})
        self._peers.move_to_end(peer)
        entry = entries.get(address)
        if entry is not None and now >= entry.until + _length(entry.failures):
            entry = None  # long ago: it begins anew
        if entry is None:
            entries[address] = _Entry(now + self._jittered(BASE), 1)
        else:
            entry.until = now + self._jittered(_length(entry.failures))
            entry.failures += 1
        self._bound(entries, now)

    def remaining(self, peer: PeerId, address: Multiaddr, now: float) -> float:
        """For how many seconds the address is left alone still; 0 if it may be dialled."""
        entry = self._peers.get(peer, {}).get(address)
        return 0.0 if entry is None else max(0.0, entry.until - now)

    def clear(self, peer: PeerId) -> None:
        """The peer was reached: forget its failures."""
        self._peers.pop(peer, None)

    def _jittered(self, length: float) -> float:
        return min(length * self._rng.uniform(1.0, 1.1), MAXIMUM)

    def _bound(self, entries: dict[Multiaddr, _Entry], now: float) -> None:
        if len(entries) > _ADDRESSES:
            del entries[next(iter(entries))]
        if len(self._peers) > _CAPACITY:
            self._peers.popitem(last=False)
        oldest = next(iter(self._peers))
        if all(
            now >= entry.until + _length(entry.failures) for entry in self._peers[oldest].values()
        ):
            del self._peers[oldest]


def _length(failures: int) -> float:
    return min(BASE + COEFFICIENT * failures**2, MAXIMUM)
