"""Stores in memory. Bounded: the oldest goes when there is no more room. No I/O."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from carrick.identity import PeerId
from carrick.protocols.kademlia.messages import PeerInfo, Record

__all__ = ["MemoryProviders", "MemoryRecords"]

RECORD_LIFETIME = 48 * 3600.0  # s (go-libp2p-kad-dht, amino/defaults.go)
PROVIDER_LIFETIME = 48 * 3600.0  # s (the same)
ADDRESS_LIFETIME = 24 * 3600.0  # s that a provider's addresses are told (the same)
MAX_RECORDS = 16384
MAX_RECORD_BYTES = 32 << 20
MAX_PROVIDERS = 262144  # pairs of key and provider, in all: 0.5 KiB each
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


class _Provision(NamedTuple):
    provider: PeerInfo
    at: float


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
        self._changed: Callable[[tuple[bytes, PeerId]], object] = _nothing
        self._by_key: dict[bytes, tuple[PeerId, ...]] = {}
        """Of each key its providers, the one that was told longest ago first."""
        self._provisions: OrderedDict[tuple[bytes, PeerId], _Provision] = OrderedDict()
        """The one that was told longest ago first."""
        self._keys: Counter[PeerId] = Counter()
        self._latest: dict[PeerId, PeerInfo] = {}
        """As each was told last: one object for all its keys that were told with it."""

    def __len__(self) -> int:
        return len(self._provisions)

    def add(self, key: bytes, provider: PeerInfo, now: float) -> None:
        peer = provider.id
        known = self.remove(key, peer)
        if not known and self._keys[peer] >= self._max_keys:
            return  # it has had its share
        providers = self._by_key.get(key, ())
        if len(providers) >= self._max_per_key:
            self.remove(key, providers[0])
        elif len(self._provisions) >= self._max:
            self.remove(*next(iter(self._provisions)))
        if self._latest.get(peer) != provider:
            self._latest[peer] = provider
        self._by_key[key] = (*self._by_key.get(key, ()), peer)
        self._provisions[key, peer] = _Provision(self._latest[peer], now)
        self._keys[peer] += 1
        self._changed((key, peer))

    def get(self, key: bytes, now: float) -> list[PeerInfo]:
        found: list[PeerInfo] = []
        for peer in reversed(self._by_key.get(key, ())):
            provider, at = self._provisions[key, peer]
            if len(found) >= _TOLD or now - at >= self._lifetime:
                break
            fresh = now - at < self._address_lifetime
            found.append(provider if fresh else provider._replace(encoded=()))
        return found

    def remove(self, key: bytes, provider: PeerId) -> bool:
        if self._provisions.pop((key, provider), None) is None:
            return False
        rest = tuple(each for each in self._by_key[key] if each != provider)
        if rest:
            self._by_key[key] = rest
        else:
            del self._by_key[key]
        self._keys[provider] -= 1
        if not self._keys[provider]:
            del self._keys[provider], self._latest[provider]
        self._changed((key, provider))
        return True

    def watch(self, changed: Callable[[tuple[bytes, PeerId]], object]) -> None:
        """Tell `changed` each key and provider that come, change or go."""
        self._changed = changed

    def held(self, key: bytes, provider: PeerId) -> tuple[PeerInfo, float] | None:
        """What was told, and when, expired or not."""
        return self._provisions.get((key, provider))

    def expire(self, now: float) -> int:
        old = [pair for pair, (_, at) in self._provisions.items() if now - at >= self._lifetime]
        for key, peer in old:
            self.remove(key, peer)
        return len(old)


def _nothing(key: object) -> None:
    """Nobody wants to know."""
