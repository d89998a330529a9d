"""One lookup as the DHT makes it: whom it asks what, and what the answers told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import trio

from carrick.errors import PEER_FAILURES
from carrick.identity import PeerId
from carrick.protocols.kademlia.errors import NotFound
from carrick.protocols.kademlia.keyspace import common_prefix_length, key_of, peer_key
from carrick.protocols.kademlia.lookup import DisjointLookup, Lookup
from carrick.protocols.kademlia.messages import Message, PeerInfo
from carrick.protocols.kademlia.sizing import gamma_quantile
from carrick.protocols.kademlia.tracing import Hop, HopKind, Watch
from carrick.protocols.kademlia.walking import AnyLookup, walk

if TYPE_CHECKING:
    from carrick.protocols.kademlia.dht import Dht

__all__ = ["AROUND", "WIDEST", "AnyLookup", "Look", "Neighbours", "Query"]

Look: TypeAlias = "Callable[[PeerId, Message], int]"
"""Is shown who answered what; returns how many values or providers that brought."""

_MAX_ADDRESSES = 16  # of a peer that one lookup remembers
AROUND = 0.1  # chance that k peers whom nobody placed are as near as we look then
WIDEST = 4  # times k: as many peers about a crowded key are looked for


@dataclass(slots=True)
class Neighbours:
    """The outcome of a lookup.

    Attributes:
        closest: the k nearest peers that answered, nearest first.
        region: the same; where peers crowd about the key as if somebody had placed them there, more
            of those around. What is stored is stored at all of them.
        requests: how many peers were asked.
        hops: the longest chain of answers.
    """

    closest: list[PeerInfo] = field(default_factory=list)
    region: list[PeerInfo] = field(default_factory=list)
    requests: int = 0
    hops: int = 0


class Query:
    """One lookup with one request.

    Args:
        count: how many nearest peers are wanted; None: k.
        exclude: never asked, nor found.
        lookup: whom to ask; None: from the table on to the nearest.
        known: where some of them are.

    Attributes:
        lookup: its state.
    """

    def __init__(
        self,
        dht: Dht,
        request: Message,
        watch: Watch | None = None,
        look: Look | None = None,
        *,
        count: int | None = None,
        exclude: Iterable[PeerId] = (),
        lookup: AnyLookup | None = None,
        known: Iterable[PeerInfo] = (),
    ) -> None:
        self._dht = dht
        self._excluded = {dht.own, *exclude}
        self._count = dht.k if count is None else count
        self._request = request
        self._watch = watch
        self._look = look
        self._known = {each.id: each for each in known}
        self.lookup = self._begin() if lookup is None else lookup

    def _begin(self) -> AnyLookup:
        dht, key = self._dht, key_of(self._request.key)
        seeds = dht.table.closest(key, max(self._count, dht.paths * 4))
        if dht.paths > 1:
            return DisjointLookup(
                key, seeds, paths=dht.paths, k=self._count, alpha=dht.alpha, exclude=self._excluded
            )
        return Lookup(key, seeds, k=self._count, alpha=dht.alpha, exclude=self._excluded)

    async def run(self) -> None:
        dht, lookup = self._dht, self.lookup
        await walk(lookup, self._ask)
        if not lookup.stopped and not lookup.spent:
            # Before this lookup changes what the size is thought to be.
            if dht.is_crowded(lookup.key, lookup.closest[: dht.k]):
                await self._widen()
            dht.size.track(lookup.key, lookup.closest, trio.current_time())
        dht.table.refreshed(common_prefix_length(dht.table.own, lookup.key), trio.current_time())

    async def _widen(self) -> None:
        """Look farther, to where the peers are that should have been the nearest."""
        dht, lookup = self._dht, self.lookup
        while lookup.k < WIDEST * dht.k:
            lookup.widen(lookup.k + dht.k)
            await walk(lookup, self._ask)
            expected = dht.expected_within(lookup.key, lookup.closest)
            if expected is None or expected >= gamma_quantile(dht.k, AROUND):
                return

    @property
    def neighbours(self) -> Neighbours:
        lookup = self.lookup
        region = self.infos(lookup.closest)
        return Neighbours(region[: self._count], region, lookup.requests, lookup.hops)

    def nearest(self, named: Iterable[PeerInfo] = ()) -> list[PeerId]:
        """The k nearest that were heard of, and of those that an answer has just named."""
        peers = {*self.lookup.nearest, *(each.id for each in named)} - self._excluded
        return sorted(peers, key=lambda peer: peer_key(peer) ^ self.lookup.key)[: self._dht.k]

    def infos(self, peers: Iterable[PeerId]) -> list[PeerInfo]:
        return [self._info(peer) for peer in peers]

    def not_found(self, what: str) -> NotFound:
        asked, answered = self.lookup.requests, len(self.lookup.closest)
        if not asked:
            return NotFound(f"{what}: no other peer of the DHT is known")
        return NotFound(f"{what}: {asked} peers were asked, {answered} of the nearest answered")

    async def _ask(self, peer: PeerId) -> list[PeerId]:
        started = trio.current_time()
        self._tell(HopKind.ASKED, peer, started)
        found = 0
        try:
            answer = await self._dht.ask(self._info(peer), self._request)
            for each in answer.closer:
                if each.id not in self._known:
                    few = each._replace(encoded=each.encoded[:_MAX_ADDRESSES])
                    self._known[each.id] = few
            if self._look is not None:
                found = self._look(peer, answer)
        except PEER_FAILURES as error:
            self._tell(HopKind.FAILED, peer, started, error=str(error))
            raise
        closer = [each.id for each in answer.closer]
        kind = HopKind.FOUND if found else HopKind.ANSWERED
        self._tell(kind, peer, started, closer=closer, found=found)
        return closer

    def _info(self, peer: PeerId) -> PeerInfo:
        """Where to ask a peer: as we know, and as we have just heard."""
        known, heard = self._dht.describe(peer), self._known.get(peer)
        if heard is None:
            return known
        return PeerInfo(peer, tuple(dict.fromkeys([*known.encoded, *heard.encoded])))

    def _tell(
        self,
        kind: HopKind,
        peer: PeerId,
        started: float,
        *,
        closer: Iterable[PeerId] = (),
        found: int = 0,
        error: str | None = None,
    ) -> None:
        if self._watch is not None:
            now = trio.current_time()
            rtt = None if kind is HopKind.ASKED else now - started
            self._watch(Hop(kind, peer, now, rtt, tuple(closer), found, error))
