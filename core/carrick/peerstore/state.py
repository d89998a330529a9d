"""What is known of all peers, bounded, without I/O."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from types import MappingProxyType

from multiaddr import Multiaddr

from carrick.addressing import address_from_bytes, parts, split_peer
from carrick.errors import AddressError, IdentityError, InvalidKey
from carrick.identity import PeerId, PeerRecord, PublicKey
from carrick.peerstore.bounds import Bounds, Ttl
from carrick.peerstore.entry import Entry

__all__ = ["PeerBook"]

_MAX_METADATA_NAME = 64  # characters; ours


class PeerBook:
    """The contents of a peerstore; see `carrick.peerstore.Peerstore` for the methods.

    Args:
        clock: the present time in seconds.
        bounds: the most that is kept.
    """

    def __init__(self, clock: Callable[[], float], bounds: Bounds) -> None:
        self._clock = clock
        self._bounds = bounds
        self._entries: dict[PeerId, Entry] = {}
        self._connected: set[PeerId] = set()
        self._idle_peers = 0  # entries of peers that are not connected
        self._idle_size = 0
        self._expiry = math.inf  # of the first idle peer, or earlier
        self._watchers: list[Callable[[], None]] = []

    # --- addresses --------------------------------------------------------------------------------

    def add_addresses(self, peer: PeerId, addresses: Iterable[Multiaddr], ttl: float) -> None:
        self._believe(peer, self._bare(peer, addresses), ttl)

    def set_addresses(self, peer: PeerId, addresses: Iterable[Multiaddr], ttl: float) -> None:
        raws = self._bare(peer, addresses)
        if (entry := self._entries.get(peer)) is not None:
            entry.addresses = {raw: each for raw, each in entry.addresses.items() if each.certified}
            self._update(peer, entry)
        self._believe(peer, raws, ttl)

    def addresses(self, peer: PeerId) -> list[Multiaddr]:
        entry = self._entries.get(peer)
        if entry is None:
            return []
        current = entry.current(self._clock(), peer in self._connected)
        ordered = sorted(current, key=lambda item: (item[1].rank, item[0]), reverse=True)
        return list(_readable((raw for raw, _ in ordered), _stored_address))

    def clear_addresses(self, peer: PeerId) -> None:
        if (entry := self._entries.get(peer)) is not None:
            entry.addresses.clear()
            entry.record, entry.sequence = None, -1
            self._update(peer, entry)

    def consume_record(self, envelope: bytes, ttl: float) -> bool:
        record = PeerRecord.open(envelope)
        peer = record.peer_id
        entry = self._entries.get(peer)
        known = entry.sequence if entry is not None and self._live(peer, entry) else -1
        if record.sequence < known or not _lasting(ttl):
            return False
        if record.sequence == known and entry is not None and entry.record != envelope:
            return False  # two records of one number: the first one counts
        raws = self._bare(peer, _readable(record.addresses, address_from_bytes))
        entry = self._entry(peer)
        entry.record, entry.sequence = bytes(envelope), record.sequence
        entry.forget_certified(keep=set(raws))
        now = self._clock()
        for raw in raws:
            entry.believe(raw, ttl, now, certified=True)
        self._told(peer, entry)
        return record.sequence > known

    def record(self, peer: PeerId) -> bytes | None:
        entry = self._get(peer)
        return None if entry is None else entry.record

    # --- everything else --------------------------------------------------------------------------

    def set_protocols(self, peer: PeerId, protocols: Iterable[str]) -> None:
        bounds = self._bounds
        protocols = tuple(islice(protocols, bounds.protocols))
        entry = self._entry(peer)
        if entry.protocols == frozenset(protocols):
            return self._told(peer, entry, changed=False)
        kept: set[str] = set()
        left = bounds.protocol_bytes
        for protocol in protocols:
            size = len(protocol.encode(errors="replace"))
            if not 0 < size <= bounds.protocol_id_bytes or protocol in kept:
                continue
            if size > left:
                break
            left -= size
            kept.add(protocol)
        entry.protocols, entry.protocol_bytes = frozenset(kept), bounds.protocol_bytes - left
        self._told(peer, entry)

    def protocols(self, peer: PeerId) -> frozenset[str] | None:
        entry = self._get(peer)
        return None if entry is None else entry.protocols

    def set_metadata(self, peer: PeerId, name: str, value: str) -> None:
        if len(name) > _MAX_METADATA_NAME:
            raise ValueError(f"a metadata name of {len(name)} characters")
        entry = self._entry(peer)
        if name not in entry.metadata and len(entry.metadata) >= self._bounds.metadata:
            raise ValueError(f"more than {self._bounds.metadata} metadata names of one peer")
        cut = value.encode(errors="replace")[: self._bounds.metadata_bytes].decode(errors="ignore")
        changed = entry.metadata.get(name) != cut
        entry.metadata[name] = cut
        self._told(peer, entry, changed=changed)

    def metadata(self, peer: PeerId) -> Mapping[str, str]:
        entry = self._get(peer)
        return MappingProxyType({} if entry is None else dict(entry.metadata))

    def add_key(self, peer: PeerId, key: PublicKey) -> None:
        if key.peer_id != peer:
            raise InvalidKey(f"that is the key of {key.peer_id}", peer=peer)
        if _inlined(peer) is None:
            entry = self._entry(peer)
            entry.key = key
            self._told(peer, entry)

    def public_key(self, peer: PeerId) -> PublicKey | None:
        entry = self._get(peer)
        return entry.key if entry is not None and entry.key is not None else _inlined(peer)

    # --- connections ------------------------------------------------------------------------------

    def connected(self, peer: PeerId, address: Multiaddr | None = None) -> None:
        if peer not in self._connected:
            self._connected.add(peer)
            if (entry := self._entries.get(peer)) is not None:
                self._idle_peers -= 1
                self._idle_size -= entry.size
                self._changed(peer)
        if address is None or not (raws := self._bare(peer, (address,))):
            return
        entry, now = self._entry(peer), self._clock()
        entry.believe(raws[0], Ttl.CONNECTED, now)
        entry.addresses[raws[0]].succeeded = now
        self._update(peer, entry)

    def disconnected(self, peer: PeerId) -> None:
        if peer not in self._connected:
            return
        entry = self._entries.get(peer)
        if entry is not None:
            self._take_out(peer)
        self._connected.remove(peer)
        if entry is not None:
            entry.disconnect(self._clock(), self._bounds)
            self._update(peer, entry)

    # --- all peers --------------------------------------------------------------------------------

    def peers(self) -> list[PeerId]:
        return [peer for peer, entry in self._entries.items() if self._live(peer, entry)]

    def remove(self, peer: PeerId) -> None:
        if peer in self._entries:
            self._drop(peer)

    def __contains__(self, peer: object) -> bool:
        return isinstance(peer, PeerId) and self._get(peer) is not None

    def __len__(self) -> int:
        return sum(self._live(peer, entry) for peer, entry in self._entries.items())

    def sweep(self) -> None:
        """Forget the peers of whom everything has expired."""
        now, expired = self._clock(), list[PeerId]()
        self._expiry = math.inf
        for peer, entry in self._entries.items():
            if peer in self._connected:
                continue
            if (expires := entry.expires) <= now:
                expired.append(peer)
            else:
                self._expiry = min(self._expiry, expires)
        for peer in expired:
            self._drop(peer)

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        self._watchers.append(changed)
        return lambda: self._watchers.remove(changed)

    def next_expiry(self) -> float:
        return max(0.0, self._expiry - self._clock())

    # --- within -----------------------------------------------------------------------------------

    def _changed(self, peer: PeerId) -> None:
        """What is known of `peer` is no longer what it was. Stores that write it down add to it."""
        for watcher in self._watchers:
            watcher()

    def _live(self, peer: PeerId, entry: Entry) -> bool:
        return peer in self._connected or entry.expires > self._clock()

    def _get(self, peer: PeerId) -> Entry | None:
        entry = self._entries.get(peer)
        return entry if entry is not None and self._live(peer, entry) else None

    def _entry(self, peer: PeerId) -> Entry:
        """The entry to change; what has expired is not found in it."""
        entry = self._get(peer)
        if entry is None:
            self.remove(peer)
            entry = Entry()
        return entry

    def _bare(self, peer: PeerId, addresses: Iterable[Multiaddr]) -> list[bytes]:
        """The binary form of addresses that may lead to `peer`, without `/p2p/`."""
        found: dict[bytes, None] = {}
        limit = self._bounds.addresses_connected
        for address in islice(addresses, 4 * limit):  # some are no use; none are read for ever
            try:
                bare, named = split_peer(address)
            except (AddressError, IdentityError):
                continue
            if (raw := bare.to_bytes()) and named in (None, peer):
                found[raw] = None
                if len(found) == limit:
                    break
        return list(found)

    def _believe(self, peer: PeerId, raws: Iterable[bytes], ttl: float) -> None:
        if not _lasting(ttl) or not raws:
            return
        entry = self._entry(peer)
        now = self._clock()
        for raw in raws:
            entry.believe(raw, ttl, now)
        self._update(peer, entry)

    def _told(self, peer: PeerId, entry: Entry, *, changed: bool = True) -> None:
        """Something else than an address was told of the peer."""
        if not changed and peer in self._connected:
            return  # it is kept for as long as the peer is connected, and a while from then on
        entry.kept_until = max(entry.kept_until, self._clock() + Ttl.RECENTLY_CONNECTED)
        self._update(peer, entry)

    def _update(self, peer: PeerId, entry: Entry) -> None:
        """Put `entry` in its place, within the bounds, after whatever was done to it."""
        connected = peer in self._connected
        if not connected and peer in self._entries:
            self._take_out(peer)
        entry.trim(self._clock(), connected, self._bounds)
        if entry.empty:
            self._entries.pop(peer, None)
        else:
            self._put(peer, entry)
        self._changed(peer)
        if not connected:
            self._make_room(peer)

    def _put(self, peer: PeerId, entry: Entry) -> None:
        self._entries[peer] = entry
        if peer not in self._connected:
            self._idle_peers += 1
            self._idle_size += entry.size
            self._expiry = min(self._expiry, entry.expires)

    def _take_out(self, peer: PeerId) -> None:
        entry = self._entries.pop(peer)
        if peer not in self._connected:
            self._idle_peers -= 1
            self._idle_size -= entry.size

    def _drop(self, peer: PeerId) -> None:
        self._take_out(peer)
        self._changed(peer)

    @property
    def _crowded(self) -> bool:
        return self._idle_peers > self._bounds.peers or self._idle_size > self._bounds.memory

    def _make_room(self, newcomer: PeerId) -> None:
        """Forget the peers without a connection that expire first, never the one just told of."""
        if self._crowded:
            self.sweep()
        at_once = max(1, self._bounds.peers // 100)  # since finding them is a pass over all
        while self._crowded:
            idle = (
                (entry.expires, peer)
                for peer, entry in self._entries.items()
                if peer not in self._connected and peer != newcomer
            )
            victims = heapq.nsmallest(at_once, idle)
            if not victims:
                break
            for _, peer in victims:
                self._drop(peer)


def _lasting(ttl: float) -> bool:
    if ttl != ttl:
        raise ValueError("a ttl must be a number of seconds")
    return ttl > 0


def _inlined(peer: PeerId) -> PublicKey | None:
    try:
        return peer.public_key()
    except InvalidKey:
        return None


def _stored_address(raw: bytes) -> Multiaddr:
    address = Multiaddr(raw)
    parts(address)  # what was in a file may be no address
    return address


def _readable(raws: Iterable[bytes], read: Callable[[bytes], Multiaddr]) -> Iterator[Multiaddr]:
    """Addresses from binary forms, without the malformed ones."""
    for raw in raws:
        with suppress(AddressError):
            yield read(raw)
