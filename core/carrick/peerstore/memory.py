"""A peerstore in memory."""

from __future__ import annotations

from collections.abc import Callable

import trio

from carrick.peerstore.bounds import Bounds
from carrick.peerstore.state import PeerBook

__all__ = ["MemoryPeerstore"]


class MemoryPeerstore(PeerBook):
    """Keeps what is known of peers until the process ends: a `Peerstore`.

    Args:
        clock: the present time in seconds; trio's own clock unless something else is given.
    """

    def __init__(
        self, clock: Callable[[], float] = trio.current_time, *, bounds: Bounds | None = None
    ) -> None:
        super().__init__(clock, bounds or Bounds())

    def flush(self, limit: int | None = None) -> int:
        self.sweep()
        return 0

    def close(self) -> None:
        return
