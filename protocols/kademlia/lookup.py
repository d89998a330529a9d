"""Lookups: from the peers that we know to those nearest to a key. No I/O; `now` is passed in.

A lookup asks the nearest peers that it has heard of, a few at a time, for nearer ones, and ends
when the k nearest that can be reached have answered. A peer that is slow is passed by: it keeps no
place among those that are asked at once, and its answer still counts when it comes.

Source: libp2p/specs, kad-dht/README.md, "Peer routing"; S/Kademlia (Baumgart and Mies 2007) for
disjoint paths.
"""

from __future__ import annotations

import enum
import math
from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from carrick.identity import PeerId
from carrick.protocols.kademlia.keyspace import peer_key

__all__ = ["ALPHA", "K", "DisjointLookup", "Lookup", "PeerState"]

K = 20  # kad-dht/README.md, "Replication parameter"
ALPHA = 10  # the same, "Alpha concurrency parameter"
SLOW = 2.0  # s without an answer, after which a peer is passed by
PATIENCE = 6.0  # s without an answer, after which the lookup does not wait for a peer
MAX_HEARD = 2 * K  # of one answer
_WAITS = (SLOW, PATIENCE)
_REQUESTS_PER_K = 3  # a lookup asks at most 3 k peers, whatever they answer


class PeerState(enum.Enum):
    """How far a lookup has come with a peer."""

    HEARD = "heard"
    WAITING = "waiting"
    ANSWERED = "answered"
    FAILED = "failed"


@dataclass(slots=True, order=True)
class _Candidate:
    distance: int
    peer: PeerId = field(compare=False)
    state: PeerState = field(compare=False, default=PeerState.HEARD)
    asked: float = field(compare=False, default=math.inf)
    hop: int = field(compare=False, default=0)
    """How many answers led to it; 0 for those that we knew."""


class Lookup:
    """One walk towards `key`.

    The driver asks the peers that `to_ask` names, and tells of each `answered` or `failed`, until
    `done`. It calls `to_ask` again after each of them, and at `wake_at`.

    Args:
        seeds: peers that we know, at best the nearest.
        k: how many nearest peers are wanted.
        alpha: how many are asked at once.
        exclude: never asked nor found: ourselves.
        claim: asked before a peer is; False leaves the peer out.

    Attributes:
        requests: how many peers were asked.
        hops: the longest chain of answers that led to a peer that answered.
    """

    def __init__(
        self,
        key: int,
        seeds: Iterable[PeerId],
        *,
        k: int = K,
        alpha: int = ALPHA,
        exclude: Iterable[PeerId] = (),
        claim: Callable[[PeerId], bool] | None = None,
    ) -> None:
        self.key = key
        self.k = k
        self.alpha = alpha
        self.requests = 0
        self.hops = 0
        self._excluded = frozenset(exclude)
        self._claim = claim
        self._candidates: dict[PeerId, _Candidate] = {}
        self._nearest: list[_Candidate] = []
        """All that have not failed, nearest first."""
        self._waiting: dict[PeerId, _Candidate] = {}
        self._now = -math.inf
        self._stopped = False
        self.heard(seeds)

    def heard(self, peers: Iterable[PeerId], *, hop: int = 0) -> list[PeerId]:
        """Take in peers that somebody named; returns those that are new."""
        fresh: list[PeerId] = []
        for peer in peers:
            if peer in self._candidates or peer in self._excluded:
                continue
            candidate = _Candidate(peer_key(peer) ^ self.key, peer, hop=hop)
            self._candidates[peer] = candidate
            insort(self._nearest, candidate)
            fresh.append(peer)
        return fresh

    def to_ask(self, now: float) -> list[PeerId]:
        """The peers to ask now; they count as asked."""
        self._now = now
        if self.done:
            return []
        room = self.alpha - sum(now - each.asked < SLOW for each in self._waiting.values())
        chosen: list[PeerId] = []
        while room > len(chosen) and not self.spent:
            candidate = self._next()
            if candidate is None:
                break
            if self._claim is not None and not self._claim(candidate.peer):
                self._drop(candidate)
                continue
            candidate.state, candidate.asked = PeerState.WAITING, now
            self._waiting[candidate.peer] = candidate
            self.requests += 1
            chosen.append(candidate.peer)
        return chosen

    def answered(self, peer: PeerId, closer: Iterable[PeerId], now: float) -> list[PeerId]:
        """`peer` has answered with peers it knows; returns those that are new to the lookup."""
        self._now = now
        candidate = self._waiting.pop(peer, None)
        if candidate is None:
            return []
        candidate.state = PeerState.ANSWERED
        self.hops = max(self.hops, candidate.hop)
        return self.heard(islice(closer, MAX_HEARD), hop=candidate.hop + 1)

    def failed(self, peer: PeerId, now: float) -> None:
        """`peer` cannot be reached, or has not answered in time."""
        self._now = now
        candidate = self._waiting.pop(peer, None)
        if candidate is not None:
            self._drop(candidate)

    def stop(self) -> None:
        """What was looked for is found."""
        self._stopped = True

    def widen(self, k: int) -> None:
        """Look for so many nearest peers instead; the lookup may go on then."""
        self.k = k

    @property
    def stopped(self) -> bool:
        return self._stopped

    @property
    def spent(self) -> bool:
        """As many were asked as may be."""
        return self.requests >= _REQUESTS_PER_K * self.k

    @property
    def done(self) -> bool:
        """Nothing is left to ask or to wait for: of the k nearest that can be reached, all have
        answered; or as many were asked as may be."""
        if self._stopped:
            return True
        states = {each.state for each in self._window(PATIENCE)}
        if PeerState.WAITING in states:
            return False
        return self.spent or PeerState.HEARD not in states

    @property
    def wake_at(self) -> float:
        """When a peer will have been slow, and `to_ask` may have another; inf: not at all."""
        moments = (each.asked + wait for each in self._waiting.values() for wait in _WAITS)
        return min((moment for moment in moments if moment > self._now), default=math.inf)

    @property
    def closest(self) -> list[PeerId]:
        """The k nearest peers that have answered, nearest first."""
        found = (each.peer for each in self._nearest if each.state is PeerState.ANSWERED)
        return list(islice(found, self.k))

    @property
    def nearest(self) -> list[PeerId]:
        """The k nearest peers that have not failed, asked or not, nearest first."""
        return [each.peer for each in self._nearest[: self.k]]

    def state(self, peer: PeerId) -> PeerState | None:
        """How far we are with a peer; None if nobody has named it."""
        candidate = self._candidates.get(peer)
        return None if candidate is None else candidate.state

    def _next(self) -> _Candidate | None:
        window = self._window(SLOW)
        return next((each for each in window if each.state is PeerState.HEARD), None)

    def _window(self, patience: float) -> list[_Candidate]:
        """The k nearest, without those that have let us wait for longer than `patience`."""
        latest = self._now - patience
        if all(each.asked > latest for each in self._waiting.values()):
            return self._nearest[: self.k]
        patient = (
            each
            for each in self._nearest
            if each.state is not PeerState.WAITING or each.asked > latest
        )
        return list(islice(patient, self.k))

    def _drop(self, candidate: _Candidate) -> None:
        candidate.state = PeerState.FAILED
        self._nearest.remove(candidate)


class DisjointLookup:
    """Several walks towards one key that share no peer: whoever misleads one misleads no other.

    It is driven as a `Lookup`.

    Args:
        paths: how many walks; the seeds are dealt out among them.
    """

    def __init__(
        self,
        key: int,
        seeds: Iterable[PeerId],
        *,
        paths: int,
        k: int = K,
        alpha: int = ALPHA,
        exclude: Iterable[PeerId] = (),
    ) -> None:
        if paths < 1:
            raise ValueError(f"a lookup needs at least one path, not {paths}")
        seeds = list(seeds)
        self.key = key
        self.k = k
        self._asked_by: dict[PeerId, Lookup] = {}
        self._walks: list[Lookup] = []
        for n in range(paths):
            walk = Lookup(
                key,
                seeds[n::paths],
                k=k,
                alpha=max(1, alpha // paths),
                exclude=exclude,
                claim=partial(self._take, n),
            )
            self._walks.append(walk)

    def _take(self, walk: int, peer: PeerId) -> bool:
        return self._asked_by.setdefault(peer, self._walks[walk]) is self._walks[walk]

    def to_ask(self, now: float) -> list[PeerId]:
        return [peer for walk in self._walks for peer in walk.to_ask(now)]

    @property
    def wake_at(self) -> float:
        return min(walk.wake_at for walk in self._walks)

    def answered(self, peer: PeerId, closer: Iterable[PeerId], now: float) -> list[PeerId]:
        walk = self._asked_by.get(peer)
        return [] if walk is None else walk.answered(peer, closer, now)

    def failed(self, peer: PeerId, now: float) -> None:
        walk = self._asked_by.get(peer)
        if walk is not None:
            walk.failed(peer, now)

    def stop(self) -> None:
        for walk in self._walks:
            walk.stop()

    def widen(self, k: int) -> None:
        self.k = k
        for walk in self._walks:
            walk.widen(k)

    @property
    def stopped(self) -> bool:
        return all(walk.stopped for walk in self._walks)

    @property
    def spent(self) -> bool:
        return all(walk.spent for walk in self._walks)

    @property
    def done(self) -> bool:
        return all(walk.done for walk in self._walks)

    @property
    def requests(self) -> int:
        return sum(walk.requests for walk in self._walks)

    @property
    def hops(self) -> int:
        return max(walk.hops for walk in self._walks)

    @property
    def closest(self) -> list[PeerId]:
        return self._merged(peer for walk in self._walks for peer in walk.closest)

    @property
    def nearest(self) -> list[PeerId]:
        return self._merged(peer for walk in self._walks for peer in walk.nearest)

    def _merged(self, peers: Iterable[PeerId]) -> list[PeerId]:
        return sorted(set(peers), key=lambda peer: peer_key(peer) ^ self.key)[: self.k]

    def state(self, peer: PeerId) -> PeerState | None:
        walk = self._asked_by.get(peer)
        return None if walk is None else walk.state(peer)
