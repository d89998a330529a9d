"""Values in memory. Bounded: the oldest goes when there is no more room. No I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from carrick.protocols.kademlia.messages import Record

__all__ = ["MemoryRecords"]

RECORD_LIFETIME = 48 * 3600.0  # s (go-libp2p-kad-dht, amino/defaults.go)
MAX_RECORDS = 16384
MAX_RECORD_BYTES = 32 << 20


class MemoryRecords:
    """See `carrick.protocols.kademlia.interfaces.RecordStore`."""

    def __init__(
        self,
        *,
        lifetime: float = RECORD_LIFETIME,
        max_records: int = MAX_RECORDS,
        max_bytes: int = MAX_RECORD_BYTES,
    ) -> None:
        self._lifetime = lifetime
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._changed: Callable[[bytes], object] = _nothing
        self._records: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        """Value and time of each key, the one that was received longest ago first."""
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._records)

    def get(self, key: bytes, now: float) -> Record | None:
        found = self._records.get(key)
        if found is None or now - found[1] >= self._lifetime:
            return None
        return Record(key, found[0], datetime.fromtimestamp(found[1], UTC))

    def put(self, key: bytes, value: bytes, now: float) -> None:
        self.remove(key)
        self._records[key] = value, now
        self._bytes += len(key) + len(value)
        self._changed(key)
        while len(self._records) > self._max_records or self._bytes > self._max_bytes:
            self.remove(next(iter(self._records)))

    def remove(self, key: bytes) -> bool:
        found = self._records.pop(key, None)
        if found is None:
            return False
        self._bytes -= len(key) + len(found[0])
        self._changed(key)
        return True

    def keys(self) -> Iterable[bytes]:
        return tuple(self._records)

    def watch(self, changed: Callable[[bytes], object]) -> None:
        """Tell `changed` each key whose record comes, changes or goes."""
        self._changed = changed

    def held(self, key: bytes) -> tuple[bytes, float] | None:
        """Value and time of arrival, expired or not."""
        return self._records.get(key)

    def expire(self, now: float) -> int:
        old = [key for key, (_, at) in self._records.items() if now - at >= self._lifetime]
        for key in old:
            self.remove(key)
        return len(old)


def _nothing(key: bytes) -> None:
    """Nobody wants to know."""
