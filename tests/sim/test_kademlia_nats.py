"""The whole stack, half of it behind NATs: the DHT over streams, Noise, Yamux and simulated TCP,
where `benchmarks.kademlia` only models what carries its messages."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest
import trio

from carrick import HostBuilder
from carrick.protocols.kademlia import Kademlia, KademliaOptions, Mode
from carrick.sim import Internet, Link, run
from carrick.testing import Node, open_node, seeded_key

HERE = Link(latency=0.01, jitter=0.004)  # else two nodes dial each other at the same instant
SERVERS = 25
CLIENTS = 25
KEYS = 200
AT_ONCE = 10
NATS = ("full-cone", "address-restricted", "port-restricted", "symmetric")


def member(mode: Mode, bootstrap: Sequence[Node]) -> HostBuilder:
    addresses = [node.addresses[0] for node in bootstrap]
    options = KademliaOptions.local(mode=mode, bootstrap=addresses, clock=trio.current_time)
    return HostBuilder().transports("tcp").services(Kademlia(options))


def dht(node: Node) -> Kademlia:
    return node.service(Kademlia)


async def opened(internet: Internet, exits: AsyncExitStack) -> list[Node]:
    nodes: list[Node] = []
    for _ in range(SERVERS):
        builder = member(Mode.SERVER, nodes[:2])
        nodes.append(await exits.enter_async_context(open_node(internet.host(), builder)))
    for nat in itertools.islice(itertools.cycle(NATS), CLIENTS):
        home = internet.router(nat=nat).host()
        builder = member(Mode.CLIENT, internet.rng.sample(nodes[:SERVERS], 2))
        nodes.append(await exits.enter_async_context(open_node(home, builder)))
    for node in nodes:
        await dht(node).wait_bootstrapped()
    await trio.sleep(60)
    return nodes


@pytest.mark.timeout(300)
def test_what_fifty_nodes_place_is_found() -> None:
    """200 keys from random nodes, each found by another one, NATed or not."""
    found: list[bool] = []

    async def program(internet: Internet) -> None:
        rng = internet.rng
        async with AsyncExitStack() as exits:
            nodes = await opened(internet, exits)
            limiter = trio.CapacityLimiter(AT_ONCE)

            async def place_and_find(number: int) -> None:
                publisher, reader = rng.sample(nodes, 2)
                async with limiter:
                    if number % 2:
                        key = b"\x12\x20" + hashlib.sha256(b"%d" % number).digest()
                        await dht(publisher).provide(key)
                        named = await dht(reader).find_providers(key, count=1)
                        found.append(publisher.id in [each.id for each in named])
                    else:
                        public = seeded_key(rng).public_key
                        key, value = b"/pk/" + public.peer_id.to_bytes(), public.to_protobuf()
                        await dht(publisher).put_value(key, value)
                        found.append(await dht(reader).get_value(key) == value)

            async with trio.open_nursery() as nursery:
                for number in range(KEYS):
                    nursery.start_soon(place_and_find, number)
            hidden = {node.id for node in nodes[SERVERS:]}
            for node in nodes:
                (network,) = dht(node).networks
                assert not hidden & {contact.peer for contact in network.dht.table}

    run(program, access=HERE, record=False, tick=0.001)
    assert len(found) == KEYS
    assert sum(found) >= 0.999 * KEYS
