"""Asks given peers, all at once, without following whom they name. No I/O; `now` is passed in.

Source of the numbers: go-libp2p-kad-dht, fullrt/dht.go.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from carrick.identity import PeerId
from carrick.protocols.kademlia.lookup import PeerState

__all__ = ["OPERATION", "Gathering"]

OPERATION = 5.0  # s for all of it
WAIT_FRACTION = 0.3  # of the peers must have answered …
LULL = 0.5  # s … and nobody any more for so long


class Gathering:
    """It is driven as a `carrick.protocols.kademlia.lookup.Lookup`.

    Args:
        peers: the nearest to `key`, nearest first.

    Attributes:
        requests: how many peers were asked.
        hops: 1 when somebody has answered.
    """

    def __init__(self, key: int, peers: Sequence[PeerId]) -> None:
        self.key = key
        self.k = len(peers)
        self.requests = 0
        self.hops = 0
        self._states = dict.fromkeys(peers, PeerState.HEARD)
        self._enough = math.ceil(WAIT_FRACTION * len(peers))
        self._count = 0
        self._last = math.inf
        self._deadline = math.inf
        self._now = -math.inf
        self._stopped = False

    def to_ask(self, now: float) -> list[PeerId]:
        """The peers to ask now: all, at first. They count as asked."""
        self._now = now
        if self.requests or self._stopped:
            return []
        self._deadline = now + OPERATION
        self.requests = len(self._states)
        self._states = dict.fromkeys(self._states, PeerState.WAITING)
        return list(self._states)

    def answered(self, peer: PeerId, closer: Iterable[PeerId], now: float) -> list[PeerId]:
        """`peer` has answered. Whom it named is not asked."""
        if self._end(peer, PeerState.ANSWERED, now):
            self.hops = 1
            self._count += 1
            self._last = now
        return []

    def failed(self, peer: PeerId, now: float) -> None:
        """`peer` cannot be reached."""
        self._end(peer, PeerState.FAILED, now)

    def _end(self, peer: PeerId, state: PeerState, now: float) -> bool:
        self._now = now
        waiting = self._states.get(peer) is PeerState.WAITING
        if waiting:
            self._states[peer] = state
        return waiting

    def stop(self) -> None:
        """What was looked for is found."""
        self._stopped = True

    def widen(self, k: int) -> None:
        """Whoever is to be asked was chosen at the start."""

    @property
    def stopped(self) -> bool:
        return self._stopped

    @property
    def spent(self) -> bool:
        """Nobody else can be asked."""
        return bool(self.requests) or not self._states

    @property
    def done(self) -> bool:
        if self._stopped or self._now >= min(self._deadline, self._lull_at):
            return True
        return not any(
            state in (PeerState.HEARD, PeerState.WAITING) for state in self._states.values()
        )

    @property
    def _lull_at(self) -> float:
        return self._last + LULL if self._count >= self._enough else math.inf

    @property
    def wake_at(self) -> float:
        """When it is done, even if nobody answers any more."""
        return min(self._deadline, self._lull_at)

    @property
    def closest(self) -> list[PeerId]:
        """Those that have answered, nearest first."""
        return [peer for peer, state in self._states.items() if state is PeerState.ANSWERED]

    @property
    def nearest(self) -> list[PeerId]:
        """Those that have not failed, nearest first."""
        return [peer for peer, state in self._states.items() if state is not PeerState.FAILED]

    def state(self, peer: PeerId) -> PeerState | None:
        """How far we are with a peer; None if it is none of those."""
        return self._states.get(peer)
