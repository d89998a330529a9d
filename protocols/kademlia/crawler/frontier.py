"""Whom a crawl has seen, and whom it still has to visit. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from carrick.identity import PeerId
from carrick.protocols.kademlia.messages import PeerInfo

__all__ = ["Frontier"]

MAX_PEERS = 1_000_000
MAX_ADDRESSES = 64  # of a peer that waits; all the tables together may name more


class Frontier:
    """Every peer is visited once, in the order in which they were first heard of.

    Args:
        limit: visits in all; None: as many as there are peers.
        max_peers: peers that are remembered; others are counted in `left_out` only.
    """

    def __init__(self, *, limit: int | None = None, max_peers: int = MAX_PEERS) -> None:
        self._limit = limit
        self._max_peers = max_peers
        self._pending: dict[PeerId, dict[bytes, None]] = {}
        self._seen: set[PeerId] = set()
        self._running: set[PeerId] = set()
        self.visited = 0
        self.left_out = 0

    def __contains__(self, peer: PeerId) -> bool:
        """Whether it was ever heard of."""
        return peer in self._seen

    @property
    def seen(self) -> int:
        """Peers heard of."""
        return len(self._seen)

    @property
    def pending(self) -> int:
        """Peers to be visited."""
        return len(self._pending)

    @property
    def running(self) -> int:
        """Peers that are visited now."""
        return len(self._running)

    @property
    def finished(self) -> bool:
        """Nobody is visited now, and nobody will be."""
        return not self._running and (not self._pending or self._at_limit)

    @property
    def _at_limit(self) -> bool:
        return self._limit is not None and self.visited + self.running >= self._limit

    def add(self, peer: PeerInfo) -> bool:
        """Somebody named `peer`. Returns whether it was not known."""
        waiting = self._pending.get(peer.id)
        new = waiting is None and peer.id not in self._seen
        if new:
            if len(self._seen) >= self._max_peers:
                self.left_out += 1
                return False
            self._seen.add(peer.id)
            waiting = self._pending[peer.id] = {}
        if waiting is not None:
            for address in peer.encoded:
                if len(waiting) >= MAX_ADDRESSES:
                    break
                waiting[address] = None
        return new

    def skip(self, peers: Iterable[PeerId]) -> None:
        """These were visited by an earlier run."""
        for peer in peers:
            self._pending.pop(peer, None)
            self._seen.add(peer)
            self.visited += 1

    def next(self) -> PeerInfo | None:
        """Whom to visit now; `done` must follow. None: nobody, for now or at all."""
        if not self._pending or self._at_limit:
            return None
        peer = next(iter(self._pending))
        addresses = self._pending.pop(peer)
        self._running.add(peer)
        return PeerInfo(peer, tuple(addresses))

    def done(self, peer: PeerId) -> None:
        """Its visit is over, however it went."""
        self._running.remove(peer)
        self.visited += 1

    def unvisited(self) -> list[PeerInfo]:
        """Who is still to be visited; whoever is visited now is left out."""
        return [PeerInfo(peer, tuple(addresses)) for peer, addresses in self._pending.items()]
