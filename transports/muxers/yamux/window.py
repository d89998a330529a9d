"""Receive windows: when the peer gets credit, and when a window grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carrick.interfaces import Budget
from carrick.transports.muxers.yamux.frame import INITIAL_WINDOW

if TYPE_CHECKING:
    from carrick.transports.muxers.yamux.stream import YamuxStream


class Windows:
    """Grants credit to the peer of one connection, and grows windows out of its budget.

    A window doubles when it is consumed at a rate of more than half of it in two round trips: then
    it, and not the network or the reader, limits the rate (go-yamux measures the same).
    """

    __slots__ = ("_budget", "_maximum", "grown")

    def __init__(self, budget: Budget, maximum: int) -> None:
        self._budget = budget
        self._maximum = maximum
        self.grown = 0
        """What all windows together have beyond their initial size, in bytes."""

    def grant(self, stream: YamuxStream, now: float, rtt: float | None) -> int:
        """Credit to send to the peer of `stream` now, in bytes; it is counted as sent."""
        window = stream._window
        if not stream._accepts or stream._consumed * 2 < window:
            return 0
        credit = stream._consumed
        elapsed = now - stream._granted_at
        if rtt is not None and elapsed * window < 4 * rtt * credit:
            growth = min(window, self._maximum - window)
            if growth and self._budget.try_reserve(growth):
                stream._window = window + growth
                self.grown += growth
                credit += growth
        stream._consumed = 0
        stream._granted_at = now
        stream._credit += credit
        return credit

    def release(self, stream: YamuxStream) -> None:
        """`stream` receives no more: its growth goes back to the budget."""
        growth = stream._window - INITIAL_WINDOW
        if growth:
            stream._window = INITIAL_WINDOW
            self.grown -= growth
            self._budget.release(growth)
