"""Every server of a DHT, in the order of the keyspace. No I/O."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

from carrick.identity import PeerId
from carrick.protocols.kademlia.keyspace import peer_key
from carrick.protocols.kademlia.messages import PeerInfo

__all__ = ["ServerTable"]

MAX_SERVERS = 131_072  # the public network has some 10,000
MAX_ADDRESSES = 8  # of each
_FAILURES = 2  # in a row, after which a server is taken to be gone
_SMALL = 16  # that are sorted, not divided further


@dataclass(slots=True)
class _Server:
    info: PeerInfo
    groups: frozenset[Hashable]
    failures: int = 0


class ServerTable:
    """The servers that a crawl has found, and those that have answered since.

    Args:
        max_servers: no more of them are kept.
    """

    def __init__(self, max_servers: int = MAX_SERVERS) -> None:
        self._max = max_servers
        self._servers: dict[PeerId, _Server] = {}
        self._places: list[tuple[int, PeerId]] = []
        self._found = 0

    @property
    def is_whole(self) -> bool:
        """Whether it still holds most of what the last crawl has found; there was one. (It does not
        when we were cut off for a while.)"""
        return 0 < self._found <= 2 * len(self)

    def __len__(self) -> int:
        return len(self._servers)

    def __contains__(self, peer: object) -> bool:
        return peer in self._servers

    def __iter__(self) -> Iterator[PeerInfo]:
        """All of them, in the order of the keyspace."""
        return (self._servers[peer].info for _, peer in self._places)

    def get(self, peer: PeerId) -> PeerInfo | None:
        """Where `peer` is, if it is in the table."""
        server = self._servers.get(peer)
        return None if server is None else server.info

    # --- filling it -------------------------------------------------------------------------------

    def replace(self, servers: Iterable[tuple[PeerInfo, frozenset[Hashable]]]) -> None:
        """These are all, with the networks of their addresses; who is not among them is gone."""
        self._servers = {}
        for info, groups in servers:
            if len(self._servers) >= self._max:
                break
            self._servers[info.id] = _Server(_few(info), groups)
        self._places = sorted((peer_key(peer), peer) for peer in self._servers)
        self._found = len(self)

    def answered(self, info: PeerInfo, groups: frozenset[Hashable]) -> None:
        """A server has answered us: it is there, and may be a new one. Before the first crawl that
        says nothing."""
        server = self._servers.get(info.id)
        if server is not None:
            server.failures = 0
        elif self._found and len(self._servers) < self._max:
            self._servers[info.id] = _Server(_few(info), groups)
            place = peer_key(info.id), info.id
            self._places.insert(bisect_left(self._places, place), place)

    def failed(self, peer: PeerId) -> None:
        """`peer` did not answer; when that happens twice in a row it is gone."""
        server = self._servers.get(peer)
        if server is None:
            return
        server.failures += 1
        if server.failures >= _FAILURES:
            del self._servers[peer]
            del self._places[bisect_left(self._places, (peer_key(peer), peer))]

    # --- asking it --------------------------------------------------------------------------------

    def closest(self, key: int, count: int, *, max_per_group: int | None = None) -> list[PeerInfo]:
        """The `count` servers nearest to a place in the keyspace, nearest first.

        Args:
            max_per_group: no more of one network than so many: the next nearest take their places.
        """
        found: list[PeerInfo] = []
        groups: Counter[Hashable] = Counter()
        for peer in self._nearest(key):
            server = self._servers[peer]
            if max_per_group is not None:
                if any(groups[each] >= max_per_group for each in server.groups):
                    continue
                groups.update(server.groups)
            found.append(server.info)
            if len(found) == count:
                break
        return found

    def _nearest(self, key: int) -> Iterator[PeerId]:
        """All of them, the nearest first. Of places that differ in one bit first, those are nearer
        that have it as the key has it, whatever comes behind."""
        places = self._places
        ranges = [(0, len(places))]
        while ranges:
            low, high = ranges.pop()
            if high - low <= _SMALL:
                few = sorted(places[low:high], key=lambda place: place[0] ^ key)
                yield from (peer for _, peer in few)
                continue
            bit = (places[low][0] ^ places[high - 1][0]).bit_length() - 1
            split = places[high - 1][0] >> bit << bit
            middle = bisect_left(places, split, low, high, key=lambda place: place[0])
            halves = [(low, middle), (middle, high)]
            # The last one is looked at first.
            ranges += halves if key >> bit & 1 else reversed(halves)


def _few(info: PeerInfo) -> PeerInfo:
    return PeerInfo(info.id, info.encoded[:MAX_ADDRESSES])
