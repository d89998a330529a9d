"""The DHT of a host: the internet's and the local network's, or one alone."""

from __future__ import annotations

import enum
import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import trio

from carrick.addressing import Multiaddr, with_peer
from carrick.errors import CarrickError, InvalidAddress
from carrick.host import Host, Reachability, ReachabilityChanged
from carrick.host.host import Target
from carrick.identity import PeerId
from carrick.protocols.kademlia.dht import QUORUM, Dht, Neighbours
from carrick.protocols.kademlia.errors import NotFound
from carrick.protocols.kademlia.full_table.keeping import INTERVAL
from carrick.protocols.kademlia.interfaces import ProviderStore, RecordStore, Validator
from carrick.protocols.kademlia.ipns import IpnsValidator
from carrick.protocols.kademlia.messages import PeerInfo
from carrick.protocols.kademlia.network import DhtNetwork
from carrick.protocols.kademlia.providers import MemoryProviders
from carrick.protocols.kademlia.schedule import REPUBLISH
from carrick.protocols.kademlia.scope import Scope
from carrick.protocols.kademlia.settings import LAN, WAN, NetworkSettings
from carrick.protocols.kademlia.sizing import SizeEstimate
from carrick.protocols.kademlia.sqlite import DhtFile, DhtFileError
from carrick.protocols.kademlia.stores import MemoryRecords
from carrick.protocols.kademlia.tracing import Watch
from carrick.protocols.kademlia.validation import PublicKeyValidator, Validators

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["Kademlia", "KademliaOptions", "Mode"]

_log = logging.getLogger("carrick.kademlia")

FLUSH = 5.0  # s that the file may be behind (as the peerstore's)
_FLUSH_CHANGES = 512  # in one go, which takes a few milliseconds

R = TypeVar("R")


class Mode(enum.Enum):
    """Whether we answer others, and are in their tables.

    Attributes:
        AUTO: as soon as strangers reach us, as `ReachabilityChanged` says.
    """

    AUTO = "auto"
    CLIENT = "client"
    SERVER = "server"


def _default_validators() -> Mapping[str, Validator]:
    return {"pk": PublicKeyValidator(), "ipns": IpnsValidator()}


@dataclass(frozen=True, kw_only=True)
class KademliaOptions:
    """
    Attributes:
        networks: the DHTs to take part in.
        mode: on the internet; in a local network everybody is a server but in CLIENT mode.
        bootstrap: peers to begin with.
        validators: by namespace; others are refused.
        records, providers: make the store of each network.
        path: a file that keeps records, providers and what we publish beyond a restart, instead of
            `records` and `providers`.
        republish: seconds until what we publish is published again.
        full_table: keep a table of all servers, by crawling the network now and then: providing and
            finding then take no lookup. For clients that do much of it.
        crawl_interval: seconds from one crawl to the next.
        clock: the UNIX time.
    """

    networks: Sequence[NetworkSettings] = (WAN, LAN)
    mode: Mode = Mode.AUTO
    bootstrap: Sequence[Target] = ()
    validators: Mapping[str, Validator] = field(default_factory=_default_validators)
    records: Callable[[], RecordStore] = MemoryRecords
    providers: Callable[[], ProviderStore] = MemoryProviders
    path: str | os.PathLike[str] | None = None
    republish: float = REPUBLISH
    full_table: bool = False
    crawl_interval: float = INTERVAL
    clock: Callable[[], float] = time.time

    @classmethod
    def local(cls, protocol: str = WAN.protocol, **changes: object) -> KademliaOptions:
        """One DHT for all addresses, without limits for peers of one network: for tests, and for
        networks on one machine."""
        settings = NetworkSettings(protocol, Scope.ANY, None, None)
        return cls(networks=(settings,), **changes)  # type: ignore[arg-type]


class Kademlia:
    """A Kademlia DHT: finds peers by their id, stores values, and knows who provides what.

    What it finds of peers feeds `host.connect(peer_id)`.
    """

    def __init__(self, options: KademliaOptions | None = None) -> None:
        self.options = options or KademliaOptions()
        self.networks: tuple[DhtNetwork, ...] = ()
        self._host: Host

    async def run(
        self, host: Host, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Take part, until cancelled.

        Raises:
            DhtFileError: `KademliaOptions.path` cannot be used.
        """
        self._host = host
        file = None if self.options.path is None else DhtFile(self.options.path)
        try:
            self.networks = tuple(self._network(each, file) for each in self.options.networks)
            self._serve(public=False)
            host.add_address_source(self._find_addresses)
            host.add_peer_source(self._find_anybody)
            async with trio.open_nursery() as nursery:
                for network in self.networks:
                    await nursery.start(network.run)
                if self.options.mode is Mode.AUTO:
                    await nursery.start(self._follow_reachability)
                if file is not None:
                    nursery.start_soon(_write_behind, file)
                task_status.started()
        finally:
            if file is not None:
                file.close()

    def _network(self, settings: NetworkSettings, file: DhtFile | None) -> DhtNetwork:
        options, protocol = self.options, settings.protocol
        return DhtNetwork(
            self._host,
            settings,
            options.records() if file is None else file.records(protocol),
            options.providers() if file is None else file.providers(protocol),
            Validators(options.validators),
            publications=None if file is None else file.publications(protocol),
            republish=options.republish,
            crawl_interval=options.crawl_interval if options.full_table else None,
            reconnect=self._reconnect,
            clock=options.clock,
        )

    @property
    def serving(self) -> bool:
        """Whether we answer others on any of the networks but the local one."""
        wide = [each for each in self.networks if each.settings.scope is not Scope.LAN]
        return any(each.serving for each in wide)

    async def wait_bootstrapped(self) -> None:
        """Wait until a lookup has found somebody, in one of the networks."""
        await _wait_for_one([each.upkeep.bootstrapped for each in self.networks])

    async def wait_crawled(self) -> None:
        """Wait until a crawl has found all servers, in one of the networks.

        Raises:
            ValueError: `KademliaOptions.full_table` is off.
        """
        tables = [each.full_table for each in self.networks if each.full_table is not None]
        if not tables:
            raise ValueError("without KademliaOptions.full_table nothing is crawled")
        await _wait_for_one([each.crawled for each in tables])

    # --- what people ask --------------------------------------------------------------------------

    async def closest_peers(self, key: bytes, *, watch: Watch | None = None) -> Neighbours:
        """The k peers nearest to `key`: those of the first network that has any."""
        for network in self.networks:
            found = await network.dht.closest_peers(key, watch=watch)
            if found.closest:
                break
        return found

    async def find_peer(self, peer: PeerId, *, watch: Watch | None = None) -> PeerInfo:
        """Where `peer` is.

        Raises:
            NotFound: nobody who was asked knows.
        """
        found = await self._everywhere(lambda dht: dht.find_peer(peer, watch=watch))
        encoded = dict.fromkeys(each for info in found for each in info.encoded)
        return PeerInfo(peer, tuple(encoded))

    async def get_value(
        self, key: bytes, *, quorum: int = QUORUM, watch: Watch | None = None
    ) -> bytes:
        """The best value under `key`.

        Args:
            quorum: so many answers with a value are enough; 0 asks all of the nearest.

        Raises:
            InvalidRecord: no validator is in charge of such keys.
            NotFound: nobody who was asked has a valid value.
        """
        values = await self._everywhere(lambda dht: dht.get_value(key, quorum=quorum, watch=watch))
        return values[Validators(self.options.validators).best(key, values)]

    async def put_value(
        self, key: bytes, value: bytes, *, watch: Watch | None = None, republish: bool = True
    ) -> int:
        """Store a value at the peers nearest to `key`; returns how many took it.

        Args:
            republish: put it again every `KademliaOptions.republish` seconds, as long as it is
                valid and no better one has taken its place.

        Raises:
            InvalidRecord: it is not valid, or older than what we have.
            NothingStored: nobody took it.
        """
        stored = sum(await self._everywhere(lambda dht: dht.put_value(key, value, watch=watch)))
        if republish:
            for network in self.networks:
                network.republisher.add_value(key, value)
        return stored

    async def put_many(
        self, values: Mapping[bytes, bytes], *, republish: bool = True
    ) -> dict[bytes, int]:
        """As `put_value`, for many values: each peer gets all that concerns it in one go. Returns
        how many took each.

        Raises:
            InvalidRecord: one of them is not valid, or older than what we have; none is put then.
        """
        stored = _total(await self._everywhere(lambda dht: dht.put_many(values)))
        if republish:
            for network in self.networks:
                for key, count in stored.items():
                    network.republisher.add_value(key, values[key], taken=count > 0)
        return stored

    def stop_publishing(self, key: bytes) -> bool:
        """Put the value under `key` no more; it expires. Returns whether we did."""
        return any([each.republisher.stop_publishing(key) for each in self.networks])

    async def provide(
        self, key: bytes, *, optimistic: bool = False, watch: Watch | None = None
    ) -> int:
        """Tell the peers nearest to `key`, the multihash of some content, that we have it; returns
        how many took it. It is told again every `KademliaOptions.republish` seconds.

        Args:
            optimistic: tell those who are near enough while the lookup goes on, and return when
                most have been told; as far as the size of the network is known.

        Raises:
            NothingStored: nobody took it.
        """
        told = await self._everywhere(
            lambda dht: dht.provide(key, optimistic=optimistic, watch=watch)
        )
        for network in self.networks:
            network.republisher.add_provided(key)
        return sum(told)

    async def provide_many(self, keys: Iterable[bytes]) -> dict[bytes, int]:
        """As `provide`, for many keys: each peer is told all that concerns it in one go. Returns
        how many took each; what nobody took is tried again soon."""
        wanted = list(keys)
        told = _total(await self._everywhere(lambda dht: dht.provide_many(wanted)))
        for network in self.networks:
            for key, count in told.items():
                network.republisher.add_provided(key, taken=count > 0)
        return told

    def stop_providing(self, key: bytes) -> bool:
        """Provide `key` no more: we no longer tell it, others forget it when it expires. Returns
        whether we did."""
        return any([each.republisher.stop_providing(key) for each in self.networks])

    def network_size(self) -> SizeEstimate | None:
        """How many servers there are, in the largest of our networks, as the lookups of the last
        two hours show; None after too few of them."""
        sizes = [each.dht.network_size() for each in self.networks]
        known = [each for each in sizes if each is not None]
        return max(known, key=lambda each: each.servers, default=None)

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
        lists = await self._everywhere(
            lambda dht: dht.find_providers(key, count=count, watch=watch, found=found)
        )
        return list({each.id: each for providers in lists for each in providers}.values())

    async def _everywhere(self, act: Callable[[Dht], Awaitable[R]]) -> list[R]:
        """What came of `act` in each network where it worked; raises as the first if it nowhere
        did."""
        results: dict[int, R] = {}
        errors: dict[int, CarrickError] = {}

        async def one(index: int, network: DhtNetwork) -> None:
            try:
                results[index] = await act(network.dht)
            except CarrickError as error:
                errors[index] = error

        async with trio.open_nursery() as nursery:
            for index, network in enumerate(self.networks):
                nursery.start_soon(one, index, network)
        if not results and errors:
            raise errors[min(errors)]
        return [results[index] for index in sorted(results)]

    # --- in the background ------------------------------------------------------------------------

    def _serve(self, *, public: bool) -> None:
        mode = self.options.mode
        for network in self.networks:
            local = network.settings.scope is Scope.LAN
            serve = mode is Mode.SERVER or (mode is Mode.AUTO and (local or public))
            network.serve(serve)

    async def _follow_reachability(
        self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with self._host.events.subscribe(ReachabilityChanged) as events:
            task_status.started()
            async for event in events:
                self._serve(public=event.reachability is Reachability.PUBLIC)

    async def _find_addresses(self, peer: PeerId) -> list[Multiaddr]:
        """For `host.connect`; not for the DHT's own dials, which would go round in circles."""
        if any(network.messenger.is_reaching(peer) for network in self.networks):
            return []
        if not any(len(network.dht.table) for network in self.networks):
            return []
        try:
            return (await self.find_peer(peer)).addresses
        except NotFound:
            return []

    async def _find_anybody(self, count: int) -> list[Target]:
        """For `Host.find_peers`: whoever is near to a random place."""
        if not any(len(network.dht.table) for network in self.networks):
            return []
        found = await self.closest_peers(self._host.rng.randbytes(32))
        return [_target(peer) for peer in found.closest[:count]]

    async def _reconnect(self) -> int:
        """Connect to the bootstrap peers; those that serve offer themselves by identify."""
        await self._host.ready.wait()  # else we have no addresses to tell, and identify may be off
        reached = 0

        async def one(target: Target) -> None:
            nonlocal reached
            try:
                connection = await self._host.connect(target)
            except CarrickError as error:
                _log.info("bootstrap peer %s: %s", target, error)
                return
            reached += 1
            for network in self.networks:
                if network.settings.protocol in (connection.protocols or ()):
                    network.upkeep.offer(connection.peer_id)

        async with trio.open_nursery() as nursery:
            for target in self.options.bootstrap:
                nursery.start_soon(one, target)
        return reached


def _target(peer: PeerInfo) -> Target:
    addresses: list[Multiaddr] = []
    for each in peer.addresses:
        with suppress(InvalidAddress):  # it ends with somebody else's id
            addresses.append(with_peer(each, peer.id))
    return addresses or peer.id


def _total(counts: Iterable[Mapping[bytes, int]]) -> dict[bytes, int]:
    total: Counter[bytes] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


async def _wait_for_one(events: Iterable[trio.Event]) -> None:
    async with trio.open_nursery() as nursery:

        async def wait(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        for event in events:
            nursery.start_soon(wait, event)


async def _write_behind(file: DhtFile) -> None:
    while True:
        await trio.sleep(FLUSH)
        try:
            while file.flush(_FLUSH_CHANGES):
                await trio.lowlevel.checkpoint()
        except DhtFileError as error:
            _log.warning("%s", error)  # what is in memory is written when it can be
