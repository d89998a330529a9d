"""Which address of a peer to dial when: happy eyeballs (RFC 8305) as a state machine.

No I/O; `now` is passed in, in seconds. Each address comes with a delay from the start. It is due
after that delay, or at once when an earlier one has failed, or when nothing else is being dialled.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiaddr import Multiaddr

__all__ = ["DialSchedule"]


class DialSchedule:
    """The dial of one peer.

    Args:
        parallel: how many addresses may be dialled at a time.
    """

    def __init__(self, parallel: int) -> None:
        self.causes: list[tuple[Multiaddr, BaseException]] = []
        """Why each address failed that did, in order."""
        self._parallel = parallel
        self._waiting: list[tuple[float, int, Multiaddr]] = []
        self._order = itertools.count()
        self._seen: set[Multiaddr] = set()
        self._in_flight: set[Multiaddr] = set()
        self._advance = 0  # failures that each call for the next address at once

    def add(self, ranked: Iterable[tuple[Multiaddr, float]], now: float) -> None:
        """Join addresses, each with its delay from `now`. Known ones are not tried twice."""
        for address, delay in ranked:
            if address not in self._seen:
                self._seen.add(address)
                heapq.heappush(self._waiting, (now + delay, next(self._order), address))

    def due(self, now: float) -> list[Multiaddr]:
        """The addresses to start dialling now; they count as being dialled from here on."""
        started: list[Multiaddr] = []
        while self._waiting and len(self._in_flight) < self._parallel:
            at = self._waiting[0][0]
            if at > now:
                if self._advance:
                    self._advance -= 1
                elif self._in_flight:
                    break
            _, _, address = heapq.heappop(self._waiting)
            self._in_flight.add(address)
            started.append(address)
        self._advance = 0
        return started

    def failed(self, address: Multiaddr, cause: BaseException) -> None:
        """An address that was due has failed: the next one is due at once."""
        self._in_flight.discard(address)
        self.causes.append((address, cause))
        self._advance += 1

    def refuse(self, address: Multiaddr, cause: BaseException) -> None:
        """An address is not dialled at all, and `cause` says why."""
        if address not in self._seen:
            self._seen.add(address)
            self.causes.append((address, cause))

    @property
    def waiting(self) -> list[Multiaddr]:
        """The addresses that are not due yet."""
        return [address for _, _, address in sorted(self._waiting)]

    @property
    def next_at(self) -> float | None:
        """When `due` gives another address if nothing happens before; None if it waits for a
        failure, or has no more."""
        if not self._waiting or len(self._in_flight) >= self._parallel:
            return None
        if self._advance or not self._in_flight:
            return float("-inf")
        return self._waiting[0][0]

    @property
    def exhausted(self) -> bool:
        """Nothing is being dialled, and nothing waits."""
        return not self._waiting and not self._in_flight
