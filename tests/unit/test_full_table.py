"""A client that knows all servers: its table, and whom it asks, in the model of a network."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from benchmarks.kademlia.model import Network, Node
from carrick.identity import PeerId
from carrick.protocols.kademlia import InvalidRecord, NotFound, PeerInfo
from carrick.protocols.kademlia.full_table import FullTableDht, Gathering, ServerTable
from carrick.protocols.kademlia.keyspace import key_of, peer_key
from tests.support.dht_networks import settled, sybils_at

NOBODY = PeerId(b"\x12\x20" + bytes(32))


def full_client(network: Network, servers: Sequence[Node]) -> FullTableDht:
    """A node outside of the network, after a crawl that has found `servers`."""
    node = network.node(server=False)
    network.nodes[node.id] = node
    node.dht = FullTableDht(
        node.id,
        node.table,
        node,
        node.records,
        node.providers,
        network.validators,
        describe=node.describe,
        learned=node.learn,
        met=lambda peer: None,
        lost=lambda peer: node.dht.servers.failed(peer),  # type: ignore[attr-defined]
        clock=trio.current_time,
        max_per_group=3,
    )
    node.dht.servers.replace((each.info, each.groups) for each in servers)
    return node.dht


def nearest(nodes: Sequence[Node], key: bytes, count: int = 20) -> list[PeerId]:
    place = key_of(key)
    return sorted((node.id for node in nodes), key=lambda each: peer_key(each) ^ place)[:count]


async def test_a_provide_takes_twenty_requests_and_no_lookup(autojump_clock: MockClock) -> None:
    network, nodes = settled(300)
    dht, rng = full_client(network, nodes), network.rng
    for _ in range(20):
        key = rng.randbytes(34)
        before = network.costs.requests
        found = await dht.closest_peers(key)
        assert [each.id for each in found.closest] == nearest(nodes, key)
        assert (found.requests, network.costs.requests) == (0, before)
        assert await dht.provide(key) == 20
        assert network.costs.requests == before + 20
        holders = [node.id for node in nodes if node.providers.get(key, trio.current_time())]
        assert set(holders) == set(nearest(nodes, key))
        other = rng.choice(nodes)
        (provider,) = await other.dht.find_providers(key)
        assert provider.id == dht.own
    size = dht.network_size()
    assert size is not None and (size.servers, size.error) == (300, 0)


async def test_what_others_stored_is_found(autojump_clock: MockClock) -> None:
    network, nodes = settled(300)
    dht, rng = full_client(network, nodes), network.rng
    key = rng.randbytes(34)
    await nodes[7].dht.provide(key)
    before = network.costs.requests
    assert [each.id for each in await dht.find_providers(key)] == [nodes[7].id]
    assert network.costs.requests <= before + 20
    name, value = public_key(nodes[3])
    await nodes[3].dht.put_value(name, value)
    assert await dht.get_value(name) == value
    assert (await dht.find_peer(nodes[5].id)).encoded == nodes[5].info.encoded
    with pytest.raises(NotFound, match="20 peers were asked"):
        await dht.find_peer(NOBODY)


def public_key(node: Node) -> tuple[bytes, bytes]:
    key = node.id.public_key()
    assert key is not None
    return b"/pk/" + node.id.to_bytes(), key.to_protobuf()


async def test_silent_peers_hold_nobody_up(autojump_clock: MockClock) -> None:
    """Ten of the twenty nearest are gone since the crawl: one search takes half a second more, and
    who did not answer twice has left the table."""
    network, nodes = settled(100)
    dht = full_client(network, nodes)
    key = network.rng.randbytes(34)
    await nodes[0].dht.provide(key)
    gone = nearest(nodes, key)[::2]
    for peer in gone:
        del network.nodes[peer]
    started = trio.current_time()
    assert [each.id for each in await dht.find_providers(key, count=0)] == [nodes[0].id]
    assert trio.current_time() - started < 1.5
    for _ in range(2):
        assert await dht.provide(key) == 10
    assert not any(peer in dht.servers for peer in gone)
    assert await dht.provide(key) == 20


async def test_before_the_first_crawl_it_looks_things_up(autojump_clock: MockClock) -> None:
    network, nodes = settled(200)
    dht = full_client(network, [])
    for node in nodes[:30]:
        dht.table.answered(node.id, node.groups, 0.0)
        network.nodes[dht.own].learn(node.info)
    key = network.rng.randbytes(34)
    found = await dht.closest_peers(key)
    assert found.requests >= 20
    assert [each.id for each in found.closest] == nearest(nodes, key)
    assert await dht.provide(key) == 20


async def test_many_keys_at_once(autojump_clock: MockClock) -> None:
    """Providing 500 keys, each at its 20 nearest; a value that is not valid stops all."""
    network, nodes = settled(100)
    dht = full_client(network, nodes)
    keys = [network.rng.randbytes(34) for _ in range(500)]
    before = network.costs.requests
    assert await dht.provide_many(keys) == dict.fromkeys(keys, 20)
    assert network.costs.requests == before + 500 * 20
    for key in keys[::50]:
        holders = {node.id for node in nodes if node.providers.get(key, trio.current_time())}
        assert holders == set(nearest(nodes, key))
    values = dict(public_key(node) for node in nodes[:30])
    assert await dht.put_many(values) == dict.fromkeys(values, 20)
    assert await nodes[50].dht.get_value(next(iter(values))) == values[next(iter(values))]
    with pytest.raises(InvalidRecord):
        await dht.put_many({**values, b"/pk/" + NOBODY.to_bytes(): b"junk"})


async def test_a_provider_stays_visible_behind_a_crowd(autojump_clock: MockClock) -> None:
    """20 Sybils sit at a key: what is provided goes to those around too, and what they name is not
    enough."""
    network, nodes = settled(400)
    key = network.rng.randbytes(34)
    sybils = sybils_at(key, network, [])
    dht = full_client(network, [*nodes, *sybils])
    found = await dht.closest_peers(key)
    assert {each.id for each in found.closest} == {each.id for each in sybils}
    assert len(found.region) > 20
    await dht.provide(key)
    assert any(node.providers.get(key, trio.current_time()) for node in nodes)
    other = full_client(network, [*nodes, *sybils])
    assert dht.own in [each.id for each in await other.find_providers(key)]


def test_the_table_is_bounded() -> None:
    def info(number: int) -> PeerInfo:
        return PeerInfo(PeerId(b"\x12\x20" + number.to_bytes(32, "big")), (b"x",) * 100)

    table = ServerTable(max_servers=10)
    table.answered(info(1), frozenset())
    assert len(table) == 0 and not table.is_whole  # nobody has crawled
    table.replace((info(number), frozenset()) for number in range(20))
    table.answered(info(30), frozenset())
    assert len(table) == 10 and info(30).id not in table
    assert all(len(each.encoded) == 8 for each in table)
    for number in range(6):
        for _ in range(2):
            table.failed(info(number).id)
    assert len(table) == 4 and not table.is_whole  # we were cut off: it is not relied on
    table.failed(NOBODY)


def test_gathering_stops_at_once_when_it_has_what_it_wants() -> None:
    gathering = Gathering(0, [NOBODY])
    assert not gathering.done and gathering.nearest == [NOBODY]
    gathering.stop()
    assert gathering.done and gathering.stopped
    assert gathering.to_ask(0.0) == []
    assert Gathering(0, []).done
