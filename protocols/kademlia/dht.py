"""One DHT as its client sees it: finds peers, values and providers, and stores them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import trio

from carrick.errors import PEER_FAILURES, StreamReset
from carrick.identity import PeerId
from carrick.protocols.kademlia.background import Background, Telling
from carrick.protocols.kademlia.bulk import spread
from carrick.protocols.kademlia.errors import InvalidRecord, NothingStored
from carrick.protocols.kademlia.interfaces import Messenger, ProviderStore, RecordStore
from carrick.protocols.kademlia.keyspace import key_of
from carrick.protocols.kademlia.lookup import ALPHA, K
from carrick.protocols.kademlia.messages import (
    MAX_PROVIDER_KEY,
    Message,
    MessageType,
    PeerInfo,
    Record,
)
from carrick.protocols.kademlia.optimistic import OptimisticProvide
from carrick.protocols.kademlia.query import Look, Neighbours, Query
from carrick.protocols.kademlia.sizing import (
    SizeEstimate,
    SizeEstimator,
    gamma_quantile,
    normed_distance,
)
from carrick.protocols.kademlia.table import RoutingTable
from carrick.protocols.kademlia.tracing import Watch
from carrick.protocols.kademlia.validation import Validators

__all__ = ["Dht", "Neighbours", "QUORUM"]

QUORUM = 16  # answers with a value that are enough (go-libp2p-kad-dht, internal/config/quorum.go)
_SIGHTINGS = 3  # of a peer, of which one may be stale or a lie
_SECOND_OPINION = 1.0  # s that others are waited for when one has said where a peer is
_BY_CHANCE = 1e-3  # lookups whose k nearest are called a crowd although nobody placed them
_MOST_PROVIDERS = 1024  # that one search finds
_KEYS_A_STREAM = 256  # that a peer is told in one go


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
        background: where work goes on that outlives a call.

    Attributes:
        size: how large the network is, as its lookups show.
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
        background: Background | None = None,
    ) -> None:
        self.size = SizeEstimator(k)
        self.background = background or Background()
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

    async def closest_peers(
        self,
        key: bytes,
        *,
        count: int | None = None,
        until: Callable[[Sequence[PeerInfo]], bool] | None = None,
        watch: Watch | None = None,
    ) -> Neighbours:
        """The `count` (k) peers nearest to `key`, ourselves left out.

        Args:
            until: is shown the nearest that were heard of, after each answer, and ends the lookup
                by returning True.
        """
        return await self.look_up(key, count=count, until=until, watch=watch)

    async def look_up(
        self,
        key: bytes,
        *,
        count: int | None = None,
        until: Callable[[Sequence[PeerInfo]], bool] | None = None,
        watch: Watch | None = None,
    ) -> Neighbours:
        """As `closest_peers`; always by asking from peer to peer, which keeps the table fresh."""

        def look(sender: PeerId, answer: Message) -> int:
            if until is not None and until(query.infos(query.nearest(answer.closer))):
                query.lookup.stop()
            return 0

        query = Query(self, Message(MessageType.FIND_NODE, key), watch, look, count=count)
        await query.run()
        return query.neighbours

    def is_crowded(self, place: int, nearest: Sequence[PeerId]) -> bool:
        """Whether these peers, the k nearest to a place in the keyspace, are much nearer than
        chance puts them, in a network of the size that we know: then somebody wants to be all that
        is found there (arXiv 2505.01139)."""
        expected = self.expected_within(place, nearest)
        return expected is not None and expected < gamma_quantile(self.k, _BY_CHANCE)

    def expected_within(self, place: int, nearest: Sequence[PeerId]) -> float | None:
        """How many peers there should be as near to a place as these; None if we cannot say."""
        estimate = self.network_size()
        if estimate is None or len(nearest) < self.k or estimate.servers < 2 * self.k:
            return None
        return normed_distance(nearest[-1], place) * estimate.servers

    def network_size(self) -> SizeEstimate | None:
        """How many servers there are; None if we cannot say."""
        return self.size.estimate(trio.current_time())

    async def find_peer(self, peer: PeerId, *, watch: Watch | None = None) -> PeerInfo:
        """Where `peer` is, as several peers say. It is not asked itself: whoever dials it may be
        waiting for this.

        Raises:
            NotFound: nobody who was asked knows, nor do we.
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
            if count == 1:
                asking.deadline = trio.current_time() + _SECOND_OPINION
            if count >= _SIGHTINGS:
                query.lookup.stop()
            return 1

        request = Message(MessageType.FIND_NODE, peer.to_bytes())
        query = self._query(request, watch, look, exclude=[peer])
        with trio.CancelScope() as asking:
            await query.run()
        if not sightings and peer in self.table:
            sightings.update(dict.fromkeys(self.describe(peer).encoded))
        if not sightings:
            raise query.not_found(f"nobody knows where {peer} is")
        found = PeerInfo(peer, tuple(sightings))
        self._learned(found)
        return found

    def _query(
        self,
        request: Message,
        watch: Watch | None = None,
        look: Look | None = None,
        *,
        exclude: Iterable[PeerId] = (),
    ) -> Query:
        return Query(self, request, watch, look, exclude=exclude)

    async def ask(self, peer: PeerInfo, message: Message) -> Message:
        """Ask one peer, and note whether it answered.

        Raises:
            CarrickError: it did not.
        """
        try:
            answer = await self.messenger.request(peer, message)
        except PEER_FAILURES as error:
            # A value is refused by a reset: that says nothing against the peer.
            if message.type is not MessageType.PUT_VALUE or not isinstance(error, StreamReset):
                self._lost(peer.id)
            raise
        self._met(peer.id)
        return answer

    async def tell(self, peer: PeerInfo, *messages: Message) -> None:
        """Tell one peer what has no answer, and note if that was not possible.

        Raises:
            CarrickError: it was not.
        """
        try:
            await self.messenger.tell(peer, *messages)
        except PEER_FAILURES as error:
            if not isinstance(error, StreamReset):  # see `ask`
                self._lost(peer.id)
            raise

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
            if answer.record.key != key:
                raise InvalidRecord("a record for another key", peer=sender)
            value = answer.record.value
            self.validators.validate(key, value, self.clock())
            holders[sender] = value
            if best is None or self.validators.is_better(key, value, best):
                best = value
            if quorum and len(holders) + (local is not None) >= quorum:
                query.lookup.stop()
            return 1

        query = self._query(Message(MessageType.GET_VALUE, key), watch, take)
        await query.run()
        if best is None:
            raise query.not_found("nobody has a value under this key")
        behind = [each for each in query.neighbours.region if holders.get(each.id) != best]
        await self._store(behind, key, best)
        return best

    async def put_value(self, key: bytes, value: bytes, *, watch: Watch | None = None) -> int:
        """Store a value at the k peers nearest to `key`, and here; returns how many took it.

        Raises:
            InvalidRecord: it is not valid, or older than what we have.
            NothingStored: nobody took it.
        """
        self._check_own(key, value)
        self.records.put(key, value, self.clock())
        neighbours = await self.closest_peers(key, watch=watch)
        stored = await self._store(neighbours.region, key, value)
        if not stored:
            raise NothingStored(f"none of {len(neighbours.region)} peers took the value")
        return stored

    async def put_many(self, values: Mapping[bytes, bytes]) -> dict[bytes, int]:
        """As `put_value`, for many values: each peer gets all that concerns it in one go. Returns
        how many took each.

        Raises:
            InvalidRecord: one of them is not valid, or older than what we have; none is put then.
        """
        for key, value in values.items():
            self._check_own(key, value)
        for key, value in values.items():
            self.records.put(key, value, self.clock())

        async def put(peer: PeerInfo, keys: Sequence[bytes]) -> list[bytes]:
            taken: list[bytes] = []
            for key in keys:
                try:
                    await self._put(peer, Record(key, values[key]))
                except (StreamReset, InvalidRecord):
                    continue  # it refuses that one
                except PEER_FAILURES:
                    break  # nor would it take the others
                taken.append(key)
            return taken

        return await spread(values, self._region_of, put)

    def _check_own(self, key: bytes, value: bytes) -> None:
        now = self.clock()
        self.validators.validate(key, value, now)
        present = self.records.get(key, now)
        if present is not None and self.validators.is_better(key, present.value, value):
            raise InvalidRecord("a record that is older than ours")

    async def _put(self, peer: PeerInfo, record: Record) -> None:
        answer = await self.ask(peer, Message(MessageType.PUT_VALUE, record.key, record))
        if answer.record is None or answer.record.value != record.value:
            raise InvalidRecord("the peer did not echo the record", peer=peer.id)

    async def _store(self, peers: Sequence[PeerInfo], key: bytes, value: bytes) -> int:
        return await _succeeded(lambda peer: self._put(peer, Record(key, value)), peers)

    # --- providers --------------------------------------------------------------------------------

    async def provide(
        self, key: bytes, *, optimistic: bool = False, watch: Watch | None = None
    ) -> int:
        """Tell the k peers nearest to `key` that we provide it; returns how many took it.

        It must be said again before it expires: see `Republisher`.

        Args:
            optimistic: tell those who are near enough while the lookup goes on, and return when
                most have been told; as far as the size of the network is known.

        Raises:
            NothingStored: nobody took it.
        """
        self.providers.add(key, self.describe(self.own), self.clock())
        estimate = self.network_size() if optimistic else None
        if estimate is not None:
            return await self._provide_optimistically(key, estimate.servers, watch)
        neighbours = await self.closest_peers(key, watch=watch)
        told = await self.tell_providers(key, neighbours.region)
        if not told:
            raise NothingStored(f"none of {len(neighbours.region)} peers took the record")
        return told

    async def _provide_optimistically(self, key: bytes, servers: float, watch: Watch | None) -> int:
        place = key_of(key)
        plan = OptimisticProvide(place, servers, self.k)
        message = Message(MessageType.ADD_PROVIDER, key, providers=(self.describe(self.own),))
        telling = Telling(lambda peer: self.tell(peer, message))

        async with trio.open_nursery() as nursery:

            def tell(peers: Sequence[PeerInfo]) -> None:
                for peer in peers:
                    if not self.background.start(telling.tell, peer):
                        nursery.start_soon(telling.tell, peer)

            early: Sequence[PeerInfo] = ()

            def until(nearest: Sequence[PeerInfo]) -> bool:
                nonlocal early
                if self.is_crowded(place, [each.id for each in nearest]):
                    return False
                now, enough = plan.look(nearest)
                tell(now)
                if enough:
                    early = nearest
                return enough

            neighbours = await self.closest_peers(key, until=until, watch=watch)
            tell(plan.tell(early or neighbours.region))
            await telling.wait(plan.awaited)
        if not telling.told:
            raise NothingStored(f"none of {telling.ended} peers took the record")
        return telling.told

    async def provide_many(self, keys: Iterable[bytes]) -> dict[bytes, int]:
        """As `provide`, for many keys: each peer is told all that concerns it in one go. Returns
        how many took each."""
        us, wanted = self.describe(self.own), list(keys)
        for key in wanted:
            self.providers.add(key, us, self.clock())
        return await spread(wanted, self._region_of, self.tell_keys)

    async def _region_of(self, key: bytes) -> list[PeerInfo]:
        return (await self.closest_peers(key)).region

    async def tell_keys(self, peer: PeerInfo, keys: Sequence[bytes]) -> list[bytes]:
        """Tell one peer that we provide some keys; returns which it took, as far as that shows."""
        us = (self.describe(self.own),)
        # Whoever refuses one resets the stream, and the others behind it are lost.
        fit = [key for key in keys if 0 < len(key) <= MAX_PROVIDER_KEY]
        taken: list[bytes] = []
        for start in range(0, len(fit), _KEYS_A_STREAM):
            some = fit[start : start + _KEYS_A_STREAM]
            messages = [Message(MessageType.ADD_PROVIDER, key, providers=us) for key in some]
            try:
                await self.tell(peer, *messages)
            except PEER_FAILURES:
                break
            taken += some
        return taken

    async def tell_providers(self, key: bytes, peers: Sequence[PeerInfo]) -> int:
        """Tell exactly these peers that we provide `key`; returns how many took it."""
        message = Message(MessageType.ADD_PROVIDER, key, providers=(self.describe(self.own),))
        return await _succeeded(lambda peer: self.tell(peer, message), peers)

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
            count: so many are enough; 0 asks all of the nearest. Where peers crowd about the key as
                if somebody had placed them there, what they name is never enough: all is returned.
            found: told of each as it is found.
        """
        providers: dict[PeerId, PeerInfo] = {}
        place, most = key_of(key), min(count or _MOST_PROVIDERS, _MOST_PROVIDERS)

        def take(named: Iterable[PeerInfo]) -> int:
            fresh = 0
            for provider in named:
                known = providers.get(provider.id)
                if known is None and len(providers) < most:
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
            nonlocal most
            fresh = take(answer.providers)
            if len(providers) < most:
                return fresh
            if most == _MOST_PROVIDERS or not self.is_crowded(place, query.nearest(answer.closer)):
                query.lookup.stop()
                return fresh
            most = _MOST_PROVIDERS
            return fresh + take(answer.providers)

        take(self.providers.get(key, self.clock()))
        if count and len(providers) >= count:
            return list(providers.values())
        query = self._query(Message(MessageType.GET_PROVIDERS, key), watch, look)
        await query.run()
        return list(providers.values())


async def _succeeded(act: Callable[[PeerInfo], Awaitable[None]], peers: Sequence[PeerInfo]) -> int:
    """How many of `peers` `act` works with, all at once."""
    done = 0

    async def one(peer: PeerInfo) -> None:
        nonlocal done
        try:
            await act(peer)
        except PEER_FAILURES:
            return
        done += 1

    async with trio.open_nursery() as nursery:
        for peer in peers:
            nursery.start_soon(one, peer)
    return done
