"""How many requests a peer may make. No I/O; `now` is passed in."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

__all__ = ["RequestLimit"]

RATE = 200.0  # requests of a peer a second, in the long run
BURST = 2000.0  # requests at once: a provider with many keys has much to say to each of us
MAX_PEERS = 4096

P = TypeVar("P")


class RequestLimit(Generic[P]):
    """Says how long a request has to wait. Nobody is refused: who asks too much is served slowly,
    and his streams fill up.

    Args:
        rate: requests a second.
        burst: so many may come at once.
    """

    def __init__(self, rate: float = RATE, burst: float = BURST) -> None:
        self._cost = 1 / rate
        self._slack = burst / rate
        self._busy_until: OrderedDict[P, float] = OrderedDict()
        """Of each peer, when all its requests would be done at the plain rate."""

    def __len__(self) -> int:
        return len(self._busy_until)

    def wait(self, peer: P, now: float) -> float:
        """Seconds from now until the request may be answered; it counts."""
        until = max(self._busy_until.get(peer, now), now) + self._cost
        self._busy_until[peer] = until
        self._busy_until.move_to_end(peer)
        if len(self._busy_until) > MAX_PEERS:
            self._busy_until.popitem(last=False)
        return max(0.0, until - self._slack - now)
