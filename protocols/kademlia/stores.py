"""Stores in memory. Bounded: the oldest goes when there is no more room. No I/O."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from datetime import UTC, datetime

from carrick.identity import PeerId
from carrick.protocols.kademlia.messages import PeerInfo, Record

__all__ = ["MemoryProviders", "MemoryRecords"]

RECORD_LIFETIME = 48 * 3600.0  # s (go-libp2p-kad-dht, amino/defaults.go)
PROVIDER_LIFETIME = 48 * 3600.0  # s (the same)
ADDRESS_LIFETIME = 24 * 3600.0  # s that a provider's addresses are told (the same)
MAX_RECORDS = 16384
MAX_RECORD_BYTES = 32 << 20
MAX_PROVIDERS = 262144  # pairs of key and provider, in all
MAX_KEYS_PER_PROVIDER = 65536
MAX_PROVIDERS_PER_KEY = 128
_TOLD = 20  # providers of a key in one answer


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
        while len(self._records) > self._max_records or self._bytes > self._max_bytes:
            self.remove(next(iter(self._records)))

    def remove(self, key: bytes) -> bool:
        found = self._records.pop(key, None)
        if found is not None:
            self._bytes -= len(key) + len(found[0])
        return found is not None

    def keys(self) -> Iterable[bytes]:
        return tuple(self._records)

    def expire(self, now: float) -> int:
        old = [key for key, (_, at) in self._records.items() if now - at >= self._lifetime]
        for key in old:
            self.remove(key)
        return len(old)


class MemoryProviders:
    """See `carrick.protocols.kademlia.interfaces.ProviderStore`."""

    def __init__(
        self,
        *,
        lifetime: float = PROVIDER_LIFETIME,
        address_lifetime: float = ADDRESS_LIFETIME,
        max_providers: int = MAX_PROVIDERS,
        max_per_key: int = MAX_PROVIDERS_PER_KEY,
        max_keys_per_provider: int = MAX_KEYS_PER_PROVIDER,
    ) -> None:
        self._lifetime = lifetime
        self._address_lifetime = address_lifetime
        self._max = max_providers
        self._max_per_key = max_per_key
        self._max_keys = max_keys_per_provider
        self._by_key: dict[bytes, dict[PeerId, tuple[PeerInfo, float]]] = {}
        """Of each key its providers, the one that was told longest ago first."""
        self._order: OrderedDict[tuple[bytes, PeerId], None] = OrderedDict()
        self._keys: Counter[PeerId] = Counter()

    def __len__(self) -> int:
        return len(self._order)

    def add(self, key: bytes, provider: PeerInfo, now: float) -> None:
        known = self.remove(key, provider.id)
        if not known and self._keys[provider.id] >= self._max_keys:
            return  # it has had its share
        providers = self._by_key.setdefault(key, {})
        if len(providers) >= self._max_per_key:
            self.remove(key, next(iter(providers)))
            providers = self._by_key.setdefault(key, {})
        elif len(self._order) >= self._max:
            self.remove(*next(iter(self._order)))
            providers = self._by_key.setdefault(key, {})
        providers[provider.id] = provider, now
        self._order[key, provider.id] = None
        self._keys[provider.id] += 1

    def get(self, key: bytes, now: float) -> list[PeerInfo]:
        found: list[PeerInfo] = []
        for provider, at in reversed(self._by_key.get(key, {}).values()):
            if len(found) >= _TOLD or now - at >= self._lifetime:
                break
            fresh = now - at < self._address_lifetime
            found.append(provider if fresh else provider._replace(encoded=()))
        return found

    def remove(self, key: bytes, provider: PeerId) -> bool:
        if (key, provider) not in self._order:
            return False
        del self._order[key, provider]
        del self._by_key[key][provider]
        if not self._by_key[key]:
            del self._by_key[key]
        self._keys[provider] -= 1
        if not self._keys[provider]:
            del self._keys[provider]
        return True

    def expire(self, now: float) -> int:
        old = [
            (key, peer)
            for key, peer in self._order
            if now - self._by_key[key][peer][1] >= self._lifetime
        ]
        for key, peer in old:
            self.remove(key, peer)
        return len(old)
