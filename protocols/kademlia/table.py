"""The routing table: which servers of the DHT we know, many near us and few far away. No I/O.

Bucket *i* holds peers that share exactly *i* bits with us from the left, at most k of them. A peer
enters when it has answered us, and is replaced only when it fails: old peers live longer
(Maymounkov and Mazières 2002, section 2.2), and a flood of new ones displaces nobody. Peers of one
network (an IPv4 /16 or IPv6 /32) get few places, so that whoever owns one fills no table
(go-libp2p-kad-dht, rt_diversity_filter.go).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field

from carrick.identity import PeerId
from carrick.protocols.kademlia.keyspace import BITS, common_prefix_length, peer_key

__all__ = ["Contact", "RoutingTable"]

MAX_PER_GROUP = 3  # contacts of one network in the table (go, dual)
MAX_PER_GROUP_AND_BUCKET = 2  # (the same)


@dataclass(slots=True)
class Contact:
    """A peer in the table.

    Attributes:
        groups: the networks of its addresses.
        added: when it came in, seconds.
        seen: when it last answered.
        failures: how often it has not, since.
    """

    peer: PeerId
    key: int
    groups: frozenset[Hashable]
    added: float
    seen: float
    failures: int = 0


@dataclass(slots=True)
class _Bucket:
    contacts: dict[PeerId, Contact] = field(default_factory=dict)
    waiting: OrderedDict[PeerId, Contact] = field(default_factory=OrderedDict)
    """Who would come in if a place became free, the last that answered at the end."""
    refreshed: float | None = None


class RoutingTable:
    """The contacts of one node.

    Args:
        own: our place in the keyspace.
        k: contacts in a bucket, and as many waiting for a place.
        max_per_group: contacts of one network in all; None for as many as there are, which suits a
            network on one machine or LAN.
        max_per_group_and_bucket: the same in one bucket.
    """

    def __init__(
        self,
        own: int,
        *,
        k: int = 20,
        max_per_group: int | None = MAX_PER_GROUP,
        max_per_group_and_bucket: int | None = MAX_PER_GROUP_AND_BUCKET,
    ) -> None:
        self.own = own
        self.k = k
        self._buckets: dict[int, _Bucket] = {}
        self._max_per_group = max_per_group
        self._max_per_bucket = max_per_group_and_bucket
        self._groups: Counter[Hashable] = Counter()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Contact]:
        for bucket in self._buckets.values():
            yield from bucket.contacts.values()

    def __contains__(self, peer: PeerId) -> bool:
        return self.get(peer) is not None

    def get(self, peer: PeerId) -> Contact | None:
        bucket = self._buckets.get(self.prefix_length(peer))
        return None if bucket is None else bucket.contacts.get(peer)

    def prefix_length(self, peer: PeerId) -> int:
        """In which bucket it would be."""
        return common_prefix_length(self.own, peer_key(peer))

    # --- coming and going -------------------------------------------------------------------------

    def answered(self, peer: PeerId, groups: Iterable[Hashable], now: float) -> bool:
        """`peer` is a server and has just answered us. Returns whether it is in the table.

        Without a place for it, it waits for one.
        """
        index = self.prefix_length(peer)
        if index == BITS:
            return False
        bucket = self._buckets.setdefault(index, _Bucket())
        contact = bucket.contacts.get(peer)
        if contact is not None:
            contact.seen, contact.failures = now, 0
            return True
        contact = Contact(peer, peer_key(peer), frozenset(groups), now, now)
        bucket.waiting.pop(peer, None)
        if self._has_place(bucket, contact):
            self._enter(bucket, contact)
            return True
        bucket.waiting[peer] = contact
        if len(bucket.waiting) > self.k:
            bucket.waiting.popitem(last=False)
        return False

    def failed(self, peer: PeerId) -> None:
        """`peer` did not answer: its place goes to one who waits for it."""
        index = self.prefix_length(peer)
        bucket = self._buckets.get(index)
        if bucket is None:
            return
        bucket.waiting.pop(peer, None)
        contact = bucket.contacts.get(peer)
        if contact is not None:
            contact.failures += 1
            self._leave(bucket, contact)

    def remove(self, peer: PeerId) -> bool:
        """`peer` is no server any more. Returns whether it was in the table."""
        present = peer in self
        self.failed(peer)
        return present

    def wants(self, peer: PeerId) -> bool:
        """Whether `peer` is new to us, and its bucket not full."""
        bucket = self._buckets.get(self.prefix_length(peer))
        if bucket is None:
            return True
        return peer not in bucket.contacts and len(bucket.contacts) < self.k

    def _enter(self, bucket: _Bucket, contact: Contact) -> None:
        bucket.contacts[contact.peer] = contact
        self._groups.update(contact.groups)
        self._count += 1

    def _leave(self, bucket: _Bucket, contact: Contact) -> None:
        del bucket.contacts[contact.peer]
        self._count -= 1
        for group in contact.groups:
            self._groups[group] -= 1
            if not self._groups[group]:
                del self._groups[group]
        for peer in reversed(bucket.waiting):
            if self._has_place(bucket, bucket.waiting[peer]):
                self._enter(bucket, bucket.waiting.pop(peer))
                return

    def _has_place(self, bucket: _Bucket, contact: Contact) -> bool:
        if len(bucket.contacts) >= self.k:
            return False
        if self._max_per_group is not None and any(
            self._groups[group] >= self._max_per_group for group in contact.groups
        ):
            return False
        most = self._max_per_bucket
        return most is None or all(
            sum(group in each.groups for each in bucket.contacts.values()) < most
            for group in contact.groups
        )

    # --- asking it --------------------------------------------------------------------------------

    def closest(self, key: int, count: int | None = None) -> list[PeerId]:
        """The `count` (k) contacts nearest to `key`, nearest first: exactly those.

        Nearest are those of the key's own bucket; then all that are nearer to us than it, for they
        share with the key as many bits as we do; then the buckets farther away, one by one.
        """
        count = self.k if count is None else count
        index = common_prefix_length(self.own, key)
        nearer = [each for each in self._buckets if each > index]
        tiers = [[index], nearer, *([each] for each in range(index - 1, -1, -1))]
        found: list[PeerId] = []
        for tier in tiers:
            peers = {
                contact.key ^ key: contact.peer
                for each in tier
                if each in self._buckets
                for contact in self._buckets[each].contacts.values()
            }
            found += [peers[distance] for distance in sorted(peers)]
            if len(found) >= count:
                break
        return found[:count]

    def bucket_sizes(self) -> dict[int, int]:
        """How many contacts each bucket holds, by the bits that they share with us."""
        return {
            index: len(bucket.contacts)
            for index, bucket in sorted(self._buckets.items())
            if bucket.contacts
        }

    def refreshed(self, index: int, now: float) -> None:
        """A lookup has gone through bucket `index`."""
        self._buckets.setdefault(index, _Bucket()).refreshed = now

    def stale(self, now: float, after: float) -> list[int]:
        """The buckets to look into: those up to the nearest that holds a contact through which no
        lookup went for `after` seconds."""
        last = max((index for index, each in self._buckets.items() if each.contacts), default=-1)
        return [
            index
            for index in range(last + 1)
            if (at := self._buckets.get(index, _Bucket()).refreshed) is None or now - at >= after
        ]

    def silent(self, now: float, after: float) -> list[PeerId]:
        """The contacts that have not answered for `after` seconds, the longest silent first."""
        quiet = [contact for contact in self if now - contact.seen >= after]
        quiet.sort(key=lambda contact: contact.seen)
        return [contact.peer for contact in quiet]
