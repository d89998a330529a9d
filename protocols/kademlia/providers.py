"""Who provides what, in memory. Bounded: the oldest goes when there is no more room. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from carrick.identity import PeerId
from carrick.protocols.kademlia.messages import PeerInfo

__all__ = ["MemoryProviders"]

PROVIDER_LIFETIME = 48 * 3600.0  # s (go-libp2p-kad-dht, amino/defaults.go)
ADDRESS_LIFETIME = 24 * 3600.0  # s that a provider's addresses are told (the same)
MAX_PROVIDER_BYTES = 24 << 20  # about 120,000 keys with a provider each
MAX_KEYS_PER_PROVIDER = 65536
MAX_PROVIDERS_PER_KEY = 128
_TOLD = 20  # providers of a key in one answer
_KEY = 128  # bytes of memory for a key, beside its own
_PROVISION = 64  # for each provider of a key
_PROVIDER = 512  # for each provider, beside its addresses
_ADDRESS = 48  # for each of them, beside its own bytes


class _Provision:
    """That a peer provides a key; the next one was told before it."""

    __slots__ = ("at", "next", "peer")

    def __init__(self, peer: PeerId, at: float, next: _Provision | None) -> None:
        self.peer = peer
        self.at = at
        self.next = next

    def __iter__(self) -> Iterator[_Provision]:
        here: _Provision | None = self
        while here is not None:
            yield here
            here = here.next


class _Provider:
    """A peer, as it was told last, and of how many keys."""

    __slots__ = ("info", "keys")

    def __init__(self, info: PeerInfo) -> None:
        self.info = info
        self.keys = 0


class MemoryProviders:
    """See `carrick.protocols.kademlia.interfaces.ProviderStore`.

    When it is full, what goes is the key that nobody has spoken of for the longest time.

    Args:
        max_bytes: of memory, as near as it can be told.
    """

    def __init__(
        self,
        *,
        lifetime: float = PROVIDER_LIFETIME,
        address_lifetime: float = ADDRESS_LIFETIME,
        max_bytes: int = MAX_PROVIDER_BYTES,
        max_per_key: int = MAX_PROVIDERS_PER_KEY,
        max_keys_per_provider: int = MAX_KEYS_PER_PROVIDER,
    ) -> None:
        self._lifetime = lifetime
        self._address_lifetime = address_lifetime
        self._max_bytes = max_bytes
        self._max_per_key = max_per_key
        self._max_keys = max_keys_per_provider
        self._changed: Callable[[tuple[bytes, PeerId]], object] = _nothing
        self._keys: dict[bytes, _Provision] = {}
        """Of each key the provider that was told last; the key that was told of longest ago first.
        """
        self._providers: dict[PeerId, _Provider] = {}
        self._count = 0  # of provisions
        self._lengths = 0  # of keys, and sizes of providers
        self._at = 0.0

    def __len__(self) -> int:
        return self._count

    @property
    def size(self) -> int:
        """How much memory it takes, as near as it can be told."""
        return len(self._keys) * _KEY + self._count * _PROVISION + self._lengths

    def add(self, key: bytes, provider: PeerInfo, now: float) -> None:
        peer = provider.id
        known = self.remove(key, peer)
        held = self._providers.get(peer)
        if held is not None and held.keys >= self._max_keys and not known:
            return  # it has had its share
        first = self._keys.get(key)
        if first is not None and len(others := list(first)) >= self._max_per_key:
            self.remove(key, others[-1].peer)
        if not 0 <= now - self._at < 1:
            self._at = now  # one number for all of a second
        first = self._keys.pop(key, None)
        self._keys[key] = _Provision(peer, self._at, first)
        self._count += 1
        self._lengths += len(key) if first is None else 0
        self._note(provider)
        self._changed((key, peer))
        while self.size > self._max_bytes:
            # Some at once: the way to the first of a dict is as long as it has lost entries there.
            for oldest in tuple(islice(self._keys, 1 + len(self._keys) // 64)):
                for each in tuple(self._keys[oldest]):
                    self.remove(oldest, each.peer)

    def _note(self, info: PeerInfo) -> None:
        """That provider has one key more, and was described so."""
        held = self._providers.get(info.id)
        if held is None:
            held = self._providers[info.id] = _Provider(info)
            self._lengths += _size(info)
        elif held.info != info:
            self._lengths += _size(info) - _size(held.info)
            held.info = info
        held.keys += 1

    def get(self, key: bytes, now: float) -> list[PeerInfo]:
        found: list[PeerInfo] = []
        for each in self._keys.get(key, ()):
            if len(found) >= _TOLD or now - each.at >= self._lifetime:
                break
            info = self._providers[each.peer].info
            fresh = now - each.at < self._address_lifetime
            found.append(info if fresh else info._replace(encoded=()))
        return found

    def remove(self, key: bytes, provider: PeerId) -> bool:
        before, here = None, self._keys.get(key)
        while here is not None and here.peer != provider:
            before, here = here, here.next
        if here is None:
            return False
        if before is not None:
            before.next = here.next
        elif here.next is not None:
            self._keys[key] = here.next
        else:
            del self._keys[key]
            self._lengths -= len(key)
        self._count -= 1
        held = self._providers[provider]
        held.keys -= 1
        if not held.keys:
            del self._providers[provider]
            self._lengths -= _size(held.info)
        self._changed((key, provider))
        return True

    def watch(self, changed: Callable[[tuple[bytes, PeerId]], object]) -> None:
        """Tell `changed` each key and provider that come, change or go."""
        self._changed = changed

    def held(self, key: bytes, provider: PeerId) -> tuple[PeerInfo, float] | None:
        """What was told, and when, expired or not."""
        for each in self._keys.get(key, ()):
            if each.peer == provider:
                return self._providers[provider].info, each.at
        return None

    def expire(self, now: float) -> int:
        old = [
            (key, each.peer)
            for key, first in self._keys.items()
            for each in first
            if now - each.at >= self._lifetime
        ]
        for key, peer in old:
            self.remove(key, peer)
        return len(old)


def _size(provider: PeerInfo) -> int:
    return _PROVIDER + sum(_ADDRESS + len(each) for each in provider.encoded)


def _nothing(changed: tuple[bytes, PeerId]) -> None:
    """Nobody wants to know."""
