"""A network of DHT nodes whose requests are carried by a model instead of streams.

A request takes a round trip, the first to a peer two more; connections stay until one of both goes
down. Who is gone, or behind a NAT, is not reached, which takes the time of a dial that nobody
answers. No packet is lost. The clock is the running trio program's, so it may be virtual.
"""

from __future__ import annotations

import math
import random
from collections import Counter, OrderedDict
from dataclasses import dataclass, field

import trio

from carrick.addressing import endpoint_address
from carrick.errors import DialError, ProtocolError
from carrick.identity import PeerId, PrivateKey
from carrick.protocols.kademlia import (
    Dht,
    MemoryProviders,
    MemoryRecords,
    Message,
    PeerInfo,
    PublicKeyValidator,
    Validators,
)
from carrick.protocols.kademlia.keyspace import peer_key
from carrick.protocols.kademlia.messages import decode
from carrick.protocols.kademlia.responder import Responder
from carrick.protocols.kademlia.scope import networks
from carrick.protocols.kademlia.table import RoutingTable
from carrick.protocols.kademlia.upkeep import Upkeep
from carrick.testing import seeded_key

ROUND_TRIP = (0.020, 0.200)  # s, between two nodes
TICK = 0.01  # s
NO_ANSWER = 5.0  # s until a dial is given up (TCP and QUIC connect timeout)
MAX_KNOWN = 4096  # peers whose addresses a node remembers
_DIALS = 2  # round trips of a first dial, beside the request's own
BOOTSTRAP = 3  # peers that a new node begins with


@dataclass
class Costs:
    """What a network has done so far."""

    requests: int = 0
    failures: int = 0
    bytes: int = 0
    dials: int = 0
    by_type: Counter[str] = field(default_factory=Counter)


class Network:
    """All nodes, and what lies between them."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.nodes: dict[PeerId, Node] = {}
        """Those that are up."""
        self.costs = Costs()
        self.validators = Validators({"pk": PublicKeyValidator()})

    def servers(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.server]

    def node(self, *, server: bool) -> Node:
        """A new one, not started."""
        return Node(self, seeded_key(self.rng), server=server)


class Node:
    """A node of the DHT.

    Attributes:
        server: it can be reached, and serves; otherwise it is behind a NAT.
        up: it runs.
    """

    def __init__(self, network: Network, key: PrivateKey, *, server: bool) -> None:
        self.network = network
        self.key = key
        self.id = key.peer_id
        self.server = server
        rng = network.rng
        ip = f"{rng.randrange(11, 90)}.{rng.randrange(256)}.{rng.randrange(256)}.1"
        self.info = PeerInfo.of(self.id, [endpoint_address((ip, 4001))])
        self.groups = networks(self.info.addresses)
        self._start_over()

    def _start_over(self) -> None:
        """Nothing outlives a restart but who it is and where: all is held in memory."""
        self.records = MemoryRecords()
        self.providers = MemoryProviders()
        self.table = RoutingTable(peer_key(self.id))
        self.known: OrderedDict[PeerId, PeerInfo] = OrderedDict()
        self.connected: set[PeerId] = set()
        self.dht = Dht(
            self.id,
            self.table,
            self,
            self.records,
            self.providers,
            self.network.validators,
            describe=self.describe,
            learned=self.learn,
            met=self._met,
            lost=self.table.failed,
            clock=trio.current_time,
        )
        self.upkeep = Upkeep(self.dht, self.network.rng, self._reconnect)
        self.responder = Responder(
            self.id,
            self.table,
            self.records,
            self.providers,
            self.network.validators,
            self.describe,
        )

    async def run(self) -> None:
        """Until cancelled: then it is down, and has forgotten everything."""
        self.network.nodes[self.id] = self
        try:
            await self.upkeep.run()
        finally:
            del self.network.nodes[self.id]
            for peer in self.connected:
                self.network.nodes[peer].connected.discard(self.id)
            self._start_over()

    async def _reconnect(self) -> int:
        servers = [each for each in self.network.servers() if each is not self]
        chosen = self.network.rng.sample(servers, min(BOOTSTRAP, len(servers)))
        for each in chosen:
            self.learn(each.info)
            self.upkeep.offer(each.id)
        return len(chosen)

    # --- what a host does ------------------------------------------------------------------------

    def describe(self, peer: PeerId) -> PeerInfo:
        return self.known.get(peer) or (self.info if peer == self.id else PeerInfo(peer))

    def learn(self, peer: PeerInfo) -> None:
        if peer.encoded and peer.id != self.id:
            self.known[peer.id] = peer
            self.known.move_to_end(peer.id)
            if len(self.known) > MAX_KNOWN:
                self.known.popitem(last=False)

    def _met(self, peer: PeerId) -> None:
        other = self.network.nodes.get(peer)
        if other is not None and other.server:
            self.learn(other.info)
            self.table.answered(peer, other.groups, trio.current_time())

    # --- Messenger --------------------------------------------------------------------------------

    async def request(self, peer: PeerInfo, message: Message) -> Message:
        answer = await self._deliver(peer, message)
        if answer is None:
            raise ProtocolError("no answer where one was expected", peer=peer.id)
        return decode(answer)

    async def tell(self, peer: PeerInfo, *messages: Message) -> None:
        for message in messages:
            await self._deliver(peer, message)

    async def _deliver(self, peer: PeerInfo, message: Message) -> bytes | None:
        costs, network = self.network.costs, self.network
        costs.requests += 1
        costs.by_type[message.type.name] += 1
        trips = 1
        if peer.id not in self.connected:
            trips += _DIALS
            costs.dials += 1
        there = self._reached(peer)
        wait = trips * network.rng.uniform(*ROUND_TRIP) if there else NO_ANSWER
        # At whole hundredths of a second: nodes that wake together cost less.
        await trio.sleep_until(math.ceil((trio.current_time() + wait) / TICK) * TICK)
        other = self._reached(peer)
        if other is None or network.nodes.get(self.id) is not self:
            costs.failures += 1
            raise DialError("nobody is there", peer=peer.id)
        if peer.id not in self.connected:
            self.connected.add(peer.id)
            other.connected.add(self.id)
            other.meet(self)
        encoded = message.encode()
        costs.bytes += len(encoded)
        reply = other.responder.answer(self.id, decode(encoded), trio.current_time())
        if reply is None:
            return None
        answer = reply.encode()
        costs.bytes += len(answer)
        return answer

    def _reached(self, peer: PeerInfo) -> Node | None:
        """Who is there, if we are connected, or a dial gets through."""
        other = self.network.nodes.get(peer.id)
        if other is None or peer.id in self.connected:
            return other
        return other if other.server and peer.encoded else None

    def meet(self, other: Node) -> None:
        """`other` has connected, and identify has told who it is."""
        self.learn(other.info)
        if other.server:
            self.upkeep.offer(other.id)


def true_closest(network: Network, key: int, count: int, without: PeerId) -> list[PeerId]:
    """The servers that are up and nearest to a place in the keyspace."""
    ids = [node.id for node in network.servers() if node.id != without]
    return sorted(ids, key=lambda peer: peer_key(peer) ^ key)[:count]
