"""How many dials strangers may cause. No I/O; `now` is passed in."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass

__all__ = ["Rates", "ServerRates"]

WINDOW = 60.0  # s


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRates:
    """Requests that are served within any minute. The defaults are go-libp2p's for v2
    (`p2p/protocol/autonatv2/options.go`).

    Attributes:
        overall: of all peers together.
        per_peer: of one peer.
        with_data: those that had to pay, together: each dials an IP that is not the client's.
        per_target: dials of one IP address, whoever asked (ours; ATTACKS row 69).
    """

    overall: int = 60
    per_peer: int = 12
    with_data: int = 12
    per_target: int = 12


class Rates:
    """Sliding windows of a minute: what is remembered is what was allowed, so it is bounded."""

    def __init__(self, rates: ServerRates) -> None:
        self.rates = rates
        self._allowed: deque[tuple[float, tuple[str, Hashable]]] = deque()
        self._counts: Counter[tuple[str, Hashable]] = Counter()

    def __len__(self) -> int:
        return len(self._allowed)

    def allow_request(self, peer: Hashable, now: float) -> bool:
        """Whether one more request of `peer` is served."""
        return self._take(
            now, (("all", None), self.rates.overall), (("peer", peer), self.rates.per_peer)
        )

    def allow_dial(self, target: Hashable, *, paid: bool, now: float) -> bool:
        """Whether one more dial of the IP address `target` is made."""
        wanted = [(("target", target), self.rates.per_target)]
        if paid:
            wanted.append((("paid", None), self.rates.with_data))
        return self._take(now, *wanted)

    def _take(self, now: float, *wanted: tuple[tuple[str, Hashable], int]) -> bool:
        while self._allowed and self._allowed[0][0] <= now - WINDOW:
            _, key = self._allowed.popleft()
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]
        if any(self._counts[key] >= most for key, most in wanted):
            return False
        for key, _ in wanted:
            self._allowed.append((now, key))
            self._counts[key] += 1
        return True
