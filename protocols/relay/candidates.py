"""Which relay to ask next, of those that are known. No I/O: `now` and chances are passed in.

The numbers follow go-libp2p, p2p/host/autorelay/options.go.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from carrick.addressing import Multiaddr
from carrick.identity import PeerId

__all__ = ["Candidate", "Candidates", "Failure"]

MAX_GIVEN_BACKOFF = 600.0  # s; a relay that a person named is not given up
_REMEMBERED = 4  # as many that failed, for each that may be a candidate, are remembered
_MAX_DOUBLINGS = 16


class Failure(enum.Enum):
    """Why a relay does not serve us; the value is how many seconds it is left alone the first time,
    twice as many the second, and so on up to the backoff."""

    LOST = 5.0
    """It did, and then the connection ended or the reservation was not renewed."""
    UNREACHABLE = 30.0
    """It could not be reached, or did not answer. Perhaps that was our own fault."""
    BUSY = 300.0
    """It has no room at the moment."""
    UNSUITABLE = math.inf
    """It is no relay, does not want us, or nobody would reach us there."""


@dataclass(slots=True)
class Candidate:
    """A relay that we may ask.

    Attributes:
        hints: where it was said to be.
        given: a person named it: preferred, and never forgotten.
        seen: when it was last heard of.
        ready: from when on it may be asked.
        failures: one after the other.
        lot: random, from 0 to 1: decides between equals, so that not all ask the same relay.
    """

    peer: PeerId
    hints: tuple[Multiaddr, ...]
    given: bool
    seen: float
    lot: float
    ready: float = -math.inf
    failures: int = 0


class Candidates:
    """The relays that are known, and which of them comes next.

    Args:
        most: how many are kept, besides those that were given.
        age: seconds after which one that was not heard of again is forgotten; not before it could
            be asked again for as long.
        backoff: seconds for which one that failed is left alone, at most.
    """

    def __init__(self, *, most: int = 20, age: float = 1800.0, backoff: float = 3600.0) -> None:
        self._most = most
        self._age = age
        self._backoff = backoff
        self._known: dict[PeerId, Candidate] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, peer: object) -> bool:
        return peer in self._known

    @property
    def peers(self) -> tuple[PeerId, ...]:
        return tuple(self._known)

    def offer(
        self,
        peer: PeerId,
        now: float,
        *,
        lot: float,
        hints: Collection[Multiaddr] = (),
        given: bool = False,
    ) -> bool:
        """`peer` is said to be a relay. Returns whether it is kept."""
        known = self._known.get(peer)
        if known is not None:
            known.seen = now
            known.given = known.given or given
            known.hints = tuple(hints) or known.hints
            return True
        if not given and not self._make_room(now):
            return False
        self._known[peer] = Candidate(peer, tuple(hints), given, now, lot)
        return True

    def succeeded(self, peer: PeerId) -> None:
        """It serves us."""
        if (known := self._known.get(peer)) is not None:
            known.failures = 0
            known.ready = -math.inf

    def failed(self, peer: PeerId, failure: Failure, now: float, chance: float) -> None:
        """It does not serve us, or no longer. `chance` is random, from 0 to 1."""
        if (known := self._known.get(peer)) is None:
            return
        most = min(self._backoff, MAX_GIVEN_BACKOFF) if known.given else self._backoff
        wait = min(failure.value * 2.0 ** min(known.failures, _MAX_DOUBLINGS), most)
        known.failures += 1
        known.ready = now + wait * (1 - chance / 4)

    def ready(self, now: float, without: Collection[PeerId] = ()) -> list[Candidate]:
        """Those that may be asked now, except for `without`."""
        self._forget(now)
        return [
            each for each in self._known.values() if each.ready <= now and each.peer not in without
        ]

    def best(
        self, now: float, connected: Mapping[PeerId, float], without: Collection[PeerId] = ()
    ) -> Candidate | None:
        """Whom to ask next: whom a person named, then who is connected, by its round-trip time.

        Args:
            connected: the round-trip times, in seconds, of those that are; infinite if not known.
            without: not these.
        """
        for peer in connected:
            if (known := self._known.get(peer)) is not None:
                known.seen = now

        def rank(each: Candidate) -> tuple[bool, bool, float, float]:
            distance = connected.get(each.peer)
            return not each.given, distance is None, distance or 0.0, each.lot

        return min(self.ready(now, without), key=rank, default=None)

    def next_time(self, now: float, without: Collection[PeerId] = ()) -> float:
        """When the next one may be asked that may not be now; infinite if there is none."""
        return min(
            (
                each.ready
                for each in self._known.values()
                if each.ready > now and each.peer not in without
            ),
            default=math.inf,
        )

    def _make_room(self, now: float) -> bool:
        """For one more that was not given."""
        self._forget(now)
        found = [each for each in self._known.values() if not each.given]
        failed = [each for each in found if each.ready > now]
        if len(found) - len(failed) >= self._most:
            return False
        if len(failed) >= _REMEMBERED * self._most:
            del self._known[min(failed, key=lambda each: each.ready).peer]
        return True

    def _forget(self, now: float) -> None:
        old = [
            peer
            for peer, each in self._known.items()
            if not each.given and max(each.seen, each.ready) + self._age <= now
        ]
        for peer in old:
            del self._known[peer]
