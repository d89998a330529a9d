"""When what we publish is published again. No I/O; `now` is passed in.

Each key has its moment in every interval, which follows from its place in the keyspace: the work is
spread over the interval, and keys that have the same nearest peers come one after the other, so
that one lookup serves them all (go-libp2p-kad-dht, provider).
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort

from carrick.protocols.kademlia.keyspace import BITS, key_of

__all__ = ["REPUBLISH", "Schedule"]

REPUBLISH = 22 * 3600.0  # s (go, amino/defaults.go): records live 48 h
_SHARE = 0.1  # of the interval: who is due within it may as well be published now


class Schedule:
    """The keys of one kind.

    Args:
        interval: seconds from one moment of a key to the next. It may be published a tenth of that
            too early, with others, and is then published again a tenth later than in an interval.
    """

    def __init__(self, interval: float = REPUBLISH) -> None:
        self.interval = interval
        self._due: dict[bytes, float] = {}
        self._places: list[tuple[int, bytes]] = []
        """All keys in the order of the keyspace."""
        self._heap: list[tuple[float, bytes]] = []
        """When which key is due, the first on top; what is not so in `_due` is out of date."""

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, key: object) -> bool:
        return key in self._due

    def published(self, key: bytes, at: float) -> None:
        """It was published, perhaps in an earlier run."""
        place = key_of(key)
        if key not in self._due:
            insort(self._places, (place, key))
        moment = math.ldexp(float(place), -BITS) * self.interval
        wait = (moment - at) % self.interval
        self._set(key, at + wait + (self.interval if wait <= _SHARE * self.interval else 0))

    def failed(self, key: bytes, retry_at: float) -> None:
        """It could not be published."""
        if key in self._due:
            self._set(key, retry_at)

    def remove(self, key: bytes) -> bool:
        """It is no longer to be published. Returns whether it was."""
        if self._due.pop(key, None) is None:
            return False
        del self._places[bisect_left(self._places, (key_of(key), key))]
        self._tidy()
        return True

    @property
    def next_at(self) -> float:
        """When the next key is due; inf: there is none."""
        return self._heap[0][0] if self._heap else math.inf

    def next_key(self, now: float) -> bytes | None:
        """The key that is due first, if it is due."""
        return self._heap[0][1] if self.next_at <= now else None

    def near(self, key: bytes, bits: int, now: float, limit: int) -> list[bytes]:
        """`key`, and others that share the first `bits` bits of its place and are due soon."""
        width = BITS - bits
        prefix = key_of(key) >> width
        found = [key]
        at = bisect_left(self._places, (prefix << width, b""))
        while at < len(self._places) and len(found) < limit:
            place, each = self._places[at]
            if place >> width != prefix:
                break
            if each != key and self._due[each] <= now + _SHARE * self.interval:
                found.append(each)
            at += 1
        return found

    def _set(self, key: bytes, due: float) -> None:
        self._due[key] = due
        heapq.heappush(self._heap, (due, key))
        self._tidy()

    def _tidy(self) -> None:
        if len(self._heap) > 2 * len(self._due) + 64:
            self._heap = [(due, key) for key, due in self._due.items()]
            heapq.heapify(self._heap)
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
