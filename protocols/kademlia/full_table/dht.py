"""A DHT whose every server we know: the nearest to a key are asked at once, without a lookup."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import trio

from carrick.identity import PeerId
from carrick.protocols.kademlia.dht import Dht
from carrick.protocols.kademlia.errors import NotFound
from carrick.protocols.kademlia.full_table.gathering import Gathering
from carrick.protocols.kademlia.full_table.servers import ServerTable
from carrick.protocols.kademlia.keyspace import key_of
from carrick.protocols.kademlia.messages import Message, PeerInfo
from carrick.protocols.kademlia.query import AROUND, WIDEST, Look, Neighbours, Query
from carrick.protocols.kademlia.sizing import SizeEstimate, gamma_quantile
from carrick.protocols.kademlia.tracing import Watch

__all__ = ["FullTableDht"]


class FullTableDht(Dht):
    """As `Dht`. Before the first crawl has ended it looks things up as that does.

    Args:
        max_per_group: peers of one network among those that are nearest to a key.

    Attributes:
        servers: all that are known.
    """

    def __init__(self, *args: Any, max_per_group: int | None = None, **changes: Any) -> None:
        super().__init__(*args, **changes)
        self.servers = ServerTable()
        self._max_per_group = max_per_group

    async def closest_peers(
        self,
        key: bytes,
        *,
        count: int | None = None,
        until: Callable[[Sequence[PeerInfo]], bool] | None = None,
        watch: Watch | None = None,
    ) -> Neighbours:
        """The `count` (k) peers nearest to `key`, ourselves left out. Nobody is asked."""
        if not self.servers.is_whole:
            return await super().closest_peers(key, count=count, until=until, watch=watch)
        await trio.lowlevel.checkpoint()
        count = self.k if count is None else count
        region = self.region(key_of(key), count)
        return Neighbours(region[:count], region)

    def region(self, place: int, count: int) -> list[PeerInfo]:
        """The `count` servers nearest to a place; more where others crowd there."""
        while True:
            found = self.servers.closest(place, count, max_per_group=self._max_per_group)
            crowded = self.is_crowded(place, [each.id for each in found[: self.k]])
            if not crowded or count >= WIDEST * self.k:
                return found
            expected = self.expected_within(place, [each.id for each in found])
            if expected is None or expected >= gamma_quantile(self.k, AROUND):
                return found
            count += self.k

    async def find_peer(self, peer: PeerId, *, watch: Watch | None = None) -> PeerInfo:
        """Where `peer` is: as those nearest to it say now, or as the last crawl found it.

        Raises:
            NotFound: neither tells.
        """
        try:
            return await super().find_peer(peer, watch=watch)
        except NotFound:
            known = self.servers.get(peer)
            if known is None:
                raise
            self._learned(known)
            return known

    def network_size(self) -> SizeEstimate | None:
        """All of them were counted."""
        if not self.servers.is_whole:
            return super().network_size()
        return SizeEstimate(len(self.servers), 0.0, 0)

    def _query(
        self,
        request: Message,
        watch: Watch | None = None,
        look: Look | None = None,
        *,
        exclude: Iterable[PeerId] = (),
    ) -> Query:
        if not self.servers.is_whole:
            return super()._query(request, watch, look, exclude=exclude)
        excluded = {self.own, *exclude}
        key = key_of(request.key)
        peers = [each for each in self.region(key, self.k) if each.id not in excluded]
        gathering = Gathering(key, [each.id for each in peers])
        return Query(self, request, watch, look, lookup=gathering, exclude=exclude, known=peers)
