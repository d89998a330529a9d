"""A client that knows all servers, on real hosts of the simulated internet."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest
import trio

from carrick import HostBuilder
from carrick.identity import PeerId
from carrick.protocols.identify import Identify
from carrick.protocols.kademlia import (
    WAN,
    Kademlia,
    KademliaOptions,
    Mode,
    NetworkSettings,
    Scope,
    TableCrawled,
)
from carrick.protocols.kademlia.full_table import FullTable
from carrick.protocols.kademlia.keyspace import key_of, peer_key
from carrick.sim import Internet, Link, run
from carrick.testing import Node, open_node

HERE = Link(latency=0.01, jitter=0.004)
SERVERS = 14
K = 8
INTERVAL = 60.0
KEY = b"\x12\x20" + bytes(range(32))
TCP = HostBuilder().transports("tcp").security("noise")


def member(mode: Mode, bootstrap: Sequence[Node] = (), *, full: bool = False) -> HostBuilder:
    options = KademliaOptions(
        networks=[NetworkSettings(WAN.protocol, Scope.ANY, None, None, k=K)],
        mode=mode,
        bootstrap=[node.addresses[0] for node in bootstrap],
        clock=trio.current_time,
        full_table=full,
        crawl_interval=INTERVAL,
    )
    return TCP.services(Identify(), Kademlia(options), defaults=False)


def dht(node: Node) -> Kademlia:
    return node.service(Kademlia)


def full_table(node: Node) -> FullTable:
    table = dht(node).networks[0].full_table
    assert table is not None
    return table


def nearest(nodes: Sequence[Node], key: bytes) -> list[PeerId]:
    place = key_of(key)
    return sorted((node.id for node in nodes), key=lambda each: peer_key(each) ^ place)[:K]


def holders(nodes: Sequence[Node], key: bytes) -> set[PeerId]:
    now = trio.current_time()
    return {node.id for node in nodes if dht(node).networks[0].dht.providers.get(key, now)}


@pytest.mark.timeout(120)
def test_a_table_of_all_servers() -> None:
    """Its closest are the true ones and are told without a lookup; who leaves is dropped and who
    comes is found by the next crawl."""

    async def program(internet: Internet) -> None:
        keys = [bytes([0x12, 0x20, number]) + bytes(31) for number in range(6)]
        async with AsyncExitStack() as exits:
            nodes: list[Node] = []
            for _ in range(SERVERS):
                builder = member(Mode.SERVER, nodes[:1])
                nodes.append(await exits.enter_async_context(open_node(internet.host(), builder)))
            await trio.sleep(15)

            client = member(Mode.CLIENT, nodes[:1], full=True)
            us = await exits.enter_async_context(open_node(internet.host(), client))
            crawls = exits.enter_context(us.host.events.subscribe(TableCrawled))
            with trio.fail_after(120):
                await dht(us).wait_crawled()
                first = await crawls.__anext__()
            assert first is full_table(us).last
            assert (first.servers, first.visited) == (SERVERS, SERVERS)
            size = dht(us).network_size()
            assert size is not None and size.servers == SERVERS

            for key in keys:
                found = await dht(us).closest_peers(key)
                assert [each.id for each in found.closest] == nearest(nodes, key)
                assert found.requests == 0
            assert await dht(us).provide(keys[0]) == K
            assert holders(nodes, keys[0]) == set(nearest(nodes, keys[0]))
            told = await dht(us).provide_many(keys)
            assert told == dict.fromkeys(keys, K)
            for key in keys:
                assert holders(nodes, key) == set(nearest(nodes, key))
            assert [each.id for each in await dht(nodes[5]).find_providers(keys[5])] == [us.id]
            assert (await dht(us).find_peer(nodes[7].id)).addresses

            for node in nodes[-2:]:
                node.machine.crash()
            present = nodes[:-2]
            for _ in range(2):
                builder = member(Mode.SERVER, present[:1])
                present.append(await exits.enter_async_context(open_node(internet.host(), builder)))
            with trio.fail_after(2 * INTERVAL):
                second = await crawls.__anext__()
            assert second.at - first.at > 0.9 * INTERVAL
            assert second.servers == len(present)
            assert {each.id for each in full_table(us).dht.servers} == {each.id for each in present}
            for key in keys:
                found = await dht(us).closest_peers(key)
                assert [each.id for each in found.closest] == nearest(present, key)
            assert await dht(us).provide(keys[0]) == K

    run(program, access=HERE, record=False)


def test_what_nobody_took_is_tried_again_soon() -> None:
    async def program(internet: Internet) -> None:
        async with open_node(internet.host(), member(Mode.CLIENT)) as us:
            key, value = _public_key(us)
            assert await dht(us).provide_many([KEY]) == {KEY: 0}
            assert await dht(us).put_many({key: value}) == {key: 0}
            async with open_node(internet.host(), member(Mode.SERVER)) as server:
                await us.connect(server)
                await trio.sleep(1500)
                assert holders([server], KEY) == {server.id}
                records = dht(server).networks[0].dht.records
                assert records.get(key, trio.current_time()) is not None

    run(program, access=HERE, record=False)


def _public_key(node: Node) -> tuple[bytes, bytes]:
    key = node.id.public_key()
    assert key is not None
    return b"/pk/" + node.id.to_bytes(), key.to_protobuf()


def test_without_anybody_it_goes_on_waiting() -> None:
    """It finds nothing, says so, and begins as soon as there is somebody."""

    async def program(internet: Internet) -> None:
        async with open_node(internet.host(), member(Mode.CLIENT, full=True)) as us:
            await trio.sleep(100)
            assert full_table(us).last is None and not full_table(us).crawling
            assert (await dht(us).closest_peers(b"x")).closest == []
            async with open_node(internet.host(), member(Mode.SERVER)) as server:
                await us.connect(server)
                with trio.fail_after(60):
                    await dht(us).wait_crawled()
                assert [each.id for each in full_table(us).dht.servers] == [server.id]

    run(program, access=HERE, record=False)


async def test_without_a_full_table_nothing_is_waited_for() -> None:
    async with member(Mode.CLIENT).open() as host:
        with pytest.raises(ValueError, match="full_table"):
            await host.service(Kademlia).wait_crawled()
