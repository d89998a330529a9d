"""Finds out that a network swallows UDP or IPv6, so that dials do not wait for what never answers.

No I/O. After go-libp2p `p2p/net/swarm/black_hole_detector.go`: when fewer than 5 of the last 100
dials of a kind succeeded, its addresses are no longer dialled, but for one dial in a hundred that
looks whether it has changed. A dial that lost its race counts as a failure, since a dial into a
black hole never ends otherwise; 5 % is low enough for that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from carrick.addressing import Reach, names, reach

if TYPE_CHECKING:
    from multiaddr import Multiaddr

__all__ = ["BlackHoleDetector"]

WINDOW = 100
MIN_SUCCESSES = 5


class _Counter:
    """The outcomes of the last dials of one kind."""

    def __init__(self) -> None:
        self._outcomes: deque[bool] = deque(maxlen=WINDOW)
        self._requests = 0

    @property
    def _blocked(self) -> bool:
        return len(self._outcomes) == WINDOW and sum(self._outcomes) < MIN_SUCCESSES

    def request(self) -> str:
        """For the next dial of a peer: `allowed`, `probing` or `blocked`."""
        self._requests += 1
        if len(self._outcomes) < WINDOW:
            return "probing"
        if not self._blocked:
            return "allowed"
        return "probing" if self._requests % WINDOW == 0 else "blocked"

    def record(self, success: bool) -> None:
        if success and self._blocked:
            self._outcomes.clear()
            self._requests = 0
        else:
            self._outcomes.append(success)


class BlackHoleDetector:
    """One counter for UDP, one for IPv6; only addresses of the internet count."""

    def __init__(self) -> None:
        self._counters = {"udp": _Counter(), "ip6": _Counter()}

    def filter(self, addresses: Iterable[Multiaddr]) -> tuple[list[Multiaddr], list[Multiaddr]]:
        """Split a peer's addresses: (to dial, in a black hole). Call it once for a dial."""
        addresses = list(addresses)
        kinds = {address: self._kinds(address) for address in addresses}
        states = {
            kind: counter.request()
            for kind, counter in self._counters.items()
            if any(kind in of for of in kinds.values())
        }

        def swallowed(address: Multiaddr) -> bool:
            found = [states[kind] for kind in kinds[address]]
            return "probing" not in found and "blocked" in found

        return (
            [address for address in addresses if not swallowed(address)],
            [address for address in addresses if swallowed(address)],
        )

    def record(self, address: Multiaddr, success: bool) -> None:
        """A dial has ended: it succeeded, failed, or another was quicker (not a success)."""
        for kind in self._kinds(address):
            self._counters[kind].record(success)

    def _kinds(self, address: Multiaddr) -> list[str]:
        if reach(address) is not Reach.PUBLIC:
            return []
        return [kind for kind in self._counters if kind in names(address)]
