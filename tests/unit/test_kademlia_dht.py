"""What the client of a DHT does, in the model of a network."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from carrick.protocols.kademlia.keyspace import key_of, peer_key
from tests.support.dht_networks import settled


async def test_where_a_peer_is_comes_soon_though_most_around_it_are_gone(
    autojump_clock: MockClock,
) -> None:
    """A dial of who is gone takes 5 s, and is passed by after 2. Two of the twenty nearest are
    left, too few for three to say where the peer is."""
    network, nodes = settled(100)
    wanted, seeker = nodes[0], nodes[1]
    place = key_of(wanted.id.to_bytes())
    others = [node for node in nodes if node not in (wanted, seeker)]
    others.sort(key=lambda node: peer_key(node.id) ^ place)
    for node in others[:18]:
        del network.nodes[node.id]
    seeker.table.failed(wanted.id)  # it does not know by itself
    started = trio.current_time()
    found = await seeker.dht.find_peer(wanted.id)
    assert found.encoded == wanted.info.encoded
    assert trio.current_time() - started < 4
