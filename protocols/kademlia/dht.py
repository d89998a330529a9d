"""One DHT as its client sees it: finds peers, values and providers, and stores them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

import trio

from carrick.identity import PeerId
from carrick.protocols.kademlia.errors import InvalidRecord, NotFound, NothingStored
from carrick.protocols.kademlia.interfaces import Messenger, ProviderStore, RecordStore
from carrick.protocols.kademlia.keyspace import common_prefix_length, key_of
from carrick.protocols.kademlia.lookup import ALPHA, DisjointLookup, K, Lookup
from carrick.protocols.kademlia.messages import Message, MessageType, PeerInfo, Record
from carrick.protocols.kademlia.table import RoutingTable
from carrick.protocols.kademlia.tracing import Hop, HopKind, Watch
from carrick.protocols.kademlia.validation import Validators
from carrick.protocols.kademlia.walking import FAILURES, walk

__all__ = ["Dht", "Neighbours", "QUORUM"]

QUORUM = 16  # answers with a value that are enough (go-libp2p-kad-dht, internal/config/quorum.go)
_SIGHTINGS = 3  # of a peer, of which one may be stale or a lie


@dataclass(slots=True)
class Neighbours:
    """The outcome of a lookup.

    Attributes:
        closest: the k nearest peers that answered, nearest first.
        requests: how many peers were asked.
        hops: the longest chain of answers.
    """

    closest: list[PeerInfo] = field(default_factory=list)
    requests: int = 0
    hops: int = 0


class Dht:
    """One DHT.

    Args:
        own: who we are.
        describe: a peer's addresses as we know them; ourselves included.
        learned: told the addresses of peers and providers that were looked for and found.
        met: told of each peer that has answered, so that it enters the table.
        lost: told of each peer that did not.
        paths: disjoint paths of a lookup; 1 is an ordinary one.
        clock: the UNIX time.
    """

    def __init__(
        self,
        own: PeerId,
        table: RoutingTable,
        messenger: Messenger,
        records: RecordStore,
        providers: ProviderStore,
        validators: Validators,
        *,
        describe: Callable[[PeerId], PeerInfo],
        learned: Callable[[PeerInfo], object],
        met: Callable[[PeerId], object],
        lost: Callable[[PeerId], object],
        k: int = K,
        alpha: int = ALPHA,
        paths: int = 1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.own = own
        self.table = table
        self.messenger = messenger
        self.records = records
        self.providers = providers
        self.validators = validators
        self.k = k
        self.alpha = alpha
        self.paths = paths
        self.clock = clock
        self.describe = describe
        self._learned = learned
        self._met = met
        self._lost = lost

    # --- peers ------------------------------------------------------------------------------------

    async def closest_peers(self, key: bytes, *, watch: Watch | None = None) -> Neighbours:
        """The k peers nearest to `key`, ourselves left out."""
        query = _Query(self, Message(MessageType.FIND_NODE, key), watch)
        await query.run()
        return query.neighbours

    async def find_peer(self, peer: PeerId, *, watch: Watch | None = None) -> PeerInfo:
        """Where `peer` is, as several peers say.

        Raises:
            NotFound: nobody who was asked knows.
        """
        sightings: dict[bytes, None] = {}
        count = 0

        def look(sender: PeerId, answer: Message) -> int:
            nonlocal count
            seen = next((each for each in answer.closer if each.id == peer and each.encoded), None)
            if seen is None:
                return 0
            sightings.update(dict.fromkeys(seen.encoded))
            count += 1
            if sender == peer or count >= _SIGHTINGS:
                query.lookup.stop()
            return 1

        query = _Query(self, Message(MessageType.FIND_NODE, peer.to_bytes()), watch, look)
        await query.run()
        if not sightings:
            raise query.not_found(f"nobody knows where {peer} is")
        found = PeerInfo(peer, tuple(sightings))
        self._learned(found)
        return found

    async def ask(self, peer: PeerInfo, message: Message) -> Message:
        """Ask one peer, and note whether it answered.

        Raises:
            CarrickError: it did not.
        """
        try:
            answer = await self.messenger.request(peer, message)
        except FAILURES:
            self._lost(peer.id)
            raise
        self._met(peer.id)
        return answer

    # --- values -----------------------------------------------------------------------------------

    async def get_value(
        self, key: bytes, *, quorum: int = QUORUM, watch: Watch | None = None
    ) -> bytes:
        """The best value under `key` that is found.

        Peers among the nearest that had none, or a worse one, are given the best.

        Args:
            quorum: so many answers with a value are enough; 0 asks all of the nearest.

        Raises:
            InvalidRecord: no validator is in charge of such keys.
            NotFound: nobody who was asked has a valid value.
        """
        self.validators.check_key(key)
        holders: dict[PeerId, bytes] = {}
        local = self.records.get(key, self.clock())
        best = None if local is None else local.value

        def take(sender: PeerId, answer: Message) -> int:
            nonlocal best
            if answer.record is None:
                return 0
            value = answer.record.value
            self.validators.validate(key, value, self.clock())
            holders[sender] = value
            if best is None or self.validators.is_better(key, value, best):
                best = value
            if quorum and len(holders) + (local is not None) >= quorum:
                query.lookup.stop()
            return 1

        query = _Query(self, Message(MessageType.GET_VALUE, key), watch, take)
        await query.run()
        if best is None:
            raise query.not_found("nobody has a value under this key")
        behind = [each for each in query.neighbours.closest if holders.get(each.id) != best]
        await self._store(behind, key, best)
        return best

    async def put_value(self, key: bytes, value: bytes, *, watch: Watch | None = None) -> int:
        """Store a value at the k peers nearest to `key`, and here; returns how many took it.

        Raises:
            InvalidRecord: it is not valid, or older than what we have.
            NothingStored: nobody took it.
        """
        now = self.clock()
        self.validators.validate(key, value, now)
        present = self.records.get(key, now)
        if present is not None and self.validators.is_better(key, present.value, value):
            raise InvalidRecord("a record that is older than ours")
        self.records.put(key, value, now)
        neighbours = await self.closest_peers(key, watch=watch)
        stored = await self._store(neighbours.closest, key, value)
        if not stored:
            raise NothingStored(f"none of {len(neighbours.closest)} peers took the value")
        return stored

    async def _store(self, peers: Sequence[PeerInfo], key: bytes, value: bytes) -> int:
        request = Message(MessageType.PUT_VALUE, key, Record(key, value))

        async def put(peer: PeerInfo) -> None:
            answer = await self.ask(peer, request)
            if answer.record is None or answer.record.value != value:
                raise InvalidRecord("the peer did not echo the record", peer=peer.id)

        return await _succeeded(put, peers)

    # --- providers --------------------------------------------------------------------------------

    async def provide(self, key: bytes, *, watch: Watch | None = None) -> int:
        """Tell the k peers nearest to `key` that we provide it; returns how many took it.

        It must be said again before it expires: see `Republisher`.

        Raises:
            NothingStored: nobody took it.
        """
        us = self.describe(self.own)
        self.providers.add(key, us, self.clock())
        neighbours = await self.closest_peers(key, watch=watch)
        told = await self.tell_providers(key, neighbours.closest)
        if not told:
            raise NothingStored(f"none of {len(neighbours.closest)} peers took the record")
        return told

    async def tell_providers(self, key: bytes, peers: Sequence[PeerInfo]) -> int:
        """Tell exactly these peers that we provide `key`; returns how many took it."""
        message = Message(MessageType.ADD_PROVIDER, key, providers=(self.describe(self.own),))
        return await _succeeded(lambda peer: self.messenger.tell(peer, message), peers)

    async def find_providers(
        self,
        key: bytes,
        *,
        count: int = 20,
        watch: Watch | None = None,
        found: Callable[[PeerInfo], object] | None = None,
    ) -> list[PeerInfo]:
        """Peers that provide `key`.

        Args:
            count: so many are enough; 0 asks all of the nearest.
            found: told of each as it is found.
        """
        providers: dict[PeerId, PeerInfo] = {}

        def take(named: Iterable[PeerInfo]) -> int:
            fresh = 0
            for provider in named:
                known = providers.get(provider.id)
                if known is None and (not count or len(providers) < count):
                    fresh += 1
                    providers[provider.id] = provider
                    self._learned(provider)
                    if found is not None:
                        found(provider)
                elif known is not None and not known.encoded:
                    providers[provider.id] = provider
                    self._learned(provider)
            return fresh

        def look(sender: PeerId, answer: Message) -> int:
            fresh = take(answer.providers)
            if count and len(providers) >= count:
                query.lookup.stop()
            return fresh

        take(self.providers.get(key, self.clock()))
        if count and len(providers) >= count:
            return list(providers.values())
        query = _Query(self, Message(MessageType.GET_PROVIDERS, key), watch, look)
        await query.run()
        return list(providers.values())


class _Query:
    """One lookup with one request, and what its answers told."""

    def __init__(
        self,
        dht: Dht,
        request: Message,
        watch: Watch | None = None,
        look: Callable[[PeerId, Message], int] | None = None,
    ) -> None:
        self._dht = dht
        self._request = request
        self._watch = watch
        self._look = look
        self._known: dict[PeerId, PeerInfo] = {}
        key = key_of(request.key)
        seeds = dht.table.closest(key, max(dht.k, dht.paths * 4))
        self.lookup: Lookup | DisjointLookup
        if dht.paths > 1:
            self.lookup = DisjointLookup(
                key, seeds, paths=dht.paths, k=dht.k, alpha=dht.alpha, exclude=[dht.own]
            )
        else:
            self.lookup = Lookup(key, seeds, k=dht.k, alpha=dht.alpha, exclude=[dht.own])

    async def run(self) -> None:
        await walk(self.lookup, self._ask)
        table = self._dht.table
        table.refreshed(common_prefix_length(table.own, self.lookup.key), trio.current_time())

    @property
    def neighbours(self) -> Neighbours:
        lookup = self.lookup
        return Neighbours(
            [self._info(peer) for peer in lookup.closest], lookup.requests, lookup.hops
        )

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
                self._known.setdefault(each.id, each)
            if self._look is not None:
                found = self._look(peer, answer)
        except FAILURES as error:
            self._tell(HopKind.FAILED, peer, started, error=str(error))
            raise
        closer = tuple(each.id for each in answer.closer)
        kind = HopKind.FOUND if found else HopKind.ANSWERED
        self._tell(kind, peer, started, closer=closer, found=found)
        return list(closer)

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
        closer: tuple[PeerId, ...] = (),
        found: int = 0,
        error: str | None = None,
    ) -> None:
        if self._watch is not None:
            now = trio.current_time()
            rtt = None if kind is HopKind.ASKED else now - started
            self._watch(Hop(kind, peer, now, rtt, closer, found, error))


async def _succeeded(act: Callable[[PeerInfo], Awaitable[None]], peers: Sequence[PeerInfo]) -> int:
    """How many of `peers` `act` works with, all at once."""
    done = 0

    async def one(peer: PeerInfo) -> None:
        nonlocal done
        try:
            await act(peer)
        except FAILURES:
            return
        done += 1

    async with trio.open_nursery() as nursery:
        for peer in peers:
            nursery.start_soon(one, peer)
    return done
