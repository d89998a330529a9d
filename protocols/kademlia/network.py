"""One DHT on a host: its table is fed by the host's connections, its requests are served."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import trio

from carrick.addressing import Multiaddr
from carrick.host import Host
from carrick.identity import PeerId
from carrick.protocols.identify import PeerIdentified, PeerUpdated
from carrick.protocols.kademlia.background import Background
from carrick.protocols.kademlia.dht import Dht
from carrick.protocols.kademlia.full_table import FullTable, FullTableDht
from carrick.protocols.kademlia.full_table.gathering import OPERATION
from carrick.protocols.kademlia.interfaces import ProviderStore, PublicationStore, RecordStore
from carrick.protocols.kademlia.keyspace import peer_key
from carrick.protocols.kademlia.messages import PeerInfo, Reachable
from carrick.protocols.kademlia.messenger import TIMEOUT, StreamMessenger
from carrick.protocols.kademlia.republishing import Republisher
from carrick.protocols.kademlia.responder import Responder
from carrick.protocols.kademlia.schedule import REPUBLISH
from carrick.protocols.kademlia.scope import networks
from carrick.protocols.kademlia.serving import Server
from carrick.protocols.kademlia.settings import NetworkSettings
from carrick.protocols.kademlia.table import RoutingTable
from carrick.protocols.kademlia.upkeep import Upkeep
from carrick.protocols.kademlia.validation import Validators

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["DhtNetwork"]

_STREAMS_PER_PEER = 64
_HEARD_OF = 120.0  # s that addresses are believed that others name (go, TempAddrTTL)
_MAX_ADDRESSES = 16  # of a peer that are told


class DhtNetwork:
    """One DHT on a host.

    Attributes:
        dht: what asks it.
        messenger: carries its requests.
        republisher: what we publish there.
        serving: whether we answer others, and are in their tables.
        full_table: crawls the network, if we keep a table of all its servers.

    Args:
        crawl_interval: seconds from one crawl to the next; None: there is no such table.
    """

    def __init__(
        self,
        host: Host,
        settings: NetworkSettings,
        records: RecordStore,
        providers: ProviderStore,
        validators: Validators,
        *,
        publications: PublicationStore | None = None,
        republish: float = REPUBLISH,
        crawl_interval: float | None = None,
        reconnect: Callable[[], Awaitable[int]],
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.serving = False
        self._host = host
        self._clock = clock
        table = RoutingTable(
            peer_key(host.id),
            k=settings.k,
            max_per_group=settings.max_per_group,
            max_per_group_and_bucket=settings.max_per_group_and_bucket,
        )
        self._background = Background()
        full = crawl_interval is not None
        self.messenger = StreamMessenger(
            host.swarm, settings.protocol, timeout=OPERATION if full else TIMEOUT
        )
        make = partial(FullTableDht, max_per_group=settings.max_per_group) if full else Dht
        self.dht: Dht = make(
            host.id,
            table,
            self.messenger,
            records,
            providers,
            validators,
            describe=self.describe,
            learned=self._learned,
            met=self._met,
            lost=self._lost,
            k=settings.k,
            alpha=settings.alpha,
            paths=settings.paths,
            clock=clock,
            background=self._background,
        )
        self.republisher = Republisher(self.dht, publications, interval=republish)
        self.upkeep = Upkeep(self.dht, host.rng, reconnect, interval=settings.refresh)
        self.full_table: FullTable | None = None
        if isinstance(self.dht, FullTableDht) and crawl_interval is not None:
            self.full_table = FullTable(
                host,
                self.dht,
                self.upkeep,
                protocol=settings.protocol,
                scope=settings.scope,
                interval=crawl_interval,
            )
        responder = Responder(host.id, table, records, providers, validators, self.describe)
        self._server = Server(responder, settings.scope, clock)

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the table, until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.messenger.run)
            await nursery.start(self._background.run)
            await nursery.start(self.upkeep.run)
            await nursery.start(self.republisher.run)
            if self.full_table is not None:
                await nursery.start(self.full_table.run)
            await nursery.start(self._watch_peers)
            for connection in self._host.connections:
                if self.settings.protocol in (connection.protocols or ()):
                    self.upkeep.offer(connection.peer_id)
            task_status.started()

    # --- serving ----------------------------------------------------------------------------------

    def serve(self, on: bool) -> None:
        """Answer others, or do so no longer. Identify tells them."""
        if on == self.serving:
            return
        self.serving = on
        if on:
            self._host.swarm.handle(
                self.settings.protocol, self._server.serve, streams_per_peer=_STREAMS_PER_PEER
            )
        else:
            self._host.swarm.unhandle(self.settings.protocol)

    # --- peers ------------------------------------------------------------------------------------

    def describe(self, peer: PeerId) -> PeerInfo:
        """The addresses of a peer, or our own, as far as they are of this network."""
        admits = self.settings.scope.admits
        if peer == self._host.id:
            own = self._host.own_addresses.all()
            return PeerInfo.of(peer, [each for each in own if admits(each)][:_MAX_ADDRESSES])
        known = self._host.peerstore.addresses(peer)
        connected = self._host.swarm.connection(peer) is not None
        state = Reachable.CONNECTED if connected else Reachable.NOT_CONNECTED
        return PeerInfo.of(peer, [each for each in known if admits(each)][:_MAX_ADDRESSES], state)

    def _learned(self, peer: PeerInfo) -> None:
        if peer.id != self._host.id:
            addresses = [each for each in peer.addresses if self.settings.scope.admits(each)]
            self._host.peerstore.add_addresses(peer.id, addresses, _HEARD_OF)

    def _met(self, peer: PeerId) -> None:
        connection = self._host.swarm.connection(peer)
        if connection is not None and self._may_take_part(connection.remote_address):
            groups = networks([connection.remote_address])
            self.dht.table.answered(peer, groups, trio.current_time())
            if isinstance(self.dht, FullTableDht):
                self.dht.servers.answered(self.describe(peer), groups)

    def _lost(self, peer: PeerId) -> None:
        self.dht.table.failed(peer)
        if isinstance(self.dht, FullTableDht):
            self.dht.servers.failed(peer)

    def _may_take_part(self, address: Multiaddr) -> bool:
        return self.settings.scope.admits(address)

    async def _watch_peers(
        self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with self._host.events.subscribe(PeerIdentified, PeerUpdated) as events:
            task_status.started()
            async for event in events:
                if isinstance(event, PeerIdentified | PeerUpdated) and event.info.protocols:
                    self._judge(event)

    def _judge(self, event: PeerIdentified | PeerUpdated) -> None:
        """A peer said what it speaks: servers are looked at, others leave the table."""
        connection = event.connection
        peer = connection.peer_id
        if self.settings.protocol not in event.info.protocols:
            self.dht.table.remove(peer)
        elif self.full_table is not None and self.full_table.is_visiting(peer):
            return
        elif not connection.is_relayed and self._may_take_part(connection.remote_address):
            self.upkeep.offer(peer)
