"""DHT networks that have settled: each table is as after many lookups, and no time has passed.

Requests are carried by the model of `benchmarks.kademlia`, in the running program's time.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from benchmarks.kademlia.model import Network, Node
from carrick.addressing import endpoint_address
from carrick.identity import PeerId
from carrick.protocols.kademlia import Message, PeerInfo
from carrick.protocols.kademlia.keyspace import key_of, peer_key

__all__ = ["Sybil", "know_size", "settled", "sybils_at"]


def settled(count: int, seed: int = 1) -> tuple[Network, list[Node]]:
    """A network of servers that are all up."""
    network = Network(seed)
    nodes = [network.node(server=True) for _ in range(count)]
    for node in nodes:
        network.nodes[node.id] = node
    for node in nodes:
        introduce(node, network.rng.sample(nodes, count))
    return network, nodes


def introduce(node: Node, others: Sequence[Node]) -> None:
    for other in others:
        if other is not node:
            node.learn(other.info)
            node.table.answered(other.id, other.groups, 0.0)


async def know_size(node: Node, lookups: int = 6) -> None:
    """Have `node` look around until it can estimate how large the network is."""
    for _ in range(lookups):
        await node.dht.closest_peers(node.network.rng.randbytes(32))


class Sybil(Node):
    """Answers everything with the other Sybils, and as providers with peers that are none."""

    crowd: Sequence[Sybil] = ()

    @classmethod
    def at(cls, network: Network, id: PeerId) -> Sybil:
        sybil = cls(network, network.node(server=True).key, server=True)
        sybil.id = id
        sybil.info = PeerInfo(id, sybil.info.encoded)
        sybil.responder = _Lies(sybil)  # type: ignore[assignment]
        network.nodes[id] = sybil
        return sybil

    def meet(self, other: Node) -> None:
        """It knows whom it wants to know."""


class _Lies:
    def __init__(self, sybil: Sybil) -> None:
        self._sybil = sybil

    def answer(self, sender: PeerId, request: Message, now: float) -> Message | None:
        if request.type.name == "ADD_PROVIDER":
            return None
        rng = self._sybil.network.rng
        crowd = tuple(each.info for each in self._sybil.crowd if each is not self._sybil)
        address = endpoint_address(("8.8.8.8", 4001))
        false = tuple(PeerInfo.of(_random_id(rng), [address]) for _ in range(20))
        return Message(request.type, request.key, closer=crowd, providers=false)


def sybils_at(key: bytes, network: Network, nodes: Sequence[Node], count: int = 20) -> list[Sybil]:
    """`count` Sybils that are nearer to `key` than anybody, each of a network of its own, and known
    to everybody who has a place for them."""
    place, rng = key_of(key), network.rng
    ids = sorted((_random_id(rng) for _ in range(20_000)), key=lambda each: peer_key(each) ^ place)
    crowd = [Sybil.at(network, id) for id in ids[:count]]
    for sybil in crowd:
        sybil.crowd = crowd
    for node in nodes:
        introduce(node, crowd)
    return crowd


def _random_id(rng: random.Random) -> PeerId:
    return PeerId(b"\x12\x20" + rng.randbytes(32))
