"""Which streams the peer has opened (RFC 9000 sections 2.1 and 3.2)."""

from __future__ import annotations

from carrick.interfaces import Role

__all__ = ["Arrivals"]

_STEP = 4  # between the ids of two streams of one kind


class Arrivals:
    """Tells a new stream of the peer's from one that is over, of which late frames may still come.

    What is kept is bounded by the number of streams that the peer may have open: ids come in any
    order, but none beyond that limit.

    Args:
        role: ours.
    """

    def __init__(self, role: Role) -> None:
        self._peer = 1 if role is Role.CLIENT else 0
        self._next = [self._peer, self._peer | 2]  # of bidirectional, of unidirectional streams
        self._passed: set[int] = set()  # ids that higher ones came before

    def is_new(self, stream: int) -> bool:
        """Whether the peer opens `stream` with what has come of it; True once for each."""
        if stream & 1 != self._peer:
            return False
        kind = stream >> 1 & 1
        if stream < self._next[kind]:
            if stream not in self._passed:
                return False
            self._passed.remove(stream)
            return True
        self._passed.update(range(self._next[kind], stream, _STEP))
        self._next[kind] = stream + _STEP
        return True
