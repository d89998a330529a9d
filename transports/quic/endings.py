"""Ends of streams (FIN) that wait until the bytes before them have arrived.

qh3 2.1 forgets a STREAM frame that carries nothing but FIN, when it is lost or acknowledged before
all bytes of its stream are acknowledged: the peer would wait for the end for ever, or the stream
stay open here. FIN that leaves with bytes is safe, and so is FIN behind bytes that have arrived.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

__all__ = ["Endings"]

_PATIENCE = 8  # times that a loss makes one wait anew


@dataclass(slots=True)
class _Held:
    losses: int
    newest: int | None = None  # None until all that came before, lost or not, has left
    waits: int = 1


class Endings:
    """The streams of one connection that are to end, and what they wait for."""

    def __init__(self) -> None:
        self._held: dict[int, _Held] = {}
        self._nudge = False

    def __bool__(self) -> bool:
        return bool(self._held)

    def hold(self, stream: int, losses: int) -> None:
        """Let the end of `stream` wait.

        Args:
            losses: how many packets of the connection were lost so far.
        """
        self._held[stream] = _Held(losses)
        self._nudge = True

    def forget(self, stream: int) -> None:
        """It was reset."""
        self._held.pop(stream, None)

    def take_nudge(self) -> bool:
        """Whether what leaves next is to carry a PING, so that it is acknowledged at once."""
        nudge, self._nudge = self._nudge, False
        return nudge

    def sent(self, outstanding: Collection[int]) -> None:
        """What was waiting has left.

        Args:
            outstanding: numbers of the packets that are neither acknowledged nor lost.
        """
        for held in self._held.values():
            if held.newest is None:
                held.newest = max(outstanding, default=-1)

    def release(self, outstanding: Collection[int], losses: int) -> list[int]:
        """The streams that may end now; arguments as above."""
        oldest = min(outstanding, default=None)
        free: list[int] = []
        for stream, held in self._held.items():
            if held.losses != losses and held.waits < _PATIENCE:
                # Perhaps bytes of this stream, which are sent again in a packet to come.
                held.losses, held.newest = losses, None
                held.waits += 1
                self._nudge = True
            elif held.newest is not None and (oldest is None or oldest > held.newest):
                free.append(stream)
        for stream in free:
            del self._held[stream]
        return free
