"""The connection manager: which connections to close when there are too many.

Peers get value from tags. Above `high_water` connections those of the least value are closed down
to `low_water`, but none of a protected peer and none younger than the grace period.
No I/O; `now` is passed in, in seconds. go-libp2p: `p2p/net/connmgr`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from carrick.interfaces import Direction
from carrick.network.limits import Limits

if TYPE_CHECKING:
    from carrick.identity import PeerId

__all__ = ["ConnectionManager"]

_MAX_TAGGED = 10_000  # peers without a connection whose tags are kept (ATTACKS 6.1, promise 11)


class Trimmable(Protocol):
    """What the manager must know of a connection."""

    @property
    def peer_id(self) -> PeerId: ...
    @property
    def opened_at(self) -> float: ...
    @property
    def direction(self) -> Direction: ...
    @property
    def stream_count(self) -> int: ...


T = TypeVar("T", bound=Trimmable)


@dataclass(slots=True)
class _Fading:
    """A value that halves every `half_life` seconds. No timer: it is computed when looked at."""

    value: float
    half_life: float
    updated: float

    def at(self, now: float) -> float:
        return self.value * math.exp2((self.updated - now) / self.half_life)


@dataclass(slots=True)
class _Tags:
    fixed: dict[str, int] = field(default_factory=dict)
    fading: dict[str, _Fading] = field(default_factory=dict)


class ConnectionManager:
    """Tags, protection, and the choice of what to close."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._tags: OrderedDict[PeerId, _Tags] = OrderedDict()
        self._protected: dict[PeerId, set[str]] = {}
        self._last_trim = float("-inf")

    # --- value ------------------------------------------------------------------------------------

    def tag(self, peer: PeerId, name: str, value: int) -> None:
        """Give the peer `value` under `name`, in place of what that tag was before."""
        self._of(peer).fixed[name] = value

    def untag(self, peer: PeerId, name: str) -> None:
        """Take a tag away, fading or not."""
        tags = self._tags.get(peer)
        if tags is not None:
            tags.fixed.pop(name, None)
            tags.fading.pop(name, None)
            if not tags.fixed and not tags.fading:
                del self._tags[peer]

    def bump(
        self, peer: PeerId, name: str, amount: float, now: float, *, half_life: float = 600.0
    ) -> None:
        """Add `amount` to a tag whose value halves every `half_life` seconds."""
        fading = self._of(peer).fading
        present = fading[name].at(now) if name in fading else 0.0
        fading[name] = _Fading(present + amount, half_life, now)

    def value(self, peer: PeerId, now: float) -> float:
        """The sum of the peer's tags."""
        tags = self._tags.get(peer)
        if tags is None:
            return 0.0
        return sum(tags.fixed.values()) + sum(fading.at(now) for fading in tags.fading.values())

    def tags(self, peer: PeerId, now: float) -> dict[str, float]:
        """The peer's tags with their present values."""
        tags = self._tags.get(peer, _Tags())
        return {**tags.fixed, **{name: fading.at(now) for name, fading in tags.fading.items()}}

    # --- protection -------------------------------------------------------------------------------

    def protect(self, peer: PeerId, reason: str) -> None:
        """Never close connections with the peer to make room, until each reason is taken back."""
        self._protected.setdefault(peer, set()).add(reason)

    def unprotect(self, peer: PeerId, reason: str) -> bool:
        """Take one reason back. Returns whether others still protect the peer."""
        reasons = self._protected.get(peer, set())
        reasons.discard(reason)
        if not reasons:
            self._protected.pop(peer, None)
        return bool(reasons)

    def is_protected(self, peer: PeerId) -> bool:
        return peer in self._protected

    @property
    def protects_any(self) -> bool:
        return bool(self._protected)

    # --- trimming ---------------------------------------------------------------------------------

    def next_trim(self, connections: Sequence[Trimmable], now: float) -> float | None:
        """When `trim` could close something: `now` or later; None while there are not too many."""
        limits = self._limits
        if len(connections) <= limits.high_water:
            return None
        opened = sorted(c.opened_at for c in connections if not self.is_protected(c.peer_id))
        if len(opened) <= limits.low_water:
            return None  # too many, but protected
        # As in go, low_water connections past their grace stay, however many new ones there are.
        past_grace = opened[limits.low_water] + limits.grace_period
        return max(now, past_grace, self._last_trim + limits.silence_period)

    def trim(self, connections: Sequence[T], now: float) -> list[T]:
        """The connections to close now, those of the least value first."""
        due = self.next_trim(connections, now)
        if due is None or due > now:
            return []
        self._last_trim = now
        grace = self._limits.grace_period
        candidates = [
            connection
            for connection in connections
            if connection.opened_at + grace <= now and not self.is_protected(connection.peer_id)
        ]
        surplus = len(candidates) - self._limits.low_water
        return self.least_valuable(candidates, now)[: max(0, surplus)]

    def least_valuable(self, connections: Iterable[T], now: float) -> list[T]:
        """Order connections: little value, inbound, few streams and a short life come first."""
        return sorted(
            connections,
            key=lambda connection: (
                self.value(connection.peer_id, now),
                connection.direction is Direction.OUTBOUND,
                connection.stream_count,
                -connection.opened_at,
            ),
        )

    def _of(self, peer: PeerId) -> _Tags:
        tags = self._tags.get(peer)
        if tags is None:
            tags = self._tags[peer] = _Tags()
            if len(self._tags) > _MAX_TAGGED:
                self._tags.popitem(last=False)
        else:
            self._tags.move_to_end(peer)
        return tags
